//! Tracks killed units until they come back.
//!
//! ```text
//! shot ──▶ down ──▶ up (new main pid) ──▶ down (it died again) ──▶ up ...
//! ```

use tokio::time::Instant;

use super::{Fate, KillReport, Sighting, TargetReport, kill};
use crate::event::What;
use crate::target::UnitState;

/// One unit.
struct Comeback {
    fault: usize,
    node: String,
    unit: String,
    old_pid: i32,
    shot: Instant,
    seen: Option<UnitState>,
    /// When its current main process was first seen.
    up: Option<Instant>,
}

/// All units that were killed in a run.
#[derive(Default)]
pub(crate) struct Comebacks(Vec<Comeback>);

impl Comebacks {
    /// Expects a fault's targets to come back.
    pub(crate) fn expect(&mut self, fault: usize, shot: Instant, targets: &[TargetReport]) {
        self.0.extend(targets.iter().map(|target| Comeback {
            fault,
            node: target.node.clone(),
            unit: target.unit.clone(),
            old_pid: target.old_pid,
            shot,
            seen: None,
            up: None,
        }));
    }

    /// Records a sighting in the fault's report.
    pub(crate) fn see(&mut self, sighting: Sighting, faults: &mut [KillReport]) -> Option<What> {
        let Sighting { fault, node, state, at } = sighting;
        let comeback = self.0.iter_mut().find(|c| c.fault == fault && c.node == node && c.unit == state.unit)?;
        let target = faults.get_mut(fault)?.targets.iter_mut().find(|t| t.node == node && t.unit == state.unit)?;
        target.state = format!("{}/{}", state.active, state.sub);
        let before = comeback.seen.as_ref().map_or(comeback.old_pid, |s| s.main_pid);
        let now = state.main_pid;
        comeback.seen = Some(state);
        if now == before {
            return None;
        }
        // Whichever signal it was, the process that got it is no longer the unit's.
        if target.fate == Fate::Signalled {
            target.fate = Fate::Died;
        }
        let (node, unit) = (comeback.node.clone(), comeback.unit.clone());
        if now == 0 {
            let was_up = comeback.up.take().is_some();
            return was_up.then(|| What::Down { node, unit, state: target.state.clone() });
        }
        if now == comeback.old_pid {
            return None;
        }
        comeback.up = Some(at);
        target.new_pid = Some(now);
        let after_ms = (at - comeback.shot).as_millis() as u64;
        target.back_after_ms.get_or_insert(after_ms);
        Some(What::Back { node, unit, old_pid: comeback.old_pid, new_pid: now, after_ms })
    }

    /// When the last unit came back, `start` if none was expected, `None` while one is down.
    pub(crate) fn all_up(&self, start: Instant) -> Option<Instant> {
        self.0.iter().try_fold(start, |latest, comeback| Some(latest.max(comeback.up?)))
    }

    /// The units that are down, for display.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let down = self.0.iter().filter(|comeback| comeback.up.is_none());
        down.map(|comeback| {
            let state = match &comeback.seen {
                Some(state) => format!("{}/{}", state.active, state.sub),
                None => "its state has not been seen since".to_owned(),
            };
            format!("{} on {} did not come back: {state}", comeback.unit, comeback.node)
        })
        .collect()
    }

    /// Final judgement of the faults: a unit whose main process is still the one that was signalled was not killed,
    /// whatever the agent reported.
    pub(crate) fn conclude(&self, faults: &mut [KillReport]) {
        for comeback in &self.0 {
            let unchanged = comeback.seen.as_ref().is_some_and(|s| s.main_pid == comeback.old_pid);
            let Some(fault) = faults.get_mut(comeback.fault).filter(|_| unchanged) else {
                continue;
            };
            let targets = fault.targets.iter_mut();
            for target in targets.filter(|t| t.node == comeback.node && t.unit == comeback.unit) {
                target.fate = Fate::Survived;
                target.error.get_or_insert("still has the same main process".to_owned());
            }
            fault.no_effect = kill::why(&fault.targets, |target| target.error.is_none());
        }
    }
}
