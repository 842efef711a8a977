//! Runs a probe repeatedly.

use std::sync::Arc;
use std::time::Duration;

use labctl_spec::scenario::Check;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep_until};

use super::{Answer, ask};
use crate::target::Target;

/// The shortest interval: a probe must leave the processor to others.
const SHORTEST: Duration = Duration::from_millis(1);

/// One answer of a probe.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub probe: usize,
    pub started: Instant,
    pub ended: Instant,
    pub answer: Answer,
}

/// Queries until the receiver is gone (or the task is aborted). A query never starts while the previous one is open. The pause after an
/// answer is at least half an interval, so that a guest that is slow to answer is not slowed down further.
pub(crate) async fn repeat<M: From<Sample>>(
    probe: usize,
    check: Check,
    target: Arc<dyn Target>,
    interval: Duration,
    limit: Duration,
    samples: UnboundedSender<M>,
) {
    let interval = interval.max(SHORTEST);
    loop {
        let started = Instant::now();
        let answer = ask(&check, &*target, limit).await;
        let ended = Instant::now();
        let sample = Sample { probe, started, ended, answer };
        if samples.send(sample.into()).is_err() {
            return;
        }
        sleep_until((started + interval).max(ended + interval / 2)).await;
    }
}
