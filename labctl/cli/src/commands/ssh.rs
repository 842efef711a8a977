//! `labctl ssh`.

use std::process::ExitCode;

use labctl_core::ssh;
use labctl_lab::{Failure, Kind};

use crate::session::Session;

/// Arguments of `labctl ssh`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl ssh web1\n  labctl ssh web1 -- journalctl -n 5\n  labctl ssh -l root -A web1                       as root, with your ssh agent\n  labctl ssh web1 -- -L 8080:localhost:80 -N       options of ssh(1)\n\nThe exit code is the command's. After Enter, `~.` closes a session that hangs.\nWith `-A` or options of ssh(1), OpenSSH's own program makes the connection.\nFor scp, rsync and editors: labctl ssh-config > lab.ssh && scp -F lab.ssh FILE web1:"
)]
pub struct Args {
    /// Node [default: the only node of the lab]
    node: Option<String>,
    /// User [default: the `user` in the lab file, else root]
    #[arg(long, short)]
    login: Option<String>,
    /// Forward the connection to your ssh agent
    #[arg(short = 'A')]
    agent: bool,
    /// Forward the node's SSH port to standard input and output, for `ProxyCommand`
    #[arg(long, conflicts_with_all = ["command", "login", "agent"])]
    proxy: bool,
    /// Command to run instead of a shell, after `--`; options of ssh(1) may come before it
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
    // No command begins with a hyphen.
    if args.agent || args.command.first().is_some_and(|word| word.starts_with('-')) {
        let mut options: Vec<String> = args.login.into_iter().map(|user| format!("-l{user}")).collect();
        options.extend(args.agent.then(|| "-A".to_owned()));
        return Err(ssh::replace_by_openssh(&home, &record, &node, &options, &args.command));
    }
    let user = args.login.unwrap_or_else(|| record.login(&node));
    let supervisor = session.supervisor(&home.lab(&record.lab.name), &record.lab.name).await?;
    let stream = ssh::dial(&supervisor, &node).await?;
    if args.proxy {
        ssh::carry(stream).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let code = ssh::session(stream, &record, &node, &user, &args.command).await?;
    Ok(ExitCode::from(code))
}
