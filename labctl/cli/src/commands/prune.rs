//! `labctl prune`.

use std::process::ExitCode;

use labctl_core::{Failure, prune};

use crate::session::Session;

/// Arguments of `labctl prune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End and remove what is found
    #[arg(long, short)]
    force: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let orphans = prune::find(&home)?;
    for orphan in &orphans {
        session.out.result(orphan, || orphan.to_string());
        if args.force {
            prune::remove(orphan).await?;
        }
    }
    match (orphans.is_empty(), args.force) {
        (true, _) => session.out.say("nothing is left over"),
        (false, true) => session.out.say("removed"),
        (false, false) => session.out.say("--force ends and removes these"),
    }
    Ok(ExitCode::SUCCESS)
}
