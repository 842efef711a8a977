//! Faults, one file or folder each, and what they have in common.
//!
//! A [`Fault`] is a step of a scenario. Once injected, it is an [`Injected`] until the run ends. An [`Undo`] undoes it and is journalled
//! before anything is done. [`registry`] is the table of all kinds.
//!
//! ```text
//! check ─▶ inject, under a lease ─▶ watched ─▶ observe ─▶ undo ─▶ conclude ─▶ report
//! ```

pub(crate) mod kill;
pub(crate) mod network;
pub(crate) mod registry;
pub(crate) mod units;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use labctl_spec::duration;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::event::What;
use crate::ids::{next_id, unix_ms};
use crate::lease::{Journal, Lease, OpenLease};
use crate::options::Options;
use crate::target::{BoxFuture, FaultError, Target};
use crate::undo::Undo;

/// A lab's groups with their nodes; `all` is one of them.
pub(crate) type Groups = BTreeMap<String, Vec<String>>;

/// A duration from the file, limited so that it can be added to any instant: a file may specify more than a clock can hold.
pub(crate) fn bounded(duration: duration::Duration) -> Duration {
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
    duration.0.min(LONGEST)
}

/// A step that breaks something.
pub(crate) trait Fault: Send + Sync {
    /// Its key in the scenario file and its `kind` in the report.
    fn kind(&self) -> &'static str;

    /// The step in words, such as `SIGKILL to consul.service on servers`.
    fn text(&self) -> String;

    /// Rejects a step that cannot work in this lab, before anything is started.
    ///
    /// # Errors
    /// The lab has no such name.
    fn check(&self, groups: &Groups) -> Result<(), FaultError>;

    /// The longest that injecting takes, by itself.
    fn length(&self, options: &Options) -> Duration;

    /// How long the method waits before the fault is undone and the next step starts; none if the method continues and the fault stays in
    /// effect until the end of the method.
    fn lasts(&self) -> Option<Duration> {
        None
    }

    /// Injects the fault. `step` is its position in the method, from 0; `rest` is how long the steps after it take by themselves.
    ///
    /// # Errors
    /// Nothing was done: an agent, the switch or the journal failed first.
    fn inject<'a>(&'a self, scene: &'a Scene<'a>, step: usize, rest: Duration) -> BoxFuture<'a, Result<Injection, FaultError>>;
}

/// The result of injecting a fault.
pub(crate) struct Injection {
    /// The fault from now on.
    pub fault: Box<dyn Injected>,
    /// When it started and when it was complete; none if nothing was done.
    pub at: Option<(Instant, Instant)>,
    /// Events to report.
    pub tell: Vec<What>,
    /// The lease, if something must be undone.
    pub lease: Option<OpenLease>,
    /// What it has undone of earlier faults.
    pub undoes: Option<Undo>,
    /// Units to watch from now on.
    pub watch: Vec<units::Watched>,
    /// The error, if something failed after the fault was injected.
    pub broken: Option<FaultError>,
}

impl Injection {
    /// A fault that has done nothing.
    pub(crate) fn nothing(fault: Box<dyn Injected>) -> Self {
        Self { fault, at: None, tell: Vec::new(), lease: None, undoes: None, watch: Vec::new(), broken: None }
    }
}

/// A fault that was injected.
pub(crate) trait Injected: Send {
    /// Handles a change in a unit's state.
    fn see(&mut self, _sighting: units::Sighting) -> Option<What> {
        None
    }

    /// Records its effect, right before it is undone.
    fn observe<'a>(&'a mut self, _target: &'a dyn Target) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    /// When the last thing that it took down came back; `from` if it took nothing down; none while something is still down.
    fn restored(&self, from: Instant) -> Option<Instant> {
        Some(from)
    }

    /// What is still down, for display.
    fn complaints(&self) -> Vec<String> {
        Vec::new()
    }

    /// Final assessment of its effect, at the end of the run.
    fn conclude(&mut self) {}

    /// What it did.
    fn report(&self) -> FaultReport;
}

/// What a fault did: the same shape for each kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultReport {
    /// The step's position in the method, from 0.
    pub step: usize,
    /// The kind of fault: its key in the scenario file.
    pub kind: String,
    /// The step in words.
    pub text: String,
    /// Nodes it could pick from, sorted.
    pub candidates: Vec<String>,
    /// Nodes that were picked, sorted.
    pub picked: Vec<String>,
    /// When it was injected, in milliseconds since the run's start; none if nothing was done.
    pub injected_ms: Option<u64>,
    /// Why the fault counts as having had no effect; none if it did everything it was meant to do.
    pub no_effect: Option<String>,
    /// Details specific to this kind, such as [`kill::KillDetails`].
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl FaultReport {
    /// The details as the kind's own type; none if they come from a different version.
    pub fn details<T: for<'de> Deserialize<'de>>(&self) -> Option<T> {
        serde_json::from_value(Value::Object(self.details.clone())).ok()
    }
}

/// Details in the form used in a report.
pub(crate) fn as_details(details: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(details) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// What a fault needs to know about its run.
pub(crate) struct Scene<'a> {
    pub scenario: &'a str,
    pub groups: &'a Groups,
    pub target: &'a Arc<dyn Target>,
    pub journal: &'a Arc<dyn Journal>,
    pub options: &'a Options,
    pub start: Instant,
}

impl Scene<'_> {
    /// Journals a fault that must be undone after `length`.
    pub(crate) fn lease(&self, what: String, undo: Undo, length: Duration) -> Result<OpenLease, FaultError> {
        // A process that stays stopped is of use to nobody but the run. An impairment of the network may be wanted for as long as it lasts.
        let owner = self.options.owner.filter(|_| matches!(undo, Undo::Continue { .. }));
        let lease = Lease {
            owner,
            id: format!("{:020}", next_id()),
            scenario: self.scenario.to_owned(),
            seed: self.options.seed,
            what,
            undo,
            expires_unix_ms: unix_ms().saturating_add(length.as_millis() as u64),
        };
        OpenLease::record(lease, self.journal, self.target)
    }

    pub(crate) fn since_start(&self, at: Instant) -> u64 {
        (at - self.start).as_millis() as u64
    }
}
