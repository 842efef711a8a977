//! Machines that run without a supervisor: what can be known of one without adopting it for good.

use std::path::Path;
use std::time::Duration;

use labctl_lab::event::NodeState;
use labctl_lab::{node_folder, persist, room};
use labctl_machine::machine::Machine;
use labctl_machine::{MachineError, registry};
use tokio::time::timeout;

/// How long a machine may take to tell. Somebody else may be talking to it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The state of a node whose machine runs; the node's folder is given. The machine is asked whether it stands still. A supervisor must not be
/// connected to it.
pub async fn state(folder: &Path) -> NodeState {
    let Ok(Some(machine)) = persist::read_json::<Machine>(&node_folder::machine(folder)) else { return NodeState::Running };
    if !machine.files.agent.exists() {
        return NodeState::Unreachable { why: format!("it runs, but its socket {} was removed", machine.files.agent.display()) };
    }
    let Ok(driver) = registry::of(&machine) else { return NodeState::Running };
    let asked = async {
        match driver.adopt(&machine).await? {
            Some(running) => running.lacks_room().await.map(Some),
            None => Ok(None),
        }
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(Some(true))) => NodeState::DiskFull { why: room::stands_still(folder) },
        // It has exited just now.
        Ok(Ok(None)) => NodeState::Off,
        Ok(Err(why @ (MachineError::Unreachable { .. } | MachineError::Hangs { .. }))) => NodeState::Unreachable { why: why.to_string() },
        // Nothing else is known.
        Ok(Ok(Some(false)) | Err(_)) | Err(_) => NodeState::Running,
    }
}
