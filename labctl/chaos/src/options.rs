//! How a scenario is run.

use std::time::Duration;

/// Choices of one run. Everything random follows from `seed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Decides who is picked. Keep it below 2^53, so that every reader of the JSON report reads the same number.
    pub seed: u64,
    /// The command that ran this scenario, without `--seed`, such as `labctl scenario run scenarios/kill_nomad.yml`.
    pub command: String,
    /// From the start of a probe's question to the start of its next one, if the answer came by then.
    pub interval: Duration,
    /// How long a probe may take to answer.
    pub probe_limit: Duration,
    /// For how long every probe must hold without a break before the state counts as steady. Not part of the time to recover.
    pub settle: Duration,
    /// How long to wait for the steady state before the first step.
    pub steady_limit: Duration,
    /// How often a killed unit's state is asked for.
    pub poll: Duration,
    /// How long agents may take to hold the processes that are meant.
    pub arm_limit: Duration,
    /// How long agents may take to confirm deaths. The network is held no longer than this and a second.
    pub fire_limit: Duration,
    /// How much longer than the rest of the method a stopped process stays stopped if the run dies.
    pub lease_margin: Duration,
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
        }
    }
}
