//! What happens during a run, as it happens; kept as the report's timeline.

use serde::{Deserialize, Serialize};

use crate::report::Verdict;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the run's start.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// Kinds of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The run began.
    Started {
        /// The scenario's name.
        scenario: String,
        /// The seed of all random choices.
        seed: u64,
    },
    /// A probe began or ceased to hold, or was answered for the first time.
    Probe {
        /// Its name.
        probe: String,
        /// Whether it holds.
        holds: bool,
        /// The answer in words.
        answer: String,
    },
    /// The steady state holds before the first step.
    Steady {
        /// Milliseconds since the run's start from which on it held.
        since_ms: u64,
    },
    /// A step of the method begins.
    Step {
        /// Its place in the method, from 0.
        step: usize,
        /// It in words.
        text: String,
    },
    /// A shot is over; what became of a process.
    Shot {
        /// The step.
        step: usize,
        /// Node.
        node: String,
        /// systemd unit.
        unit: String,
        /// Main pid that was shot at.
        pid: i32,
        /// What became of it, in words: `died after 812 µs`.
        fate: String,
    },
    /// The network was held and is released.
    Released {
        /// Frames held and then delivered.
        frames: u64,
        /// Frames that found no room and were dropped.
        dropped: u64,
        /// For how long, in milliseconds.
        held_ms: f64,
    },
    /// A unit has a new main process.
    Back {
        /// Node.
        node: String,
        /// systemd unit.
        unit: String,
        /// Main pid that was shot at.
        old_pid: i32,
        /// Main pid now.
        new_pid: i32,
        /// Milliseconds since the shot.
        after_ms: u64,
    },
    /// A unit that had been killed has no main process any more although it was back.
    Down {
        /// Node.
        node: String,
        /// systemd unit.
        unit: String,
        /// Its state, such as `activating/auto-restart`.
        state: String,
    },
    /// Something befell a node that no fault is meant to cause: its kernel panicked.
    Mishap {
        /// Node.
        node: String,
        /// What, in words.
        what: String,
    },
    /// A fault is undone.
    Healed {
        /// What had been done.
        what: String,
    },
    /// A fault could not be undone; the journal keeps it.
    NotHealed {
        /// What had been done.
        what: String,
        /// Why.
        error: String,
    },
    /// The steady state holds again.
    Recovered {
        /// Milliseconds from the last shot.
        after_ms: u64,
    },
    /// The run is over.
    Finished {
        /// The verdict.
        verdict: Verdict,
    },
}
