//! Runs playbooks.

mod action;
mod attempt;
pub(crate) mod connection;
mod facts;
mod flow;
mod handlers;
mod hosts;
pub(crate) mod keyword;
mod list;
mod play;
mod repeat;
mod tags;
mod task;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use labctl_spec::mistake::Mistakes;
use tokio_util::sync::CancellationToken;

pub(crate) use attempt::is;
pub use list::{ListedTask, list_hosts, list_tasks};
pub(crate) use play::PlayRun;

use crate::controller::{Controller, Inputs};
use crate::data::Dict;
use crate::error::PlaybookError;
use crate::event::{Event, HostRecap, Recap, Timing};
use crate::inventory::Inventory;
use crate::lock::lock;
use crate::playbook::{Loader, Play};
use crate::target::{Artifacts, Connection, Target};
use crate::template::Engine;
use crate::variables::{self, HostState};

/// A playbook to run.
#[derive(Debug, Clone)]
pub enum Book {
    /// A file.
    File(PathBuf),
    /// A play inside another file, such as the lab file: an entry of one of its lists.
    Inside {
        /// The file.
        file: PathBuf,
        /// Name of the list, such as `provision`.
        list: String,
        /// Position in it, from 0.
        index: usize,
    },
}

/// What to do with a task in step mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Run it.
    Run,
    /// Skip it.
    Skip,
    /// Run it and all that follow without asking.
    Continue,
}

/// Asks whether to run a task, given its name.
pub type StepFn = Arc<dyn Fn(&str) -> Step + Send + Sync>;

/// Waits; replaced in tests.
pub type SleepFn = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// How to run. By default, everything runs for real.
#[derive(Clone, Default)]
pub struct Options {
    /// Only report what would change.
    pub check: bool,
    /// Return differences of files.
    pub diff: bool,
    /// Only tasks with one of these tags.
    pub tags: Vec<String>,
    /// No tasks with one of these tags.
    pub skip_tags: Vec<String>,
    /// Only hosts that match this pattern.
    pub limit: Option<String>,
    /// `k=v`, JSON or `@file`, in order.
    pub extra_vars: Vec<String>,
    /// Skip all tasks before the one with this name.
    pub start_at_task: Option<String>,
    /// Asked before each task.
    pub step: Option<StepFn>,
    /// Number of hosts that work at a time; default: all of them.
    pub forks: Option<usize>,
    /// `ansible_verbosity`.
    pub verbosity: u8,
    /// Folders with roles, in addition to `roles/` next to the playbook.
    pub role_paths: Vec<PathBuf>,
    /// Run handlers even on hosts where a task failed.
    pub force_handlers: bool,
    /// Run no handlers at all.
    pub without_handlers: bool,
    /// Records what the run reads from the controller.
    pub inputs: Inputs,
    /// How to wait between retries; default: real time.
    pub sleep: Option<SleepFn>,
}

/// Returns the machine for a connection, or none if there is none. Called for every task, so it should cache open connections.
pub type TargetFn = Arc<dyn Fn(&Connection) -> Option<Arc<dyn Target>> + Send + Sync>;

/// Receives events as they happen; called from many tasks.
pub type EventFn = Arc<dyn Fn(Event) + Send + Sync>;

/// What a run works with.
#[derive(Clone)]
pub struct Setup {
    /// Hosts, groups and their variables.
    pub inventory: Inventory,
    /// The hosts' machines.
    pub targets: TargetFn,
    /// The programs of roles.
    pub artifacts: Option<Arc<dyn Artifacts>>,
    /// Receives the events.
    pub events: EventFn,
    /// Stops the run between two tasks.
    pub cancel: CancellationToken,
}

/// State of a run.
pub(crate) struct Run {
    pub engine: Arc<Engine>,
    pub options: Options,
    pub setup: Setup,
    pub extra: Arc<Dict>,
    pub inventory: Mutex<Inventory>,
    pub hosts: Arc<Mutex<HashMap<String, HostState>>>,
    pub recap: Mutex<BTreeMap<String, HostRecap>>,
    pub timings: Mutex<Vec<Timing>>,
    /// Hosts that have dropped out: failed or unreachable.
    pub lost: Arc<Mutex<HashSet<String>>>,
    /// Whether `start_at_task` was reached, or is not set.
    pub started: Mutex<bool>,
    /// Whether step mode still asks.
    pub stepping: Mutex<bool>,
}

/// A book's plays, with the loader that reads further files for them.
type Loaded = (Arc<Loader>, Vec<Play>);

impl Run {
    fn new(setup: Setup, options: Options) -> Result<Arc<Self>, PlaybookError> {
        let controller = Controller::new(options.inputs.clone(), None);
        let extra = variables::extra(&options.extra_vars, &controller).map_err(PlaybookError::Options)?;
        Ok(Arc::new(Self {
            engine: Arc::new(Engine::new(options.inputs.clone())),
            extra: Arc::new(extra),
            inventory: Mutex::new(setup.inventory.clone()),
            hosts: Arc::default(),
            recap: Mutex::default(),
            timings: Mutex::default(),
            lost: Arc::default(),
            started: Mutex::new(options.start_at_task.is_none()),
            stepping: Mutex::new(options.step.is_some()),
            options,
            setup,
        }))
    }

    pub(crate) fn emit(&self, event: Event) {
        (self.setup.events)(event);
    }

    pub(crate) fn controller(&self) -> Controller {
        Controller::new(self.options.inputs.clone(), None)
    }

    /// The machine for a connection, for running tasks. Work on the controller is recorded: a restored lab would not repeat it.
    pub(crate) fn machine(&self, connection: &Connection, asker: &Controller) -> Option<Arc<dyn Target>> {
        if connection.local {
            asker.uncovered("runs on the controller");
        }
        (self.setup.targets)(connection)
    }

    /// The controller as a machine that reads files. The caller records which.
    pub(crate) fn reader(&self) -> Option<Arc<dyn Target>> {
        (self.setup.targets)(&Connection { host: "localhost".to_owned(), local: true, ..Connection::default() })
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.setup.cancel.is_cancelled()
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        let wait = match &self.options.sleep {
            Some(sleep) => sleep(duration),
            None => Box::pin(tokio::time::sleep(duration)),
        };
        tokio::select! {
            () = wait => {}
            () = self.setup.cancel.cancelled() => {}
        }
    }

    pub(crate) fn count(&self, host: &str, change: impl FnOnce(&mut HostRecap)) {
        change(lock(&self.recap).entry(host.to_owned()).or_default());
    }

    /// The plays of all books, or all faults in them: a fault in the last book stops a run before it changes anything.
    fn load(&self, books: &[Book]) -> Result<Vec<Loaded>, PlaybookError> {
        let (mut loaded, mut faults) = (Vec::new(), Vec::new());
        for book in books {
            let path = match book {
                Book::File(path) | Book::Inside { file: path, .. } => path,
            };
            let path = self.controller().whole(path);
            let folder = path.parent().map(PathBuf::from).unwrap_or_default();
            let loader = Arc::new(Loader::new(self.engine.clone(), folder, self.options.role_paths.clone(), self.extra.clone()));
            let plays = match book {
                Book::File(_) => loader.playbook(&path),
                Book::Inside { list, index, .. } => loader.play_in(&path, list, *index).into_iter().collect(),
            };
            faults.extend(loader.take_faults());
            loaded.push((loader, plays));
        }
        // A role may be in several books.
        let mut told = HashSet::new();
        faults.retain(|fault| told.insert(fault.to_string()));
        if faults.is_empty() { Ok(loaded) } else { Err(PlaybookError::Files(Mistakes(faults))) }
    }
}

/// Runs playbooks one after another.
///
/// # Errors
/// What keeps the run from starting or continuing: invalid files and options. Failed tasks are not errors; they are counted in the
/// [`Recap`].
pub async fn run(books: &[Book], setup: Setup, options: Options) -> Result<Recap, PlaybookError> {
    let run = Run::new(setup, options)?;
    if let Some(limit) = &run.options.limit
        && lock(&run.inventory).select(limit).is_empty()
    {
        return Err(PlaybookError::Options(format!("no host matches the limit '{limit}'")));
    }
    'books: for (loader, plays) in run.load(books)? {
        for play in plays {
            if !play::run_play(&run, &loader, play).await? || run.cancelled() {
                break 'books;
            }
        }
    }
    let mut timings = std::mem::take(&mut *lock(&run.timings));
    timings.sort_by_key(|timing| std::cmp::Reverse(timing.duration));
    let mut lost: Vec<String> = lock(&run.lost).iter().cloned().collect();
    lost.sort();
    Ok(Recap { hosts: lock(&run.recap).clone(), timings, lost, cancelled: run.cancelled() })
}
