//! `labctl prune`.

use std::process::ExitCode;

use labctl_core::prune;
use labctl_lab::Failure;

use crate::session::Session;

/// Arguments of `labctl prune`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Without --force nothing is removed.")]
pub struct Args {
    /// Stop and remove what is found
    #[arg(long, short)]
    force: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let mut orphans = prune::find(&home)?;
    let none = orphans.is_empty();
    loop {
        for orphan in &orphans {
            session.out.result(orphan, || orphan.to_string());
            if args.force {
                prune::remove(&home, orphan).await?;
            }
        }
        let removed = std::mem::take(&mut orphans);
        if !args.force || removed.is_empty() {
            break;
        }
        // The sockets of machines remain after the machines have stopped.
        orphans = prune::find(&home)?.into_iter().filter(|orphan| !removed.contains(orphan)).collect();
    }
    match (none, args.force) {
        (true, _) => session.out.say("nothing is left over"),
        (false, true) => session.out.say("removed"),
        (false, false) => session.out.say("--force stops and removes these"),
    }
    Ok(ExitCode::SUCCESS)
}
