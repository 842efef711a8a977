//! `labctl clone`.

use std::process::ExitCode;

use labctl_core::lifecycle::Work;
use labctl_core::spec::ident::LabName;
use labctl_core::{Failure, lifecycle, snapshot};

use crate::session::Session;

/// Arguments of `labctl clone`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The lab: its file, or its name
    lab: String,
    /// Names of the new labs
    #[arg(required = true, value_name = "NEW")]
    clones: Vec<LabName>,
    /// Begin from this snapshot of the lab [default: what the lab is now]
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let lab = session.about(&args.lab).record(&home)?.lab;
    let each = |event| session.out.event(&event);
    let _work = Work::begin(&home.lab(&lab.name), &each).await?;
    snapshot::clone(&home, &lab.name, args.snapshot.as_deref(), &args.clones, &each).await?;
    session.out.finish();
    for clone in &args.clones {
        let status = lifecycle::status(&home, &labctl_core::spec::lab::Lab { name: clone.clone(), ..lab.clone() }).await?;
        session.out.result(&status, || {
            format!(
                "{}\n\n`{clone}` is a lab of its own: labctl --lab {clone} exec|ssh|snapshot|destroy ...",
                super::status::table(&status)
            )
        });
    }
    Ok(ExitCode::SUCCESS)
}
