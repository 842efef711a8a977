//! `labctl clone`.

use std::process::ExitCode;

use labctl_core::snapshot::Subnet;
use labctl_core::{lifecycle, snapshot};
use labctl_lab::Failure;
use labctl_lab::work::Work;
use labctl_spec::ident::LabName;

use crate::session::Session;

/// Arguments of `labctl clone`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl clone demo anna berta              two more labs like it, with the same internal addresses\n  labctl clone demo anna --subnet 10.99.0.0/24    10.1.0.77 becomes 10.99.0.77; then: labctl --lab anna provision\n  labctl clone demo anna berta --subnet auto      each in its own subnet\n\nIf it is interrupted, repeat it with the names that are not ready."
)]
pub struct Args {
    /// The lab: its file, or its name
    lab: String,
    /// Names of the new labs
    #[arg(required = true, value_name = "NEW")]
    clones: Vec<LabName>,
    /// Start from this snapshot of the lab [default: the lab's current state]
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
    /// Move the nodes of the new lab to this subnet, keeping each address's host part; `auto`: the subnet that a lab of
    /// that name gets if its file names none [default: the same addresses]
    #[arg(long, value_name = "SUBNET|auto")]
    subnet: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let subnet = Subnet::read(args.subnet.as_deref())?;
    let home = session.home()?;
    let lab = session.about(&args.lab).record(&home)?.lab;
    let each = |event| session.out.event(&event);
    let _work = Work::begin(&home.lab(&lab.name), &each).await?;
    snapshot::clone(&home, &lab.name, args.snapshot.as_deref(), &args.clones, subnet, &each).await?;
    session.out.finish();
    for clone in &args.clones {
        let status = lifecycle::status(&home, &labctl_spec::lab::Lab { name: clone.clone(), ..lab.clone() }).await?;
        session.out.result(&status, || {
            format!("{}\n\n`{clone}` is a separate lab: labctl --lab {clone} exec|ssh|snapshot|destroy ...", super::status::table(&status))
        });
    }
    Ok(ExitCode::SUCCESS)
}
