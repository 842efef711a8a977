//! Edges that are slow.

use labctl_spec::network::Impairment;
use labctl_spec::scenario::DelayStep;

use super::{Effect, Network};

/// The fault of a delay step.
pub(crate) fn delay(step: &DelayStep) -> Network {
    let jitter = step.jitter.map_or_else(String::new, |jitter| format!(" ± {jitter}"));
    Network {
        kind: "delay",
        what: format!("delay of {}{jitter}", step.time),
        between: step.between.clone(),
        impairment: Impairment {
            delay: step.time.0,
            jitter: step.jitter.map(|jitter| jitter.0).unwrap_or_default(),
            ..Impairment::default()
        },
        effect: Effect { of: |frames| frames.delayed, none: "no frame was delayed" },
    }
}
