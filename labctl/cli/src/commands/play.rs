//! `labctl play`, and code shared with `labctl provision`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use labctl_core::provisioning::{self, ListedTask, Options, Play, Recap, Step, What};
use labctl_lab::work::Work;
use labctl_lab::{Failure, Kind};
use tokio_util::sync::CancellationToken;

use crate::output::play::PlayPrinter;
use crate::output::{Table, write_error};
use crate::session::Session;

/// Exit code after a second Ctrl-C: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Arguments of `labctl play`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Playbooks, run in order
    #[arg(required = true, value_name = "FILE")]
    playbooks: Vec<PathBuf>,
    /// Inventory: a file (INI, YAML), a folder of such files, or hosts with a comma (`web1,`) [default: the nodes of
    /// the lab here, or only localhost]
    #[arg(long, short, value_name = "INVENTORY")]
    inventory: Vec<String>,
    /// Log in as this user unless the inventory or the play names one
    #[arg(long, short, value_name = "NAME")]
    user: Option<String>,
    /// Log in with this private key unless the inventory names one
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

/// How plays run.
#[derive(Debug, Default, clap::Args)]
pub struct How {
    /// Only report what would change
    #[arg(long, short = 'C')]
    pub check: bool,
    /// Show the differences in changed files
    #[arg(long, short = 'D')]
    pub diff: bool,
    /// Only run tasks with one of these tags, separated by commas
    #[arg(long, short, value_delimiter = ',')]
    pub tags: Vec<String>,
    /// Skip tasks with one of these tags, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub skip_tags: Vec<String>,
    /// Only run on nodes that match this pattern (`client1`, `clients:!client2`, `client*`)
    #[arg(long, short)]
    pub limit: Option<String>,
    /// Extra variable: NAME=VALUE, JSON, or @FILE
    #[arg(long, short, value_name = "VARS")]
    pub extra_vars: Vec<String>,
    /// Start at the task with this name
    #[arg(long, value_name = "NAME")]
    pub start_at_task: Option<String>,
    /// Ask before each task
    #[arg(long)]
    pub step: bool,
    /// Run handlers even if a task failed
    #[arg(long)]
    pub force_handlers: bool,
    /// How many hosts to work on at a time [default: all]
    #[arg(long, short, value_name = "N")]
    pub forks: Option<usize>,
    #[command(flatten)]
    pub list: List,
    /// Print more: task results with -v
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Listing instead of running.
#[derive(Debug, Default, clap::Args)]
#[group(multiple = false)]
pub struct List {
    /// Only list the tasks
    #[arg(long)]
    list_tasks: bool,
    /// Only list the hosts of each play
    #[arg(long)]
    list_hosts: bool,
    /// Only list the tags
    #[arg(long)]
    list_tags: bool,
}

impl How {
    /// As options for the engine.
    pub fn options(&self) -> Options {
        Options {
            check: self.check,
            diff: self.diff,
            tags: self.tags.clone(),
            skip_tags: self.skip_tags.clone(),
            limit: self.limit.clone(),
            extra_vars: self.extra_vars.clone(),
            start_at_task: self.start_at_task.clone(),
            step: self.step.then(|| Arc::new(ask) as _),
            force_handlers: self.force_handlers,
            forks: self.forks,
            verbosity: self.verbose,
            ..Options::default()
        }
    }

    /// Prints the requested listing; returns false if a run was requested instead. `plays` returns names and hosts.
    pub fn listed(
        &self,
        session: &Session,
        tasks: impl Fn() -> Result<Vec<ListedTask>, Failure>,
        plays: impl Fn() -> Result<Vec<(String, Vec<String>)>, Failure>,
    ) -> Result<bool, Failure> {
        let List { list_tasks, list_hosts, list_tags } = self.list;
        if list_tasks {
            let tasks = tasks()?;
            let told: Vec<_> = tasks
                .iter()
                .map(|task| serde_json::json!({ "play": task.play, "hosts": task.hosts, "name": task.name, "tags": task.tags, "place": task.place }))
                .collect();
            session.out.result(&told, || {
                let mut table = Table::new(&["PLAY", "TASK", "TAGS", "PLACE"]);
                for task in &tasks {
                    table.row([task.play.clone(), task.name.clone(), task.tags.join(","), task.place.clone()]);
                }
                table.render()
            });
        } else if list_hosts {
            let plays = plays()?;
            let told: Vec<_> = plays.iter().map(|(play, hosts)| serde_json::json!({ "play": play, "hosts": hosts })).collect();
            session.out.result(&told, || {
                let mut table = Table::new(&["PLAY", "HOSTS"]);
                for (play, hosts) in &plays {
                    table.row([play.clone(), hosts.join(" ")]);
                }
                table.render()
            });
        } else if list_tags {
            let mut tags: Vec<String> = tasks()?.into_iter().flat_map(|task| task.tags).collect();
            tags.sort();
            tags.dedup();
            session.out.result(&tags, || tags.iter().map(|tag| format!("{tag}\n")).collect());
        }
        Ok(list_tasks || list_hosts || list_tags)
    }
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    // A lab is used if it is named, or if there is one here and no inventory is given.
    if args.inventory.is_empty()
        && let Ok(lab) = session.lab(&home)
    {
        let what: Vec<What> = args.playbooks.iter().cloned().map(What::Playbook).collect();
        if args.how.listed(
            session,
            || {
                Ok(what
                    .iter()
                    .map(|what| provisioning::list(&home, &lab, what, args.how.options()))
                    .collect::<Result<Vec<_>, _>>()?
                    .concat())
            },
            || {
                Ok(what
                    .iter()
                    .map(|what| provisioning::list_hosts(&home, &lab, what, args.how.options()))
                    .collect::<Result<Vec<_>, _>>()?
                    .concat())
            },
        )? {
            return Ok(ExitCode::SUCCESS);
        }
        let each = |event| session.out.event(&event);
        let lab_home = home.lab(&lab.name);
        session.record(&home)?;
        let _work = Work::begin(&lab_home, &each).await?;
        let supervisor = session.supervisor(&lab_home, &lab.name).await?;
        for what in &what {
            super::provision::perform(session, &home, &lab, &supervisor, what, &[], args.how.options()).await?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let play = Play {
        files: args.playbooks.clone(),
        inventory: args.inventory.clone(),
        user: args.user.clone(),
        private_key: args.private_key.clone(),
        options: args.how.options(),
    };
    if args.how.listed(session, || provisioning::list_play(&play), || provisioning::list_play_hosts(&play))? {
        return Ok(ExitCode::SUCCESS);
    }
    let each = |event| session.out.event(&event);
    let printer = Arc::new(PlayPrinter::new(session.out.clone(), play.options.verbosity, play.options.diff));
    let shown = printer.clone();
    let cancel = CancellationToken::new();
    let watch = cancelled_by_user(cancel.clone());
    let recap = provisioning::play(&home, &play, Arc::new(move |event| shown.show(&event)), cancel, &each).await;
    watch.abort();
    judge(&printer, &recap?, "labctl play")?;
    Ok(ExitCode::SUCCESS)
}

/// The first Ctrl-C stops a run between two tasks, the second one immediately.
pub fn cancelled_by_user(cancel: CancellationToken) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            write_error("\nstopping after the running tasks; press Ctrl-C again to stop immediately\n");
            cancel.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            // Nothing is left half-written: agents replace files atomically and discard interrupted transfers.
            std::process::exit(INTERRUPTED);
        }
    })
}

/// Prints the recap; returns a failure if a host failed or the run was interrupted.
pub fn judge(printer: &PlayPrinter, recap: &Recap, command: &str) -> Result<(), Failure> {
    printer.recap(recap);
    match (recap.cancelled, recap.succeeded()) {
        (true, _) => Err(Failure::new(Kind::Provision, "the run was interrupted between two tasks").hint(format!("{command} continues"))),
        (false, true) => Ok(()),
        (false, false) => Err(Failure::new(Kind::Provision, format!("provisioning failed on {}", recap.lost.join(", ")))
            .hint(format!("repeat it with {command}; what is already done is not done again"))),
    }
}

/// Asks on the terminal whether to run a task.
fn ask(task: &str) -> Step {
    write_error(&format!("Perform task: {task} (N)o/(y)es/(c)ontinue: "));
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
