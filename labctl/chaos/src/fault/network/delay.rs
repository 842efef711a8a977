//! Edges that are slow.

use std::time::Duration;

use labctl_spec::network::Impairment;
use labctl_spec::scenario::DelayStep;

use super::{Effect, edges, impair, text};
use crate::fault::{Fault, Groups, Injection, Scene, bounded};
use crate::options::Options;
use crate::target::{BoxFuture, FaultError};

/// A delay step.
pub(crate) struct Delay(pub DelayStep);

impl Fault for Delay {
    fn kind(&self) -> &'static str {
        "delay"
    }

    fn text(&self) -> String {
        let jitter = self.0.jitter.map_or_else(String::new, |jitter| format!(" ± {jitter}"));
        format!("delay of {}{jitter} {}", self.0.time, text(&self.0.between()))
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
        let effect = Effect { of: |frames| frames.delayed, none: "no frame was delayed" };
        let jitter = self.0.jitter.map(|jitter| jitter.0).unwrap_or_default();
        let impairment = Impairment { delay: self.0.time.0, jitter, ..Impairment::default() };
        Box::pin(impair(self, self.0.between(), impairment, effect, scene, step, rest))
    }
}
