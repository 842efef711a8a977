//! `labctl image bake`.

use std::path::Path;

use labctl_core::golden::{self, Builder, Draft, Recipe};
use labctl_core::up::{self, How};
use labctl_core::{images, lifecycle, provisioning};
use labctl_lab::client::Supervisor;
use labctl_lab::event::{Event, NodeState};
use labctl_lab::home::Home;
use labctl_lab::{Failure, Kind};
use labctl_spec::size::Size;
use serde::Serialize;

use crate::session::Session;

/// Arguments of `labctl image bake`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl image bake web --role nginx_lb                     roles on debian-12\n  labctl image bake worker --role consul --role nomad --remove /var/lib/consul --remove /var/lib/nomad\n  labctl image bake golden --from client1                  of a node, which is shut down meanwhile\n\nThen `image: web` in a lab file."
)]
pub struct Args {
    /// Name of the new image
    name: String,
    /// Roles to run, in this order; found as for the lab here, or shipped with labctl
    #[arg(long = "role", value_name = "ROLE", required_unless_present = "from", conflicts_with = "from")]
    roles: Vec<String>,
    /// The image to run them on
    #[arg(long, value_name = "IMAGE", default_value = "debian-12", conflicts_with = "from")]
    base: String,
    /// A node whose disk becomes the image; it is shut down, and started again if it was running
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
    /// Variables for the roles: k=v, JSON, or @file
    #[arg(long, short = 'e', value_name = "VARS", conflicts_with = "from")]
    extra_vars: Vec<String>,
    /// A path in the machine to remove before the image is made, such as a service's data
    #[arg(long, value_name = "PATH")]
    remove: Vec<String>,
    /// Memory of the machine that does it
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Bake an image again that was baked before
    #[arg(long)]
    replace: bool,
}

#[derive(Serialize)]
struct Baked<'a> {
    name: &'a str,
    id: &'a str,
    file: &'a Path,
    bytes: u64,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    if let Some(path) = args.remove.iter().find(|path| !path.starts_with('/') || path.trim_end_matches('/').is_empty()) {
        return Err(Failure::new(Kind::Input, format!("--remove {path}: this must be an absolute path below /")));
    }
    let home = session.home()?;
    // Without a lab here, roles and images are those that come with labctl.
    let beside = match (session.lab_file(&home), &args.from) {
        (Ok(file), _) => file,
        (Err(why), Some(_)) => return Err(why),
        (Err(_), None) => std::env::current_dir().map_err(Failure::io("the current folder"))?.join("lab.yml"),
    };
    let place = golden::place(&beside, &args.name, args.replace)?;
    let each = |event| session.out.event(&event);
    let draft = match &args.from {
        Some(node) => Some(take(session, &home, node, &args.name).await?),
        None => None,
    };
    let description = match &draft {
        Some(draft) => format!("Baked from node {}", draft.node()),
        None => format!("Baked from {} with {}", args.base, args.roles.join(", ")),
    };
    let recipe = Recipe { name: args.name, base: args.base, roles: args.roles, memory: args.memory, remove: args.remove };
    let builder = Builder::prepare(&home, &beside, recipe.clone(), draft, &each).await?;
    let made = make(session, &home, &builder, args.extra_vars).await;
    // What was made for it goes, whether it worked or not.
    let removed = builder.remove(&each).await;
    let id = made?;
    removed?;
    let file = place.write(&id, &description)?.to_owned();
    golden::template(&home, &beside, &recipe, &each).await?;
    session.out.finish();
    told(session, &home, &recipe.name, &id, &file)
}

async fn make(session: &Session, home: &Home, builder: &Builder<'_>, extra_vars: Vec<String>) -> Result<String, Failure> {
    let each = |event| session.out.event(&event);
    let provision = async |supervisor: &Supervisor, inputs| {
        session.out.finish();
        let options = provisioning::Options { inputs, extra_vars, ..provisioning::Options::default() };
        super::provision::perform(session, home, builder.lab(), supervisor, &provisioning::What::Lab, &[], options).await
    };
    let how = How { cold: false, provision: true, cache: false };
    let supervisor = up::up(home, builder.lab(), &[], how, &each, provision).await?;
    Ok(builder.finish(&supervisor, &each).await?.id)
}

/// Takes a draft from a node, which is shut down meanwhile.
async fn take(session: &Session, home: &Home, node: &str, name: &str) -> Result<Draft, Failure> {
    let each = |event: Event| session.out.event(&event);
    let record = session.record(home)?;
    let lab = record.existing_lab();
    let node = session.node(&lab, node)?;
    let state = lifecycle::status(home, &lab).await?.nodes.into_iter().find(|status| status.name == node).map(|status| status.state);
    let ran = match state {
        Some(NodeState::Running) => true,
        Some(NodeState::Off) => false,
        other => {
            let word = other.as_ref().map_or("unknown", NodeState::word);
            return Err(
                Failure::new(Kind::Conflict, format!("{node} is {word}; it must be running or off")).hint(format!("labctl up {node}"))
            );
        }
    };
    lifecycle::halt(home, &lab.name, std::slice::from_ref(&node), false, &each).await?;
    let draft = golden::draft(home, &record, &node, name, &each).await;
    if ran {
        lifecycle::up(home, lab, &[node], lifecycle::Birth::Cold, &each).await?;
    }
    draft
}

fn told(session: &Session, home: &Home, name: &str, id: &str, file: &Path) -> Result<(), Failure> {
    let bytes = images::show(home, id)?.bytes;
    session.out.result(&Baked { name, id, file, bytes }, || {
        let mib = bytes >> 20;
        format!("{name}: {mib} MiB, written to {}\n\nNext: `image: {name}` in a lab file | labctl image show {name}", file.display())
    });
    Ok(())
}
