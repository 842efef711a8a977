//! Watches killed units until the run ends: when they come back, and whether they stay up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::target::{FaultTarget, UnitState};

/// How many times less often a unit is polled once it is back.
const SLOWER: u32 = 10;

/// A change of a unit's state.
#[derive(Debug)]
pub(crate) struct Sighting {
    /// The fault's index in the report.
    pub fault: usize,
    pub node: String,
    pub state: UnitState,
    /// When the answer arrived; a new main process started before this.
    pub at: Instant,
}

/// Polls the units' states until the receiver is gone (or the task is aborted) and reports each change. `old` contains
/// the pids that were signalled.
pub(crate) async fn watch<M: From<Sighting>>(
    fault: usize,
    node: String,
    old: Vec<(String, i32)>,
    target: Arc<dyn FaultTarget>,
    poll: Duration,
    limit: Duration,
    seen: UnboundedSender<M>,
) {
    let units: Vec<String> = old.iter().map(|(unit, _)| unit.clone()).collect();
    let mut last: Vec<UnitState> = Vec::new();
    loop {
        // An agent that does not answer says nothing about its units: the guest may be busy or rebooting.
        if let Ok(Ok(states)) = tokio::time::timeout(limit, target.units(&node, &units)).await {
            let at = Instant::now();
            for state in states.iter().filter(|state| !last.contains(state)) {
                let sighting = Sighting { fault, node: node.clone(), state: state.clone(), at };
                if seen.send(sighting.into()).is_err() {
                    return;
                }
            }
            last = states;
        }
        let back = old.iter().all(|(unit, pid)| last.iter().any(|s| s.unit == *unit && s.main_pid != 0 && s.main_pid != *pid));
        let pause = if back { poll * SLOWER } else { poll };
        tokio::time::sleep(pause).await;
    }
}
