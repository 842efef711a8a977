//! Watches systemd units that a fault took down, until the run ends: when they come back, and whether they stay up.

use std::sync::Arc;
use std::time::Duration;

use labctl_wire::UnitState;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::target::Target;

/// How much less often a unit is polled once it is back.
const SLOWER: u32 = 10;

/// A unit's state that was not seen before.
#[derive(Debug)]
pub(crate) struct Sighting {
    /// The fault's position in the report.
    pub fault: usize,
    pub node: String,
    pub state: UnitState,
    /// When the answer arrived; a new main process is older than this.
    pub at: Instant,
}

/// Units of a node to watch.
#[derive(Debug)]
pub(crate) struct Watched {
    pub node: String,
    /// Each unit with its main pid before the fault.
    pub old: Vec<(String, i32)>,
}

/// Polls the units' states until the receiver is gone (or the task is aborted) and reports each change. `fault` is the
/// fault's position in the report.
pub(crate) async fn watch<M: From<Sighting>>(
    fault: usize,
    watched: Watched,
    target: Arc<dyn Target>,
    poll: Duration,
    limit: Duration,
    seen: UnboundedSender<M>,
) {
    let Watched { node, old } = watched;
    let units: Vec<String> = old.iter().map(|(unit, _)| unit.clone()).collect();
    let mut last: Vec<UnitState> = Vec::new();
    loop {
        // If an agent does not answer, nothing is known about its units: the guest may be busy or rebooting.
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
