//! Edges that lose frames at random.

use std::time::Duration;

use labctl_spec::network::Impairment;
use labctl_spec::scenario::LossStep;

use super::{Effect, edges, impair, text};
use crate::fault::{Fault, Groups, Injection, Scene, bounded};
use crate::options::Options;
use crate::target::{BoxFuture, FaultError};

/// A loss step.
pub(crate) struct Loss(pub LossStep);

impl Fault for Loss {
    fn kind(&self) -> &'static str {
        "loss"
    }

    fn text(&self) -> String {
        format!("loss of {} % {}", self.0.percent, text(&self.0.between()))
    }

    fn check(&self, groups: &Groups) -> Result<(), FaultError> {
        edges(&self.0.between(), groups).map(drop)
    }

    fn length(&self, options: &Options) -> Duration {
        options.fire_limit
    }

    fn lasts(&self) -> Option<Duration> {
        self.0.lasts.map(bounded)
    }

    fn inject<'a>(&'a self, scene: &'a Scene<'a>, step: usize, rest: Duration) -> BoxFuture<'a, Result<Injection, FaultError>> {
        let effect = Effect { of: |frames| frames.dropped, none: "no frame was lost" };
        let impairment = Impairment { loss: self.0.percent / 100.0, ..Impairment::default() };
        Box::pin(impair(self, self.0.between(), impairment, effect, scene, step, rest))
    }
}
