//! `labctl ssh-config`.

use std::process::ExitCode;

use labctl_core::ssh;
use labctl_lab::Failure;

use crate::session::Session;

/// Arguments of `labctl ssh-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Nodes or groups [default: all]
    nodes: Vec<String>,
}

pub fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let record = session.record(&home)?;
    let nodes = session.nodes(&record.lab, &args.nodes, None)?;
    session.out.text(ssh::config(&home, &record, &nodes)?.trim_end());
    Ok(ExitCode::SUCCESS)
}
