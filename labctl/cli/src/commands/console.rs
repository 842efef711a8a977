//! `labctl console`.

use std::process::ExitCode;

use labctl_core::console;
use labctl_lab::Failure;

use crate::session::Session;

/// Arguments of `labctl console`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Node
    node: String,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let record = session.record(&home)?;
    let node = session.node(&record.existing_lab(), &args.node)?;
    session.out.say(&format!("attached to the serial console of {node}; leave with ctrl-]"));
    console::attach(&home.lab(&record.lab.name), &record, &node).await?;
    Ok(ExitCode::SUCCESS)
}
