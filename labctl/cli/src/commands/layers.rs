//! `labctl image layers`.

use std::time::SystemTime;

use labctl_core::layer::{self, Why};
use labctl_lab::{Failure, Kind};
use serde::Serialize;

use crate::output::Table;
use crate::session::Session;

#[derive(Serialize)]
struct Listed {
    key: String,
    stock: String,
    image: String,
    memory_mib: u64,
    steps: usize,
    bytes: u64,
    made_unix: u64,
}

/// All layers, or what one node is forked from.
pub async fn run(session: &Session, why: Option<String>) -> Result<(), Failure> {
    let home = session.home()?;
    let Some(node) = why else {
        return list(session);
    };
    let lab = session.lab(&home)?;
    let node = session.nodes(&lab, &[node], None)?;
    let [node] = &node[..] else {
        return Err(Failure::new(Kind::Input, "--why takes one node, not a group"));
    };
    let each = |event| session.out.event(&event);
    let why = layer::why(&home, &lab, node, &each).await?;
    session.out.finish();
    session.out.result(&why, || told(&why));
    Ok(())
}

fn list(session: &Session) -> Result<(), Failure> {
    let mut listed = Vec::new();
    for (template, layer) in layer::all(&session.home()?) {
        let shape = template.shape()?;
        listed.push(Listed {
            bytes: template.size(),
            key: template.key,
            stock: layer.stock,
            image: shape.name,
            memory_mib: shape.memory.as_mib(),
            steps: layer.steps.len(),
            made_unix: layer.made.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
        });
    }
    session.out.result(&listed, || {
        let mut table = Table::new(&["LAYER", "ON TEMPLATE", "IMAGE", "MEMORY", "STEPS", "SIZE"]);
        for one in &listed {
            table.row([
                short(&one.key),
                short(&one.stock),
                one.image.clone(),
                format!("{} MiB", one.memory_mib),
                one.steps.to_string(),
                format!("{} MiB", one.bytes >> 20),
            ]);
        }
        table.render()
    });
    Ok(())
}

fn told(why: &Why) -> String {
    let key = |key: &Option<String>| key.as_deref().map_or_else(|| "-".to_owned(), short);
    let mut text = format!("{} is based on {}; its stock template is {}", why.node, key(&why.rests_on), key(&why.stock));
    if !why.steps.is_empty() {
        let mut table = Table::new(&["STEP", "TASK", "MODULE", ""]);
        for step in &why.steps {
            let did = if step.changed { "changed" } else { "looked" };
            table.row([short(&step.chain), step.task.clone(), step.module.clone(), did.to_owned()]);
        }
        text += &format!("\n\n{}\n", table.render());
    }
    text += &match (&why.layer, &why.reason) {
        (Some(layer), _) => {
            format!("\nA new {} is forked from layer {}: every step above has run on it with the same inputs.", why.node, short(layer))
        }
        (None, Some(reason)) => format!("\nNo layer fits: {reason}."),
        (None, None) => String::new(),
    };
    text
}

fn short(key: &str) -> String {
    key.chars().take(12).collect()
}
