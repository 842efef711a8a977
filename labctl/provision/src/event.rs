//! Events of a run, for the caller to display.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

/// The outcome of a task on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing had to change.
    Ok,
    /// Something was changed.
    Changed,
    /// Its condition was false.
    Skipped,
    /// It failed.
    Failed,
    /// It failed, and a `rescue` follows.
    Rescued,
    /// It failed, and the task ignores errors.
    Ignored,
    /// The host could not be reached.
    Unreachable,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A play starts on a batch of hosts.
    PlayStart {
        /// Its name, or its hosts pattern.
        name: String,
        /// The hosts.
        hosts: Vec<String>,
    },
    /// A task starts.
    TaskStart {
        /// Its name with that of its role: `role : name`.
        name: String,
        /// The file that contains it.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Short name of its module.
        action: String,
        /// Whether it is a handler.
        handler: bool,
    },
    /// One iteration of a loop finished on a host.
    ItemResult {
        /// The host.
        host: String,
        /// Name of the task: hosts may be at different ones.
        task: String,
        /// The outcome.
        status: Status,
        /// The item's label.
        item: String,
        /// What the module returned; censored by `no_log`.
        result: Map<String, Value>,
    },
    /// A task finished on a host.
    HostResult {
        /// The host.
        host: String,
        /// Name of the task: hosts may be at different ones.
        task: String,
        /// Location of the task, `file:line`.
        place: String,
        /// The outcome.
        status: Status,
        /// What the module returned; censored by `no_log`.
        result: Map<String, Value>,
        /// Time from start to end.
        #[serde(serialize_with = "seconds")]
        duration: Duration,
        /// The host that ran the task, if not this one.
        delegated_to: Option<String>,
    },
    /// Tasks of a file or role were included.
    Included {
        /// The file or role.
        what: String,
        /// The hosts that include them.
        hosts: Vec<String>,
    },
    /// Something that the user should know.
    Warning {
        /// The text.
        message: String,
    },
    /// A play has no hosts left to continue with.
    NoHostsRemaining,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// Counts of a host's tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HostRecap {
    /// Tasks that succeeded, changed ones included.
    pub ok: u32,
    /// Tasks that changed something.
    pub changed: u32,
    /// Times the host could not be reached.
    pub unreachable: u32,
    /// Tasks that failed.
    pub failed: u32,
    /// Tasks that were skipped.
    pub skipped: u32,
    /// Failures handled by a `rescue`.
    pub rescued: u32,
    /// Failures that were ignored.
    pub ignored: u32,
}

/// The time that a task took.
#[derive(Debug, Clone, Serialize)]
pub struct Timing {
    /// Name of the task.
    pub name: String,
    /// Its location: `file:line`.
    pub place: String,
    /// Time until the last host finished.
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
}

/// The outcome of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Recap {
    /// Counts by host.
    pub hosts: BTreeMap<String, HostRecap>,
    /// Tasks, slowest first.
    pub timings: Vec<Timing>,
    /// Hosts that dropped out: failed or unreachable, and not rescued or ignored.
    pub lost: Vec<String>,
    /// Whether the caller cancelled it.
    pub cancelled: bool,
}

impl Recap {
    /// Whether no host failed or dropped out.
    pub fn succeeded(&self) -> bool {
        !self.cancelled && self.lost.is_empty()
    }

    /// Number of tasks that changed something, over all hosts.
    pub fn changed(&self) -> u32 {
        self.hosts.values().map(|host| host.changed).sum()
    }
}
