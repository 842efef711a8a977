//! `labctl destroy`.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use labctl_core::lifecycle;
use labctl_lab::work::Work;
use labctl_lab::{Failure, Kind};

use crate::output::write_error;
use crate::session::Session;

/// Arguments of `labctl destroy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Nodes or groups [default: the whole lab]
    nodes: Vec<String>,
    /// Do not ask for confirmation
    #[arg(long, short, visible_alias = "yes")]
    force: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let lab = session.known_lab(&home)?;
    let nodes = session.nodes(&lab, &args.nodes, None)?;
    let lab_home = home.lab(&lab.name);
    if !lab_home.folder().exists() {
        session.out.say(&format!("lab `{}` does not exist; nothing to do", lab.name));
        return Ok(ExitCode::SUCCESS);
    }
    if !args.force {
        let what = match nodes.is_empty() {
            true => format!("the lab `{}` with all its disks", lab.name),
            false => nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        if !confirmed(&what)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let each = |event| session.out.event(&event);
    let work = Work::begin(&lab_home, &each).await?;
    lifecycle::destroy(&home, &lab.name, &nodes, &each).await?;
    drop(work);
    session.out.finish();
    Ok(ExitCode::SUCCESS)
}

fn confirmed(what: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(Kind::Input, format!("destroy {what}? there is no terminal to ask for confirmation")).hint("add --force"));
    }
    write_error(&format!("destroy {what}? [y/N] "));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(Failure::io("read the answer"))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
