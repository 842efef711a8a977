//! `labctl suspend`.

use std::process::ExitCode;

use labctl_core::snapshot;
use labctl_lab::Failure;
use labctl_lab::work::Work;

use crate::session::Session;

/// Arguments of `labctl suspend`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub async fn run(session: &Session, _: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let lab = session.record(&home)?.lab;
    let each = |event| session.out.event(&event);
    let _work = Work::begin(&home.lab(&lab.name), &each).await?;
    let saved = snapshot::suspend(&home, &lab.name, &each).await?;
    session.out.finish();
    session.out.say(&format!("lab `{}` is suspended ({} MiB); `labctl resume` or `labctl up` resumes it", lab.name, saved.memory() >> 20));
    Ok(ExitCode::SUCCESS)
}
