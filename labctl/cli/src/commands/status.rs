//! `labctl status`.

use std::process::ExitCode;

use labctl_core::control::LabStatus;
use labctl_core::{Failure, lifecycle};

use crate::output::Table;
use crate::session::Session;

/// Arguments of `labctl status`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub async fn run(session: &Session, _args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let status = lifecycle::status(&home, &session.known_lab(&home)?).await?;
    session.out.result(&status, || table(&status));
    Ok(ExitCode::SUCCESS)
}

/// The nodes as a table.
pub fn table(status: &LabStatus) -> String {
    let mut table = Table::new(&["NODE", "STATE", "ADDRESS", "HOST ADDRESS", "CPUS", "MEMORY", "GROUPS", "PUBLISHED"]);
    for node in &status.nodes {
        let ports = |(host, node): &(u16, u16)| if host == node { host.to_string() } else { format!("{host}:{node}") };
        let published: Vec<String> = node.published.iter().map(ports).collect();
        table.row([
            node.name.to_string(),
            if node.left { format!("{}, not in the lab file", node.state.word()) } else { node.state.word().to_owned() },
            node.address.to_string(),
            if node.loopback.is_unspecified() { "-".to_owned() } else { node.loopback.to_string() },
            node.cpus.to_string(),
            format!("{} MiB", node.memory_mib),
            node.groups.join(","),
            published.join(","),
        ]);
    }
    table.render()
}
