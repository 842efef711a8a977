//! Edges that nothing passes.

use labctl_spec::network::Impairment;
use labctl_spec::scenario::CutStep;

use super::{Effect, Network};

/// The fault of a cut step.
pub(crate) fn cut(step: &CutStep) -> Network {
    Network {
        kind: "cut",
        what: "network cut".to_owned(),
        between: step.between.clone(),
        impairment: Impairment { cut: true, ..Impairment::default() },
        effect: Effect { of: |frames| frames.dropped, none: "no frame tried to pass" },
    }
}
