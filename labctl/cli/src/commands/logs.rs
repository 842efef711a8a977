//! `labctl logs`.

use std::process::ExitCode;

use labctl_core::exec::{self, Given};
use labctl_core::{Failure, Kind};

use crate::output::write_out;
use crate::session::Session;

/// Arguments of `labctl logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Node; without it, the log of the lab's supervisor
    node: Option<String>,
    /// What the node's serial console printed
    #[arg(long, short, conflicts_with = "unit")]
    console: bool,
    /// A unit's journal in the node
    #[arg(long, short)]
    unit: Option<String>,
    /// How many lines at most
    #[arg(long, short = 'n', default_value_t = 200)]
    lines: usize,
    /// Go on as lines come (journal only)
    #[arg(long, short)]
    follow: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let lab = session.known_lab(&home)?;
    let lab_home = home.lab(&lab.name);
    let Some(node) = &args.node else {
        return print(&lab_home.supervisor_log(), args.lines);
    };
    let node = session.node(&lab, node)?;
    if args.console {
        return print(&lab_home.node(&node).join("console.log"), args.lines);
    }
    let supervisor = session.supervisor(&lab_home, &lab.name).await?;
    let mut argv: Vec<String> = ["journalctl", "--no-pager", "-n"].map(str::to_owned).to_vec();
    argv.push(args.lines.to_string());
    argv.extend(args.follow.then(|| "--follow".to_owned()));
    argv.extend(args.unit.iter().flat_map(|unit| ["--unit".to_owned(), unit.clone()]));
    let code = exec::attached(&supervisor, &node, Given { argv, user: "root".into(), ..Given::default() }).await?;
    Ok(ExitCode::from(code))
}

fn print(path: &std::path::Path, lines: usize) -> Result<ExitCode, Failure> {
    let text = std::fs::read(path).map_err(|why| match why.kind() {
        std::io::ErrorKind::NotFound => Failure::new(Kind::NotFound, format!("there is no log yet: {}", path.display())),
        _ => Failure::io(path.display())(why),
    })?;
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    for line in &all[all.len().saturating_sub(lines)..] {
        write_out(format!("{line}\n").as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}
