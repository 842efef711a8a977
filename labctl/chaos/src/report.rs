//! A run's results: plain data, stable as JSON.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::fault::KillReport;
use crate::observe::ProbeReport;

/// Version of the report's JSON: increased when a field changes its meaning or is removed.
pub const REPORT_VERSION: u32 = 1;

/// A run's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// The scenario's name.
    pub scenario: String,
    /// What it demonstrates.
    pub description: Option<String>,
    /// The seed of all random choices.
    pub seed: u64,
    /// Start time in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Duration in milliseconds.
    pub elapsed_ms: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it did not pass, in one or more sentences.
    pub reason: Option<String>,
    /// What the user can do next, if known.
    pub hint: Option<String>,
    /// The wait for the steady state before the first step.
    pub before: Before,
    /// The faults in the order of the method.
    pub faults: Vec<KillReport>,
    /// The return to the steady state; none if no fault was injected.
    pub recovery: Option<Recovery>,
    /// The probes from the first step on, in the scenario's order.
    pub probes: Vec<ProbeReport>,
    /// All events in order.
    pub timeline: Vec<Event>,
    /// The command that repeats this run.
    pub repeat: String,
}

/// The result of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every fault hit its targets, and the steady state returned in time.
    Passed,
    /// Every fault hit, but the steady state did not return in time.
    Failed,
    /// A fault did not do what it claims, so nothing was demonstrated.
    NoEffect,
    /// The steady state did not hold before the first step; nothing was broken.
    NotSteadyBefore,
    /// The run could not be completed: the scenario does not fit the lab, or an agent, the switch or the journal
    /// failed.
    Aborted,
}

impl Verdict {
    /// The verdict, for display.
    pub fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NoEffect => "no effect",
            Self::NotSteadyBefore => "not steady before",
            Self::Aborted => "aborted",
        }
    }
}

/// The wait for the steady state before the first step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Whether it held.
    pub steady: bool,
    /// How long the wait took, in milliseconds.
    pub waited_ms: u64,
    /// The probes that did not hold at the end of the wait, with their last answers.
    pub complaints: Vec<String>,
}

/// The return to the steady state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Seconds from the last shot until every probe held, on the killed units' new processes; none if that did not
    /// happen.
    pub seconds: Option<f64>,
    /// Seconds allowed, counted from the end of the last fault.
    pub allowed_seconds: f64,
    /// The probes that did not hold at the end, with their last answers, and the units that were not back.
    pub complaints: Vec<String>,
}
