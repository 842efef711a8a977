//! Edges that lose frames at random.

use labctl_spec::network::Impairment;
use labctl_spec::scenario::LossStep;

use super::{Effect, Network};

/// The fault of a loss step.
pub(crate) fn loss(step: &LossStep) -> Network {
    Network {
        kind: "loss",
        what: format!("loss of {} %", step.percent),
        between: step.between.clone(),
        impairment: Impairment { loss: step.percent / 100.0, ..Impairment::default() },
        effect: Effect { of: |frames| frames.dropped, none: "no frame was lost" },
    }
}
