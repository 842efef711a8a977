//! `labctl halt`.

use std::process::ExitCode;

use labctl_core::lifecycle;
use labctl_lab::Failure;
use labctl_lab::work::Work;

use crate::session::Session;

/// Arguments of `labctl halt`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Nodes or groups [default: all]
    nodes: Vec<String>,
    /// Do not shut the guests down: stop the machines immediately, like a power failure
    #[arg(long, short)]
    force: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let lab = session.known_lab(&home)?;
    let nodes = session.nodes(&lab, &args.nodes, None)?;
    let each = |event| session.out.event(&event);
    let _work = Work::begin(&home.lab(&lab.name), &each).await?;
    lifecycle::halt(&home, &lab.name, &nodes, args.force, &each).await?;
    session.out.finish();
    Ok(ExitCode::SUCCESS)
}
