//! What a kill reports.

use labctl_spec::network::HeldFrames;
use serde::{Deserialize, Serialize};

use crate::fault::FaultReport;
use crate::page::Page;

/// Details of a kill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KillDetails {
    /// The signal's name.
    pub signal: String,
    /// Every process that was to be hit.
    pub targets: Vec<TargetReport>,
    /// How simultaneous it was.
    pub skew: Option<Skew>,
    /// What the switch held in the meantime.
    pub held: Option<HeldFrames>,
}

/// The main process of one unit that was shot at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetReport {
    /// Node.
    pub node: String,
    /// systemd unit.
    pub unit: String,
    /// Main pid when it was armed; 0 if there was none.
    pub old_pid: i32,
    /// Main pid when last seen, if it is different.
    pub new_pid: Option<i32>,
    /// What happened to the process.
    pub fate: Fate,
    /// Microseconds from the signal to the death, by the guest's own clock.
    pub latency_us: Option<u64>,
    /// Milliseconds from the shot to the agent's answer, by the controller's clock.
    pub answered_ms: Option<f64>,
    /// Milliseconds from the shot until the new main process was first seen.
    pub back_after_ms: Option<u64>,
    /// The unit's state when last seen, such as `active/running`.
    pub state: String,
    /// What went wrong.
    pub error: Option<String>,
}

/// What happened to a process that was shot at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Nothing was sent.
    Untouched,
    /// It got the signal; whether it exited is not known yet.
    Signalled,
    /// It exited.
    Died,
    /// It is stopped.
    Stopped,
    /// It is running again after having been stopped.
    Continued,
    /// It got the signal and is still running as before.
    Survived,
}

impl Fate {
    /// In a word.
    fn word(self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Signalled => "signalled",
            Self::Died => "died",
            Self::Stopped => "stopped",
            Self::Continued => "continued",
            Self::Survived => "survived",
        }
    }
}

/// How simultaneous a shot was, by the controller's clock alone, because guests' clocks are not comparable.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Skew {
    /// Milliseconds between the first and the last confirmed death.
    pub spread_ms: f64,
    /// Milliseconds from the first shot to the last confirmed death: no two deaths can be further apart.
    pub within_ms: f64,
}

impl TargetReport {
    /// What happened to it, such as `died after 812 µs`.
    pub(super) fn words(&self) -> String {
        let fate = self.fate.word();
        match (&self.error, self.latency_us) {
            (Some(error), _) => format!("{fate}: {error}"),
            (None, Some(latency)) => format!("{fate} after {latency} µs"),
            (None, None) => fate.to_owned(),
        }
    }
}

/// Shows the details of a kill.
pub(crate) fn show(report: &FaultReport, page: &mut Page) {
    let Some(details) = report.details::<KillDetails>() else { return };
    let mut rows = vec![["node", "unit", "pid", "new pid", "fate", "latency", "back", "state"].map(str::to_owned)];
    for target in &details.targets {
        rows.push([
            target.node.clone(),
            target.unit.clone(),
            target.old_pid.to_string(),
            target.new_pid.map_or("-".to_owned(), |pid| pid.to_string()),
            target.fate.word().to_owned(),
            target.latency_us.map_or("-".to_owned(), |us| format!("{:.1} ms", us as f64 / 1e3)),
            target.back_after_ms.map_or("-".to_owned(), |ms| format!("{:.2} s", ms as f64 / 1e3)),
            target.state.clone(),
        ]);
    }
    if !details.targets.is_empty() {
        page.table(&rows);
    }
    if let Some(Skew { spread_ms, within_ms }) = details.skew {
        page.line(format!(
            "  skew: {spread_ms:.1} ms between the first and the last answer, {within_ms:.1} ms from the first shot to the last answer"
        ));
    }
    if let Some(HeldFrames { duration_ms, frames, bytes, dropped }) = details.held {
        page.line(format!("  network held for {duration_ms:.1} ms: {frames} frames ({bytes} bytes), {dropped} dropped"));
    }
}
