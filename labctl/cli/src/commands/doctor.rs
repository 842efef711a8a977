//! `labctl doctor`.

use std::process::ExitCode;

use labctl_core::doctor;
use labctl_lab::{Failure, Kind};

use crate::session::Session;

/// Arguments of `labctl doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Probe the accelerator again instead of trusting the last result
    #[arg(long)]
    fresh: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let checks = doctor::examine(&home, args.fresh).await?;
    session.out.result(&checks, || {
        let line = |check: &doctor::Check| {
            let fix = check.fix.as_ref().map(|fix| format!("\n      {fix}")).unwrap_or_default();
            format!("{}  {}: {}{fix}", if check.good { "ok" } else { "--" }, check.what, check.found)
        };
        checks.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(match checks.iter().all(|check| check.good) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(Kind::Host.exit_code()),
    })
}
