//! `labctl sync`.

use std::process::ExitCode;

use labctl_core::sync;
use labctl_lab::{Failure, Kind};

use crate::session::Session;

/// Arguments of `labctl sync`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl sync                bring all nodes up to date, once\n  labctl sync --watch web1   and keep one up to date, until Ctrl-C\n\n`provision` and `up` do the same before they run plays."
)]
pub struct Args {
    /// Nodes or groups [default: all that have `sync:` in the lab file]
    nodes: Vec<String>,
    /// Go on: bring every change to the nodes as soon as a file is saved
    #[arg(long, short)]
    watch: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let lab = session.lab(&home)?;
    let nodes = session.nodes(&lab, &args.nodes, None)?;
    let lab_home = home.lab(&lab.name);
    session.record(&home)?;
    if !lab.nodes.iter().any(|node| !node.sync.is_empty() && (nodes.is_empty() || nodes.contains(&node.name))) {
        let what = if nodes.is_empty() { format!("no node of lab `{}`", lab.name) } else { "none of these nodes".to_owned() };
        return Err(Failure::new(Kind::Input, format!("{what} has `sync:` in {}", lab.file.display()))
            .hint("add it to a node, such as `sync: [{from: ./src, to: /srv/src}]`, or use `labctl cp`"));
    }
    let each = |event| session.out.event(&event);
    if args.watch {
        tokio::select! {
            done = sync::watch(&lab_home, &lab, &nodes, &each) => done?,
            // Copies in progress are cancelled; nothing is left half-written.
            _ = tokio::signal::ctrl_c() => {}
        }
    } else {
        let supervisor = session.supervisor(&lab_home, &lab.name).await?;
        sync::run(&lab, &supervisor, &nodes, &each).await?;
    }
    session.out.finish();
    Ok(ExitCode::SUCCESS)
}
