//! `labctl provision`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use labctl_core::provisioning::{self, Options, What};
use labctl_core::sync;
use labctl_core::validation::Plays;
use labctl_lab::Failure;
use labctl_lab::client::Supervisor;
use labctl_lab::event::Event;
use labctl_lab::home::Home;
use labctl_lab::work::Work;
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Lab;
use tokio_util::sync::CancellationToken;

use super::play::{How, cancelled_by_user, judge};
use crate::output::play::PlayPrinter;
use crate::session::Session;

/// Arguments of `labctl provision`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// A playbook to run instead of the lab file's plays
    playbook: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    // If the lab file has errors, report those in its plays too.
    let lab = session.lab(&home).or_else(|_| session.sound_lab(&home, Plays::Read))?;
    let what = args.playbook.clone().map_or(What::Lab, What::Playbook);
    let options = args.how.options();
    let tasks = || provisioning::list(&home, &lab, &what, options.clone());
    if args.how.listed(session, tasks, || provisioning::list_hosts(&home, &lab, &what, options.clone()))? {
        return Ok(ExitCode::SUCCESS);
    }
    let each = |event| session.out.event(&event);
    let lab_home = home.lab(&lab.name);
    session.record(&home)?;
    let _work = Work::begin(&lab_home, &each).await?;
    let supervisor = session.supervisor(&lab_home, &lab.name).await?;
    perform(session, &home, &lab, &supervisor, &what, &[], options).await?;
    Ok(ExitCode::SUCCESS)
}

/// Copies files, runs plays, prints progress, and fails if a node failed.
pub async fn perform(
    session: &Session,
    home: &Home,
    lab: &Lab,
    supervisor: &Supervisor,
    what: &What,
    nodes: &[NodeName],
    options: Options,
) -> Result<(), Failure> {
    if !options.check {
        let changed = |event| match event {
            Event::Synced { written: 0, folders: 0, removed: 0, .. } => {}
            event => session.out.event(&event),
        };
        sync::run(lab, supervisor, nodes, &changed).await?;
        session.out.finish();
    }
    let options = match nodes.is_empty() {
        true => options,
        false => Options { limit: Some(nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(",")), ..options },
    };
    let printer = Arc::new(PlayPrinter::new(session.out.clone(), options.verbosity, options.diff));
    let cancel = CancellationToken::new();
    let watch = cancelled_by_user(cancel.clone());
    let shown = printer.clone();
    let events = Arc::new(move |event| shown.show(&event));
    let each = |event| session.out.event(&event);
    let run = provisioning::Run { what: what.clone(), options, events, cancel };
    let recap = provisioning::run(home, lab, supervisor, run, &each).await;
    watch.abort();
    let command = match what {
        What::Playbook(path) => format!("labctl play {}", path.display()),
        _ => "labctl provision".to_owned(),
    };
    judge(&printer, &recap?, &command)
}
