//! `labctl resume`.

use std::process::ExitCode;

use labctl_core::snapshot;
use labctl_lab::Failure;
use labctl_lab::work::Work;

use crate::session::Session;

/// Arguments of `labctl resume`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub async fn run(session: &Session, _: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let lab = session.record(&home)?.lab;
    let each = |event| session.out.event(&event);
    let _work = Work::begin(&home.lab(&lab.name), &each).await?;
    let supervisor = snapshot::resume(&home, &lab.name, &each).await?;
    session.out.finish();
    let status = supervisor.status().await?;
    session.out.result(&status, || super::status::table(&status));
    Ok(ExitCode::SUCCESS)
}
