//! The displayed state and its changes, for any number of pages.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use labctl_core::chaos::{Report, Verdict};
use labctl_lab::control::{LabStatus, Stamped};
use serde::Serialize;
use tokio::sync::broadcast;

/// Number of events that a page gets when it opens.
const KEPT: usize = 500;

/// Number of updates that a slow page may lag behind; beyond that it gets everything again.
const LAG: usize = 256;

/// A change.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// The lab's new state.
    Status(LabStatus),
    /// An event.
    Happened(Stamped),
    /// The new list of reports, latest first.
    Reports(Vec<ReportLine>),
}

/// One-line summary of a scenario's report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportLine {
    /// The report's name.
    pub name: String,
    /// The scenario's name.
    pub scenario: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it did not pass.
    pub reason: Option<String>,
    /// Seed, as text, because integers in a browser are exact only up to 2^53.
    pub seed: String,
    /// Start time in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Duration in milliseconds.
    pub elapsed_ms: u64,
    /// Seconds until the steady state returned, if it did.
    pub recovery_seconds: Option<f64>,
}

impl ReportLine {
    /// Summarizes a report.
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

/// The displayed state, and who is notified of changes.
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
        // The data behind it is changed only by single assignments.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes an update. Updates that change nothing are not sent.
    pub fn publish(&self, update: Update) {
        // Sent under the lock, so that `subscribe` neither misses a change nor sees it twice.
        let mut shown = self.shown();
        match &update {
            Update::Status(status) if shown.status.as_ref() == Some(status) => return,
            Update::Reports(reports) if shown.reports == *reports => return,
            // A supervisor repeats the events it remembers to every client that reconnects.
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
        // There may be no viewers.
        let _ = self.sender.send(update);
    }

    /// The last published state.
    pub fn status(&self) -> Option<LabStatus> {
        self.shown().status.clone()
    }

    /// The updates that bring an empty page up to date, and the changes from then on.
    pub fn subscribe(&self) -> (Vec<Update>, broadcast::Receiver<Update>) {
        let shown = self.shown();
        let mut updates: Vec<Update> = shown.status.iter().cloned().map(Update::Status).collect();
        updates.push(Update::Reports(shown.reports.clone()));
        updates.extend(shown.happened.iter().cloned().map(Update::Happened));
        (updates, self.sender.subscribe())
    }
}
