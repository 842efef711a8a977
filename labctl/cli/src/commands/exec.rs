//! `labctl exec`.

use std::io::Write;
use std::process::ExitCode;

use labctl_core::exec::{self, Given, Stream};
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;
use labctl_spec::lab::ROOT;

use crate::session::Session;

/// Arguments of `labctl exec`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl exec web1 -- systemctl status nginx\n  labctl exec all -- uptime                      every node; each line starts with the node's name\n  labctl exec -t web1 -- top\n  labctl exec web1 -u -- id                      as the lab file's user; `-u NAME` as another\n  labctl exec -i web1 -- tee /root/x < x\n\nThe exit code is the command's; with several nodes, the highest."
)]
pub struct Args {
    /// Node, or a group: then the command runs on all of its nodes and each line starts with the node's name
    node: String,
    /// User; without a name, the `user` in the lab file [default: root]
    #[arg(long, short, num_args = 0..=1, value_name = "USER")]
    user: Option<Option<String>>,
    /// Working directory
    #[arg(long, short = 'C', value_name = "DIR")]
    directory: Option<String>,
    /// Environment variable
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Allocate a terminal, for programs that need one
    #[arg(long, short)]
    tty: bool,
    /// Forward standard input
    #[arg(long, short)]
    interactive: bool,
    /// Program and arguments, after `--`
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let record = session.record(&home)?;
    let nodes = session.nodes(&record.existing_lab(), std::slice::from_ref(&args.node), None)?;
    let user = match args.user {
        None => ROOT.to_owned(),
        Some(Some(name)) => name,
        Some(None) => the_labs_user(&record, &nodes)?,
    };
    let supervisor = session.supervisor(&home.lab(&record.lab.name), &record.lab.name).await?;
    let mut environment = std::collections::BTreeMap::new();
    for pair in &args.env {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::new(Kind::Input, format!("--env {pair}: there is no `=`")).hint("write NAME=VALUE"))?;
        environment.insert(name.to_owned(), value.to_owned());
    }
    let given =
        Given { argv: args.command, env: environment, cwd: args.directory, user, terminal: args.tty, stdin: args.interactive || args.tty };
    if let [node] = &nodes[..] {
        let code = exec::attached(&supervisor, node, given).await?;
        return Ok(ExitCode::from(code));
    }
    let print = |node: &NodeName, stream: Stream, line: &[u8]| {
        let text = [node.as_str().as_bytes(), b": ", line, b"\n"].concat();
        // The other nodes continue even if our reader is gone.
        let _ = match stream {
            Stream::Out => std::io::stdout().write_all(&text),
            Stream::Err => std::io::stderr().write_all(&text),
        };
    };
    let code = exec::on_all(&supervisor, &nodes, &given, &print).await?;
    Ok(ExitCode::from(code))
}

/// The user that the lab file names for these nodes.
fn the_labs_user(record: &Record, nodes: &[NodeName]) -> Result<String, Failure> {
    let mut users: Vec<String> = nodes.iter().map(|node| record.login(node)).collect();
    users.sort();
    users.dedup();
    match &users[..] {
        [only] => Ok(only.clone()),
        several => {
            Err(Failure::new(Kind::Input, format!("these nodes have several users: {}", several.join(", "))).hint("name one: `-u USER`"))
        }
    }
}
