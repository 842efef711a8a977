//! What a run found: plain data, stable as JSON.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::fault::FaultReport;
use crate::observe::ProbeReport;
use crate::verdict::Verdict;

/// Version of the report's JSON: raised when a field changes its meaning or is removed.
pub const REPORT_VERSION: u32 = 2;

/// A run's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// The scenario's name.
    pub scenario: String,
    /// What it shows.
    pub description: Option<String>,
    /// The seed of all random choices.
    pub seed: u64,
    /// When it started, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it did not pass, in a sentence or a few.
    pub reason: Option<String>,
    /// The next step for the reader, if one is known.
    pub hint: Option<String>,
    /// The wait for the steady state before the first step.
    pub before: Before,
    /// The faults in the order of the method.
    pub faults: Vec<FaultReport>,
    /// The way back to the steady state; none if no fault was injected.
    pub recovery: Option<Recovery>,
    /// The probes from the first step on, in the scenario's order.
    pub probes: Vec<ProbeReport>,
    /// What happened when.
    pub timeline: Vec<Event>,
    /// The command that repeats this run.
    pub repeat: String,
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

/// The way back to the steady state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Seconds from the last shot until every probe held, with the killed units' new processes; none if that did not happen.
    pub seconds: Option<f64>,
    /// Allowed seconds, counted from the end of the last fault.
    pub allowed_seconds: f64,
    /// The probes that did not hold at the end, with their last answers, and the units that were not back.
    pub complaints: Vec<String>,
}
