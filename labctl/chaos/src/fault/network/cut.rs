//! Edges that let nothing through.

use std::time::Duration;

use labctl_spec::network::Impairment;
use labctl_spec::scenario::CutStep;

use super::{Effect, edges, impair, text};
use crate::fault::{Fault, Groups, Injection, Scene, bounded};
use crate::options::Options;
use crate::target::{BoxFuture, FaultError};

/// A cut step.
pub(crate) struct Cut(pub CutStep);

impl Fault for Cut {
    fn kind(&self) -> &'static str {
        "cut"
    }

    fn text(&self) -> String {
        format!("network cut {}", text(&self.0.between()))
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
        let effect = Effect { of: |frames| frames.dropped, none: "no frame tried to pass" };
        let impairment = Impairment { cut: true, ..Impairment::default() };
        Box::pin(impair(self, self.0.between(), impairment, effect, scene, step, rest))
    }
}
