//! How a scenario is run.

use std::time::Duration;

use crate::lease::Owner;

/// Options of a run. All randomness derives from `seed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Decides which nodes are picked. Keep it below 2^53 so that every JSON parser reads the same number from the
    /// report.
    pub seed: u64,
    /// The command that ran this scenario, without `--seed`, such as `labctl scenario run scenarios/kill_nomad.yml`.
    pub command: String,
    /// Time between the starts of a probe's queries, if the answer arrives by then.
    pub interval: Duration,
    /// Time limit for a probe's answer.
    pub probe_limit: Duration,
    /// How long every probe must hold without interruption before the state counts as steady. Not part of the time to
    /// recover.
    pub settle: Duration,
    /// How long to wait for the steady state before the first step.
    pub steady_limit: Duration,
    /// How often a killed unit's state is polled.
    pub poll: Duration,
    /// Time limit for agents to hold the intended processes.
    pub arm_limit: Duration,
    /// Time limit for agents to confirm deaths. The network is held at most a second longer.
    pub fire_limit: Duration,
    /// How much longer than the rest of the method a process stays stopped if nobody notices that the run was killed.
    pub lease_margin: Duration,
    /// The process of this run: what it has stopped continues when it is gone.
    pub owner: Option<Owner>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            command: String::new(),
            interval: Duration::from_millis(200),
            probe_limit: Duration::from_secs(3),
            settle: Duration::from_secs(2),
            steady_limit: Duration::from_secs(120),
            poll: Duration::from_millis(100),
            arm_limit: Duration::from_secs(10),
            fire_limit: Duration::from_secs(10),
            lease_margin: Duration::from_secs(60),
            owner: None,
        }
    }
}
