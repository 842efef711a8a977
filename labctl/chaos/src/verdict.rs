//! How a run ends.

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every fault hit its targets, and the steady state came back in time.
    Passed,
    /// Every fault hit, but the steady state did not come back in time.
    Failed,
    /// A fault did not do what it was meant to do, so the run proves nothing.
    NoEffect,
    /// The steady state did not hold before the first step; nothing was broken.
    NotSteadyBefore,
    /// The run could not be completed: the scenario does not fit the lab, or an agent, the switch or the journal failed.
    Aborted,
}

impl Verdict {
    /// In words.
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
