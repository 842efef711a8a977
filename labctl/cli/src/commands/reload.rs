//! `labctl reload`.

use std::process::ExitCode;

use labctl_core::validation::Plays;
use labctl_core::{lifecycle, snapshot};
use labctl_lab::Failure;
use labctl_lab::work::Work;

use crate::session::Session;

/// Arguments of `labctl reload`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Nodes or groups [default: all]
    nodes: Vec<String>,
    /// Stop the machines immediately instead of shutting them down
    #[arg(long, short)]
    force: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    // Anything that `up` would refuse is refused before shutting anything down.
    let lab = session.sound_lab(&home, Plays::Left)?;
    let nodes = session.nodes(&lab, &args.nodes, None)?;
    let each = |event| session.out.event(&event);
    let _work = Work::begin(&home.lab(&lab.name), &each).await?;
    snapshot::refuse_failed(&home.lab(&lab.name))?;
    // The file may contain nodes that do not exist yet; they need no halt.
    lifecycle::halt_existing(&home, &lab.name, &nodes, args.force, &each).await?;
    let supervisor = lifecycle::up(&home, lab, &nodes, lifecycle::Birth::Fork, &each).await?;
    session.out.finish();
    let status = supervisor.status().await?;
    session.out.result(&status, || super::status::table(&status));
    Ok(ExitCode::SUCCESS)
}
