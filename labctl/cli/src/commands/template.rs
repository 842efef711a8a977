//! `labctl image template`.

use std::time::SystemTime;

use labctl_core::template;
use labctl_lab::template::Templates;
use labctl_lab::{Failure, Kind};
use serde::Serialize;

use crate::output::Table;
use crate::session::Session;

/// What to do with templates.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Show the templates in the store
    List,
    /// Make the templates that the lab's nodes are forked from
    Build,
    /// Remove templates that no lab uses, by key
    Rm {
        /// Keys, or their beginnings
        #[arg(required = true)]
        keys: Vec<String>,
    },
}

#[derive(Serialize)]
struct Listed {
    key: String,
    image: String,
    cpus: u32,
    memory_mib: u64,
    accel: &'static str,
    bytes: u64,
    used_unix: u64,
}

pub async fn run(session: &Session, action: Action) -> Result<(), Failure> {
    let home = session.home()?;
    let templates = Templates::of(&home);
    match action {
        Action::List => {
            let mut listed = Vec::new();
            for template in templates.all() {
                let shape = template.shape()?;
                let used = template.used().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                listed.push(Listed {
                    bytes: template.size(),
                    key: template.key,
                    image: shape.name,
                    cpus: shape.cpus,
                    memory_mib: shape.memory.as_mib(),
                    accel: shape.accel.as_str(),
                    used_unix: used.as_secs(),
                });
            }
            session.out.result(&listed, || {
                let mut table = Table::new(&["TEMPLATE", "IMAGE", "CPUS", "MEMORY", "ACCEL", "SIZE"]);
                for one in &listed {
                    table.row([
                        one.key.chars().take(12).collect(),
                        one.image.clone(),
                        one.cpus.to_string(),
                        format!("{} MiB", one.memory_mib),
                        one.accel.to_owned(),
                        format!("{} MiB", one.bytes >> 20),
                    ]);
                }
                table.render()
            });
        }
        Action::Build => {
            let each = |event| session.out.event(&event);
            template::build(&home, &session.lab(&home)?, &each).await?;
            session.out.finish();
        }
        Action::Rm { keys } => {
            for key in keys {
                let found: Vec<_> = templates.all().into_iter().filter(|template| template.key.starts_with(&key)).collect();
                if found.is_empty() {
                    return Err(Failure::new(Kind::NotFound, format!("there is no template `{key}`")).hint("labctl image template list"));
                }
                for template in found {
                    templates.remove(&template)?;
                }
            }
        }
    }
    Ok(())
}
