//! `labctl provision`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use labctl_core::client::Supervisor;
use labctl_core::home::Home;
use labctl_core::lifecycle::Work;
use labctl_core::provisioning::{self, Options, Step, What};
use labctl_core::spec::ident::NodeName;
use labctl_core::spec::lab::Lab;
use labctl_core::{Failure, Kind};
use tokio_util::sync::CancellationToken;

use crate::output::Table;
use crate::output::play::PlayPrinter;
use crate::session::Session;

/// Arguments of `labctl provision`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// A playbook instead of the lab file's plays
    playbook: Option<PathBuf>,
    /// Only say what would change
    #[arg(long, short = 'C')]
    check: bool,
    /// Show the differences of changed files
    #[arg(long, short = 'D')]
    diff: bool,
    /// Only tasks with one of these tags, separated by commas
    #[arg(long, short, value_delimiter = ',')]
    tags: Vec<String>,
    /// No tasks with one of these tags, separated by commas
    #[arg(long, value_delimiter = ',')]
    skip_tags: Vec<String>,
    /// Only nodes that match this pattern (`client1`, `clients:!client2`, `client*`)
    #[arg(long, short)]
    limit: Option<String>,
    /// Extra variable: NAME=VALUE, JSON, or @FILE
    #[arg(long, short, value_name = "VARS")]
    extra_vars: Vec<String>,
    /// Start at the task of that name
    #[arg(long, value_name = "NAME")]
    start_at_task: Option<String>,
    /// Ask before each task
    #[arg(long)]
    step: bool,
    /// Only list the tasks
    #[arg(long)]
    list_tasks: bool,
    /// Say more: results of tasks with -v
    #[arg(long, short, action = clap::ArgAction::Count)]
    verbose: u8,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let lab = session.lab(&home)?;
    let what = args.playbook.clone().map_or(What::Lab, What::Playbook);
    let options = Options {
        check: args.check,
        diff: args.diff,
        tags: args.tags,
        skip_tags: args.skip_tags,
        limit: args.limit,
        extra_vars: args.extra_vars,
        start_at_task: args.start_at_task,
        step: args.step.then(|| Arc::new(ask) as _),
        verbosity: args.verbose,
        ..Options::default()
    };
    if args.list_tasks {
        let tasks = provisioning::list(&home, &lab, &what, options)?;
        let listed: Vec<_> = tasks
            .iter()
            .map(|task| serde_json::json!({ "play": task.play, "hosts": task.hosts, "name": task.name, "tags": task.tags, "place": task.place }))
            .collect();
        session.out.result(&listed, || {
            let mut table = Table::new(&["PLAY", "TASK", "TAGS", "PLACE"]);
            for task in &tasks {
                table.row([task.play.clone(), task.name.clone(), task.tags.join(","), task.place.clone()]);
            }
            table.render()
        });
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

/// Copies files, runs plays, prints what happens, and fails if a node failed.
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
        provisioning::sync(lab, supervisor, nodes).await?;
    }
    let options = match nodes.is_empty() {
        true => options,
        false => Options { limit: Some(nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(",")), ..options },
    };
    let printer = Arc::new(PlayPrinter::new(session.out.clone(), options.verbosity, options.diff));
    let cancel = CancellationToken::new();
    let interrupted = cancel.clone();
    let watch = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    let shown = printer.clone();
    let events = Arc::new(move |event| shown.show(&event));
    let each = |event| session.out.event(&event);
    let run = provisioning::Run { what: what.clone(), options, events, cancel };
    let recap = provisioning::run(home, lab, supervisor, run, &each).await;
    watch.abort();
    let recap = recap?;
    printer.recap(&recap);
    match (recap.cancelled, recap.succeeded()) {
        (true, _) => Err(Failure::new(Kind::Provision, "provisioning was interrupted between two tasks").hint("labctl provision goes on")),
        (false, true) => Ok(()),
        (false, false) => {
            let failed: Vec<&str> =
                recap.hosts.iter().filter(|(_, counts)| counts.failed + counts.unreachable > 0).map(|(host, _)| host.as_str()).collect();
            Err(Failure::new(Kind::Provision, format!("provisioning failed on {}", failed.join(", ")))
                .hint("labctl provision repeats it; what is done already is not done again"))
        }
    }
}

/// Asks on the terminal whether to run a task.
fn ask(task: &str) -> Step {
    eprint!("Perform task: {task} (N)o/(y)es/(c)ontinue: ");
    let mut answer = String::new();
    if std::io::stdin().read_line(&mut answer).is_err() {
        return Step::Skip;
    }
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Step::Run,
        "c" | "continue" => Step::Continue,
        _ => Step::Skip,
    }
}
