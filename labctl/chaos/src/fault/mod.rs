//! Faults, one file each, and what they share.

mod comeback;
mod kill;
mod stopped;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::lease::{Journal, Lease, OpenLease, Undo, unix_ms};
use crate::options::Options;
use crate::target::{FaultError, FaultTarget, Held};

pub(crate) use comeback::Comebacks;
pub(crate) use kill::{Fired, kill, text};
pub(crate) use watch::{Sighting, watch};

/// What a kill step did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KillReport {
    /// The step's position in the method, from 0.
    pub step: usize,
    /// The step, for display.
    pub text: String,
    /// The signal's name.
    pub signal: String,
    /// Nodes that could have been picked, sorted.
    pub candidates: Vec<String>,
    /// Nodes that were picked, sorted.
    pub picked: Vec<String>,
    /// Time of the first shot in milliseconds since the run's start; none if nothing was fired.
    pub shot_ms: Option<u64>,
    /// Every intended process.
    pub targets: Vec<TargetReport>,
    /// How simultaneous it was.
    pub skew: Option<Skew>,
    /// What the switch held meanwhile.
    pub held: Option<HeldReport>,
    /// Why the fault counts as having no effect; none if it hit every intended process.
    pub no_effect: Option<String>,
}

/// A unit's main process as the target of a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetReport {
    /// Node.
    pub node: String,
    /// systemd unit.
    pub unit: String,
    /// Main pid when it was armed; 0 if there was none.
    pub old_pid: i32,
    /// Main pid when last seen, if it has changed.
    pub new_pid: Option<i32>,
    /// What happened to the process.
    pub fate: Fate,
    /// Microseconds from the signal to the death, by the guest's own clock.
    pub latency_us: Option<u64>,
    /// Milliseconds from the shot to the agent's answer, by the controller's clock.
    pub answered_ms: Option<f64>,
    /// Milliseconds from the shot until the new main process was first seen.
    pub back_after_ms: Option<u64>,
    /// The unit's state when last seen, such as `active/running`.
    pub state: String,
    /// What went wrong.
    pub error: Option<String>,
}

/// What happened to a process that was signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Nothing was sent.
    Untouched,
    /// It received the signal; whether it died is not known yet.
    Signalled,
    /// It died.
    Died,
    /// It is stopped.
    Stopped,
    /// It continued after having been stopped.
    Continued,
    /// It received the signal and is still running as before.
    Survived,
}

/// How simultaneous a shot was, by the controller's clock alone, because clocks of guests are not comparable.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Skew {
    /// Milliseconds between the first and the last confirmed death.
    pub spread_ms: f64,
    /// Milliseconds from the first shot to the last confirmed death: no two deaths can be further apart.
    pub within_ms: f64,
}

/// What the switch held back during a shot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeldReport {
    /// Frames held and then delivered.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that were dropped for lack of room.
    pub dropped: u64,
    /// Duration of the hold in milliseconds.
    pub duration_ms: f64,
}

impl From<Held> for HeldReport {
    fn from(held: Held) -> Self {
        Self { frames: held.frames, bytes: held.bytes, dropped: held.dropped, duration_ms: held.duration.as_secs_f64() * 1e3 }
    }
}

/// What a fault needs to know about its run.
pub(crate) struct Scene<'a> {
    pub scenario: &'a str,
    pub groups: &'a BTreeMap<String, Vec<String>>,
    pub target: &'a Arc<dyn FaultTarget>,
    pub journal: &'a Arc<dyn Journal>,
    pub options: &'a Options,
    pub start: Instant,
}

impl Scene<'_> {
    /// Records a fault in the journal that must be undone after `length`.
    fn lease(&self, what: String, undo: Undo, length: std::time::Duration) -> Result<OpenLease, FaultError> {
        let lease = Lease {
            id: format!("{:020}", crate::lease::next_shot()),
            scenario: self.scenario.to_owned(),
            seed: self.options.seed,
            what,
            undo,
            expires_unix_ms: unix_ms().saturating_add(length.as_millis() as u64),
        };
        OpenLease::record(lease, self.journal, self.target)
    }

    fn since_start(&self, at: Instant) -> u64 {
        (at - self.start).as_millis() as u64
    }
}
