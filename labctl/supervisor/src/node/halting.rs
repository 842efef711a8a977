//! Stopping a node's machine.

use std::sync::Arc;
use std::time::Duration;

use labctl_guest::{Agent, Link};
use labctl_lab::Failure;
use labctl_lab::event::{Event, NodeState};
use labctl_machine::driver;
use tokio::time::timeout;

use super::{Running, Slot};
use crate::Supervisor;

/// How long an orderly shutdown may take before the power button is pressed.
const HALT_DEADLINE: Duration = Duration::from_secs(60);
/// How long the guest may take after the power button before it is killed.
const BUTTON_DEADLINE: Duration = Duration::from_secs(20);

impl Slot {
    /// Stops the machine: asks the agent, then presses the power button, then kills it. With `force` only the last.
    pub async fn halt(self: &Arc<Self>, supervisor: &Arc<Supervisor>, force: bool) -> Result<(), Failure> {
        let _operation = self.operation.lock().await;
        if !force {
            self.adopt_late(supervisor).await;
            // With room again its guest can be asked; without, there is nothing else to try.
            let _ = self.go_on_with_room(supervisor).await;
        }
        let Some(Running { machine, link, .. }) = self.running() else {
            self.end_unreachable(supervisor).await?;
            self.change(supervisor, NodeState::Off);
            return Ok(());
        };
        // A guest that has panicked or stands still cannot be asked.
        let force = force || matches!(self.state(), NodeState::Panicked { .. } | NodeState::DiskFull { .. });
        self.change(supervisor, NodeState::Halting);
        if !force && !self.halt_in_order(supervisor, &*machine, link).await {
            supervisor.emit(Event::Warning { text: format!("{} did not shut down in time and was killed", self.name) });
        }
        machine.end().await;
        // The watching task sets the final state.
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| matches!(state, NodeState::Off | NodeState::Crashed { .. })).await;
        Ok(())
    }

    async fn halt_in_order(&self, supervisor: &Supervisor, machine: &dyn driver::Running, link: Link) -> bool {
        let asked = timeout(Duration::from_secs(5), Agent::new(link).power_off()).await;
        if matches!(asked, Ok(Ok(()))) && timeout(HALT_DEADLINE, machine.ended()).await.is_ok() {
            return true;
        }
        if let Err(why) = machine.press_power_button().await {
            supervisor.emit(Event::Note { text: format!("{}: {why}", self.name) });
        }
        timeout(BUTTON_DEADLINE, machine.ended()).await.is_ok()
    }
}
