//! Lets stopped processes continue.

use futures_util::future::join_all;
use labctl_spec::scenario::Signal;
use serde::{Deserialize, Serialize};

use crate::ids::next_id;
use crate::target::{FaultError, FaultTarget};

/// Units of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitsOn {
    /// Node.
    pub node: String,
    /// systemd units.
    pub units: Vec<String>,
}

/// SIGCONT to all of them.
pub(super) async fn go_on(targets: &[UnitsOn], target: &dyn FaultTarget) -> Result<(), FaultError> {
    join_all(targets.iter().map(|on| resume(on, target))).await.into_iter().collect()
}

async fn resume(on: &UnitsOn, target: &dyn FaultTarget) -> Result<(), FaultError> {
    // Signals whatever the unit's main process is now: if the unit was restarted in the meantime, it is running and SIGCONT does nothing to
    // it.
    let shot = next_id();
    target.arm(&on.node, shot, &on.units).await?;
    let signalled = target.fire(&on.node, shot, Signal::Sigcont).await?;
    match signalled.into_iter().find_map(|death| Some((death.unit, death.error?))) {
        Some((unit, error)) => Err(FaultError::new(format!("{}: {unit}: {error}", on.node))),
        None => Ok(()),
    }
}

/// Whether `all` has every unit of `these`.
pub(super) fn covers(all: &[UnitsOn], these: &[UnitsOn]) -> bool {
    let has = |node: &str, unit: &String| all.iter().any(|on| on.node == node && on.units.contains(unit));
    these.iter().all(|on| on.units.iter().all(|unit| has(&on.node, unit)))
}
