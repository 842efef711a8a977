//! What is shown, and the changes to it, for any number of pages.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use labctl_core::chaos::{Report, Verdict};
use labctl_core::control::{LabStatus, Stamped};
use serde::Serialize;
use tokio::sync::broadcast;

/// Events that a page gets to see when it opens.
const KEPT: usize = 500;

/// Updates that a slow page may lag behind; then it gets everything anew.
const LAG: usize = 256;

/// A change.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// The lab's state is this now.
    Status(LabStatus),
    /// Something happened.
    Happened(Stamped),
    /// The reports are these now, the latest first.
    Reports(Vec<ReportLine>),
}

/// A scenario's report in a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportLine {
    /// The report's name.
    pub name: String,
    /// The scenario's.
    pub scenario: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it did not pass.
    pub reason: Option<String>,
    /// Seed, as text: a browser's numbers end at 2^53.
    pub seed: String,
    /// When it began, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// Seconds until the steady state was back, if it came back.
    pub recovery_seconds: Option<f64>,
}

impl ReportLine {
    /// Of that report.
    pub fn of(name: String, report: &Report) -> Self {
        Self {
            name,
            scenario: report.scenario.clone(),
            verdict: report.verdict,
            reason: report.reason.clone(),
            seed: report.seed.to_string(),
            started_unix_ms: report.started_unix_ms,
            elapsed_ms: report.elapsed_ms,
            recovery_seconds: report.recovery.as_ref().and_then(|recovery| recovery.seconds),
        }
    }
}

#[derive(Default)]
struct Shown {
    status: Option<LabStatus>,
    happened: VecDeque<Stamped>,
    reports: Vec<ReportLine>,
}

/// What is shown now, and whom to tell of changes.
pub struct Feed {
    shown: Mutex<Shown>,
    sender: broadcast::Sender<Update>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { shown: Mutex::default(), sender: broadcast::channel(LAG).0 }
    }
}

impl Feed {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        // The data behind it is changed by single assignments.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a change on. What is no change is told to nobody.
    pub fn publish(&self, update: Update) {
        // Told under the lock: `subscribe` must neither miss a change nor see it twice.
        let mut shown = self.shown();
        match &update {
            Update::Status(status) if shown.status.as_ref() == Some(status) => return,
            Update::Reports(reports) if shown.reports == *reports => return,
            // A supervisor tells what it remembers to everybody who comes again.
            Update::Happened(stamped) if shown.happened.contains(stamped) => return,
            Update::Status(status) => shown.status = Some(status.clone()),
            Update::Reports(reports) => shown.reports.clone_from(reports),
            Update::Happened(stamped) => {
                if shown.happened.len() == KEPT {
                    shown.happened.pop_front();
                }
                shown.happened.push_back(stamped.clone());
            }
        }
        // Nobody may be looking.
        let _ = self.sender.send(update);
    }

    /// The state last taken on.
    pub fn status(&self) -> Option<LabStatus> {
        self.shown().status.clone()
    }

    /// What brings an empty page up to date, and the changes from then on.
    pub fn subscribe(&self) -> (Vec<Update>, broadcast::Receiver<Update>) {
        let shown = self.shown();
        let mut updates: Vec<Update> = shown.status.iter().cloned().map(Update::Status).collect();
        updates.push(Update::Reports(shown.reports.clone()));
        updates.extend(shown.happened.iter().cloned().map(Update::Happened));
        (updates, self.sender.subscribe())
    }
}
