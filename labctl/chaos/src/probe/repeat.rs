//! A probe that is asked again and again.

use std::sync::Arc;
use std::time::Duration;

use labctl_spec::scenario::Check;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep_until};

use super::ask;
use crate::observe::Sample;
use crate::target::FaultTarget;

/// No interval is shorter: a probe must leave the processor to others.
const SHORTEST: Duration = Duration::from_millis(1);

/// Asks until the receiver is gone (or the task is aborted). A question is never asked while its predecessor is open. The
/// pause after an answer is half an interval at least: a guest that is slow to answer is not made slower by being asked.
pub(crate) async fn repeat<M: From<Sample>>(
    probe: usize,
    check: Check,
    target: Arc<dyn FaultTarget>,
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
