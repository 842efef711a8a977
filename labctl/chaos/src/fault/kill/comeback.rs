//! Killed units on their way back.
//!
//! ```text
//! shot ──▶ down ──▶ up (a new main pid) ──▶ down (it exited again) ──▶ up ...
//! ```

use labctl_wire::UnitState;
use tokio::time::Instant;

use super::{Fate, TargetReport};
use crate::event::What;
use crate::fault::units::Sighting;

/// One unit.
struct Comeback {
    node: String,
    unit: String,
    old_pid: i32,
    shot: Instant,
    seen: Option<UnitState>,
    /// When its current main process was first seen.
    up: Option<Instant>,
}

/// All units that a fault has killed.
#[derive(Default)]
pub(super) struct Comebacks(Vec<Comeback>);

impl Comebacks {
    /// Expects the targets of a fault to come back.
    pub(super) fn expect(&mut self, shot: Instant, targets: &[TargetReport]) {
        self.0.extend(targets.iter().map(|target| Comeback {
            node: target.node.clone(),
            unit: target.unit.clone(),
            old_pid: target.old_pid,
            shot,
            seen: None,
            up: None,
        }));
    }

    /// Adds a sighting to the report.
    pub(super) fn see(&mut self, sighting: Sighting, targets: &mut [TargetReport]) -> Option<What> {
        let Sighting { node, state, at, .. } = sighting;
        let comeback = self.0.iter_mut().find(|c| c.node == node && c.unit == state.unit)?;
        let target = targets.iter_mut().find(|t| t.node == node && t.unit == state.unit)?;
        target.state = format!("{}/{}", state.active, state.sub);
        let before = comeback.seen.as_ref().map_or(comeback.old_pid, |s| s.main_pid);
        let now = state.main_pid;
        comeback.seen = Some(state);
        if now == before {
            return None;
        }
        // Whatever the signal was, the process that got it no longer belongs to the unit.
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

    /// When the last unit came back, `start` if none was expected; none while one is down.
    pub(super) fn all_up(&self, start: Instant) -> Option<Instant> {
        self.0.iter().try_fold(start, |latest, comeback| Some(latest.max(comeback.up?)))
    }

    /// The units that are down, for display.
    pub(super) fn complaints(&self) -> Vec<String> {
        let down = self.0.iter().filter(|comeback| comeback.up.is_none());
        down.map(|comeback| {
            let state = match &comeback.seen {
                Some(state) => format!("{}/{}", state.active, state.sub),
                None => "its state has not been reported since".to_owned(),
            };
            format!("{} on {} did not come back: {state}", comeback.unit, comeback.node)
        })
        .collect()
    }

    /// Final check: a unit that still has the main process that was shot at was not killed, whatever the agent reported. Returns whether
    /// there is such a unit.
    pub(super) fn conclude(&self, targets: &mut [TargetReport]) -> bool {
        let mut any = false;
        for comeback in self.0.iter().filter(|comeback| comeback.seen.as_ref().is_some_and(|s| s.main_pid == comeback.old_pid)) {
            for target in targets.iter_mut().filter(|t| t.node == comeback.node && t.unit == comeback.unit) {
                target.fate = Fate::Survived;
                target.error.get_or_insert("still has the same main process".to_owned());
                any = true;
            }
        }
        any
    }
}
