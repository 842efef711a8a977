//! Edges of the network that are cut, slow or lossy. An edge is directed: from one node to another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::validate::{Known, StepCheck};
use crate::duration::Duration;
use crate::report::Report;

/// The name for everything outside of the lab: the host, the internet, published ports.
const OUTSIDE: &str = "outside";

/// Which edges a step means, and for how long. Its keys stand among the step's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Between {
    /// Groups or nodes at one end; `outside` is everything that is not in the lab.
    #[schemars(length(min = 1))]
    pub from: Vec<String>,
    /// Groups or nodes at the other end.
    #[schemars(length(min = 1))]
    pub to: Vec<String>,
    /// Impair only what `from` sends to `to`; default: both ways.
    #[serde(default)]
    pub one_way: bool,
    /// For how long, before the next step; default: until the method ends.
    #[serde(rename = "for")]
    pub lasts: Option<Duration>,
}

/// Nothing passes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct CutStep {
    /// Its edges.
    #[serde(flatten)]
    pub between: Between,
}

/// What passes arrives later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct DelayStep {
    /// Its edges.
    #[serde(flatten)]
    pub between: Between,
    /// How much later each frame arrives.
    pub time: Duration,
    /// Largest deviation from `time`, evenly spread to both sides; default: none.
    pub jitter: Option<Duration>,
}

/// Some of what passes is lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct LossStep {
    /// Its edges.
    #[serde(flatten)]
    pub between: Between,
    /// How many of a hundred frames are lost, at random by the run's seed.
    pub percent: f64,
}

impl StepCheck for Between {
    fn check(&self, at: &str, known: Option<&Known>, report: &mut Report) {
        if self.lasts.is_some_and(|time| time.0.is_zero()) {
            report.add(&format!("{at}/for"), "the time is zero", "write a time such as `30s`, or leave `for` out");
        }
        if self.from.len() == 1 && self.from == self.to && known.is_none_or(|known| known.is_node(&self.from[0]) || self.from[0] == OUTSIDE)
        {
            report.add(&format!("{at}/to"), format!("`{}` is at both ends", self.from[0]), "name different nodes in `from` and `to`");
        }
        if let Some(known) = known {
            known.check_names(&self.from, &[OUTSIDE], &format!("{at}/from"), report);
            known.check_names(&self.to, &[OUTSIDE], &format!("{at}/to"), report);
        }
    }
}

impl StepCheck for CutStep {
    fn check(&self, at: &str, known: Option<&Known>, report: &mut Report) {
        self.between.check(at, known, report);
    }
}

impl StepCheck for DelayStep {
    fn check(&self, at: &str, known: Option<&Known>, report: &mut Report) {
        self.between.check(at, known, report);
        if self.time.0.is_zero() {
            report.add(&format!("{at}/time"), "the time is zero", "write a time such as `100ms`");
        }
        if self.jitter.is_some_and(|jitter| jitter > self.time) {
            report.add(&format!("{at}/jitter"), "the jitter is larger than the delay", "frames cannot arrive before they were sent");
        }
    }
}

impl StepCheck for LossStep {
    fn check(&self, at: &str, known: Option<&Known>, report: &mut Report) {
        self.between.check(at, known, report);
        if !(self.percent > 0.0 && self.percent <= 100.0) {
            let reason = format!("{} is no share of a hundred frames", self.percent);
            report.add(&format!("{at}/percent"), reason, "write a number above 0, up to 100; `cut` loses everything");
        }
    }
}
