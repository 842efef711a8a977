//! Events of a run, reported as they happen and kept as the report's timeline.

use serde::{Deserialize, Serialize};

use crate::verdict::Verdict;

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the run's start.
    pub at_ms: u64,
    /// The event itself.
    #[serde(flatten)]
    pub what: What,
}

/// Kinds of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The run started.
    Started {
        /// The scenario's name.
        scenario: String,
        /// The seed of all random choices.
        seed: u64,
    },
    /// A probe started or stopped holding, or returned its first answer.
    Probe {
        /// Its name.
        probe: String,
        /// Whether it holds.
        holds: bool,
        /// The answer, for display.
        answer: String,
    },
    /// The steady state holds before the first step.
    Steady {
        /// Milliseconds from the run's start to the time since which it has held.
        since_ms: u64,
    },
    /// A step of the method starts.
    Step {
        /// Its position in the method, from 0.
        step: usize,
        /// The step, for display.
        text: String,
    },
    /// A shot is over: what happened to one process.
    Shot {
        /// The step.
        step: usize,
        /// Node.
        node: String,
        /// systemd unit.
        unit: String,
        /// Main pid that the signal was sent to.
        pid: i32,
        /// What happened to it, for display: `died after 812 µs`.
        fate: String,
    },
    /// The network was held and has been released.
    Released {
        /// Frames held and then delivered.
        frames: u64,
        /// Frames that were dropped for lack of room.
        dropped: u64,
        /// Duration of the hold in milliseconds.
        held_ms: f64,
    },
    /// A unit has a new main process.
    Back {
        /// Node.
        node: String,
        /// systemd unit.
        unit: String,
        /// Main pid that the signal was sent to.
        old_pid: i32,
        /// Current main pid.
        new_pid: i32,
        /// Milliseconds since the shot.
        after_ms: u64,
    },
    /// A killed unit that was back has no main process again.
    Down {
        /// Node.
        node: String,
        /// systemd unit.
        unit: String,
        /// Its state, such as `activating/auto-restart`.
        state: String,
    },
    /// Something happened to a node that no fault is meant to cause: its kernel panicked.
    Mishap {
        /// Node.
        node: String,
        /// What happened, for display.
        what: String,
    },
    /// A fault has been undone.
    Healed {
        /// The fault.
        what: String,
    },
    /// A fault could not be undone; the journal keeps it.
    NotHealed {
        /// The fault.
        what: String,
        /// The error.
        error: String,
    },
    /// The steady state holds again.
    Recovered {
        /// Milliseconds since the last shot.
        after_ms: u64,
    },
    /// The run is over.
    Finished {
        /// The verdict.
        verdict: Verdict,
    },
}
