//! What the probes saw: windows of unavailability, time to detect, time to recover, and since when the state has been steady.
//!
//! ```text
//!            barrier set                 all probes held since
//!  unsteady ─────────────▶ unsteady ─────────────────────────▶ steady since t
//!      ▲                                                            │
//!      └──────── a probe fails, or the barrier is moved ────────────┘
//! ```
//!
//! The *barrier* guards against "steady because nothing has noticed yet": only samples started after it count. While a killed unit is not
//! back, there is no barrier and no sample counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::probe::Sample;

/// A period in which a probe did not hold: from the start of the first query that failed to the end of the first that held again. Both ends
/// err towards a longer outage, each by at most one interval and one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Start, in milliseconds since the run's start.
    pub from_ms: u64,
    /// End, likewise; none if the probe never held again.
    pub to_ms: Option<u64>,
    /// Failed queries in this window.
    pub failures: u64,
    /// The first answer that did not hold.
    pub first: String,
    /// The last one that did not hold.
    pub last: String,
}

/// What a probe saw from the first step on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The probe's name.
    pub name: String,
    /// Queries made.
    pub asked: u64,
    /// Queries whose answer did not hold.
    pub failed: u64,
    /// When it did not hold.
    pub windows: Vec<Window>,
    /// Milliseconds from the first shot to the end of the first query that failed after it.
    pub detected_after_ms: Option<u64>,
    /// Milliseconds from the last shot to the end of the last window; none if there is no window, or if it never held again.
    pub recovered_after_ms: Option<u64>,
    /// Total milliseconds for which it did not hold.
    pub unavailable_ms: u64,
    /// Whether the last answer held.
    pub holds: bool,
    /// The last answer.
    pub last: String,
}

#[derive(Default)]
struct Watched {
    report: ProbeReport,
    /// The last sample, evaluated again when the barrier moves.
    last: Option<Sample>,
    /// End of the first good sample in the unbroken sequence after the barrier, and the length of that sequence.
    good: Option<(Instant, u64)>,
}

/// Takes samples in the order in which they ended.
pub(crate) struct Observer {
    start: Instant,
    probes: Vec<Watched>,
    barrier: Option<Instant>,
    shots: Vec<Instant>,
    recording: bool,
}

impl Observer {
    pub(crate) fn new(start: Instant, names: impl Iterator<Item = String>) -> Self {
        let watched = |name| Watched {
            report: ProbeReport { name, last: "not asked yet".to_owned(), ..ProbeReport::default() },
            ..Watched::default()
        };
        Self { start, probes: names.map(watched).collect(), barrier: Some(start), shots: Vec::new(), recording: false }
    }

    /// From now on samples go into the report.
    pub(crate) fn record(&mut self) {
        self.recording = true;
    }

    /// A shot was fired. The state is not steady again until the barrier is set again.
    pub(crate) fn shot(&mut self, at: Instant) {
        self.shots.push(at);
        self.set_barrier(None);
    }

    /// Only samples started after `barrier` count towards the steady state; without a barrier, none count.
    pub(crate) fn set_barrier(&mut self, barrier: Option<Instant>) {
        if self.barrier == barrier {
            return;
        }
        self.barrier = barrier;
        for watched in &mut self.probes {
            watched.good = match (&watched.last, barrier) {
                (Some(last), Some(barrier)) if last.answer.holds && last.started > barrier => Some((last.ended, 1)),
                _ => None,
            };
        }
    }

    /// Takes a sample. Returns whether it changed the probe's state (or the state was unknown before).
    pub(crate) fn take(&mut self, sample: Sample) -> bool {
        let (start, recording) = (self.start, self.recording);
        let since = |at: Instant| (at - start).as_millis() as u64;
        let first_shot = self.shots.first().copied();
        // The outage cannot be older than the shot that caused it, although the query may be.
        let began = self.shots.iter().copied().filter(|shot| *shot <= sample.ended).fold(sample.started, Instant::max);
        let counts = self.barrier.is_some_and(|barrier| sample.started > barrier);
        let Some(watched) = self.probes.get_mut(sample.probe) else {
            return false;
        };
        let holds = sample.answer.holds;
        let changed = watched.last.as_ref().is_none_or(|last| last.answer.holds != holds);
        watched.good = match watched.good {
            _ if !holds => None,
            Some((since, n)) => Some((since, n + 1)),
            None => counts.then_some((sample.ended, 1)),
        };

        let report = &mut watched.report;
        report.holds = holds;
        report.last.clone_from(&sample.answer.words);
        if recording {
            report.asked += 1;
            let open = report.windows.last_mut().filter(|w| w.to_ms.is_none());
            match (open, holds) {
                (Some(window), true) => window.to_ms = Some(since(sample.ended)),
                (Some(window), false) => {
                    window.failures += 1;
                    window.last.clone_from(&sample.answer.words);
                }
                (None, true) => {}
                (None, false) => report.windows.push(Window {
                    from_ms: since(began),
                    to_ms: None,
                    failures: 1,
                    first: sample.answer.words.clone(),
                    last: sample.answer.words.clone(),
                }),
            }
            if !holds {
                report.failed += 1;
                if let Some(shot) = first_shot.filter(|shot| *shot <= sample.ended) {
                    let after = (sample.ended - shot).as_millis() as u64;
                    report.detected_after_ms.get_or_insert(after);
                }
            }
        }
        watched.last = Some(sample);
        changed
    }

    /// Since when every probe has held without interruption after the barrier.
    pub(crate) fn steady_since(&self) -> Option<Instant> {
        let mut latest = self.barrier?;
        for watched in &self.probes {
            latest = latest.max(watched.good?.0);
        }
        Some(latest)
    }

    /// [`steady_since`](Self::steady_since), once it has lasted for `settle` and each probe has held at least twice.
    pub(crate) fn settled(&self, settle: Duration) -> Option<Instant> {
        let since = self.steady_since()?;
        // The state has only lasted as long as the probe with the oldest answer confirms.
        let heard = self.probes.iter().map(|watched| watched.last.as_ref().map(|last| last.ended)).min()??;
        let twice = self.probes.iter().all(|watched| watched.good.is_some_and(|(_, n)| n >= 2));
        (twice && heard >= since + settle).then_some(since)
    }

    /// The probes that do not hold now, with their last answers.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.probes
            .iter()
            .map(|watched| &watched.report)
            .filter(|report| !report.holds)
            .map(|report| format!("{}: {}", report.name, report.last))
            .collect()
    }

    /// The reports as of `now`.
    pub(crate) fn reports(&self, now: Instant) -> Vec<ProbeReport> {
        let now = (now - self.start).as_millis() as u64;
        let last_shot = self.shots.last().map(|shot| (*shot - self.start).as_millis() as u64);
        let finish = |watched: &Watched| {
            let mut report = watched.report.clone();
            let lasted = |w: &Window| w.to_ms.unwrap_or(now).saturating_sub(w.from_ms);
            report.unavailable_ms = report.windows.iter().map(lasted).sum();
            let end = report.windows.last().and_then(|window| window.to_ms);
            report.recovered_after_ms = end.zip(last_shot).and_then(|(end, shot)| end.checked_sub(shot));
            report
        };
        self.probes.iter().map(finish).collect()
    }
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
