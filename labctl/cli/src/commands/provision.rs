//! placeholder
use std::process::ExitCode;
use labctl_core::{Failure, client::Supervisor, home::Home, lifecycle::Work, provisioning};
use labctl_core::spec::lab::Lab;
use crate::session::Session;
/// Arguments of `labctl provision`.
#[derive(Debug, clap::Args)]
pub struct Args {}
pub async fn run(session: &Session, _: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let lab = session.lab(&home)?;
    let each = |event| session.out.event(&event);
    let lab_home = home.lab(&lab.name);
    let _work = Work::begin(&lab_home, &each).await?;
    let supervisor = Supervisor::ensure(&lab_home, &lab.name).await?;
    perform(session, &home, &lab, &supervisor, provisioning::Options::default()).await?;
    Ok(ExitCode::SUCCESS)
}
pub async fn perform(session: &Session, home: &Home, lab: &Lab, supervisor: &Supervisor, options: provisioning::Options) -> Result<(), Failure> {
    let each = |event| session.out.event(&event);
    provisioning::run(home, lab, supervisor, options, &each).await
}
