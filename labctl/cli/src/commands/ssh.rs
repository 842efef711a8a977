//! `labctl ssh`.

use std::process::ExitCode;

use labctl_core::ssh;
use labctl_lab::{Failure, Kind};

use crate::session::Session;

/// Arguments of `labctl ssh`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl ssh web1\n  labctl ssh web1 -- journalctl -n 5\n\nThe exit code is the command's. After Enter, `~.` closes a session that hangs.\nFor scp, rsync and editors: labctl ssh-config > lab.ssh && scp -F lab.ssh FILE web1:"
)]
pub struct Args {
    /// Node [default: the only node of the lab]
    node: Option<String>,
    /// Forward the node's SSH port to standard input and output, for `ProxyCommand`
    #[arg(long, conflicts_with = "command")]
    proxy: bool,
    /// Command to run instead of a shell, after `--`
    #[arg(last = true)]
    command: Vec<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let record = session.record(&home)?;
    let node = match (&args.node, &record.lab.nodes[..]) {
        (Some(name), _) => session.node(&record.existing_lab(), name)?,
        (None, [only]) => only.name.clone(),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|node| node.name.as_str()).collect();
            let message = format!("lab `{}` has several nodes; name one", record.lab.name);
            return Err(Failure::new(Kind::Input, message).hint(format!("one of {}", names.join(", "))));
        }
    };
    let supervisor = session.supervisor(&home.lab(&record.lab.name), &record.lab.name).await?;
    let stream = ssh::dial(&supervisor, &node).await?;
    if args.proxy {
        ssh::carry(stream).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let code = ssh::session(stream, &record, &node, &args.command).await?;
    Ok(ExitCode::from(code))
}
