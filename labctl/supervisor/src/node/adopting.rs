//! Taking over a machine that an earlier supervisor started.

use std::sync::Arc;

use labctl_lab::event::{Event, NodeState};
use labctl_lab::life::Life;
use labctl_lab::{Failure, node_folder, persist, snapshot};
use labctl_machine::machine::Machine;
use labctl_machine::registry;

use super::Slot;
use super::joining::Origin;
use crate::{Supervisor, console, lock, ports};

/// What is said of a machine while it is being adopted.
const NOT_YET: &str = "its machine has not answered yet";

impl Slot {
    /// Adopts the machine if it runs. Others may look at the node meanwhile: nobody waits for a machine that does not answer.
    pub async fn adopt(self: &Arc<Self>, supervisor: &Arc<Supervisor>) -> Result<(), Failure> {
        let _operation = self.operation.lock().await;
        if self.runs_unreached(&supervisor.home) {
            // No news yet: most machines answer at once.
            self.state.send_replace(NodeState::Unreachable { why: NOT_YET.into() });
        }
        let adopted = self.take_over(supervisor).await;
        match &adopted {
            Err(why) if self.runs_unreached(&supervisor.home) => {
                self.change(supervisor, NodeState::Unreachable { why: why.message.clone() });
            }
            // It was a leftover, or has exited meanwhile.
            _ if self.running().is_none() => drop(self.state.send_replace(NodeState::Off)),
            _ => {}
        }
        adopted
    }

    /// Tries again to adopt a machine that runs and could not be controlled: its QEMU may only have been slow, or stopped by somebody. The
    /// caller holds the node's turn.
    pub async fn adopt_late(self: &Arc<Self>, supervisor: &Arc<Supervisor>) {
        if !self.runs_unreached(&supervisor.home) {
            return;
        }
        match self.take_over(supervisor).await {
            Err(why) if self.runs_unreached(&supervisor.home) => self.change(supervisor, NodeState::Unreachable { why: why.message }),
            // It was a leftover, or has exited meanwhile.
            _ if self.running().is_none() => self.change(supervisor, NodeState::Off),
            _ => {}
        }
    }

    async fn take_over(self: &Arc<Self>, supervisor: &Arc<Supervisor>) -> Result<(), Failure> {
        let folder = supervisor.home.node(&self.name);
        let Some(machine) = persist::read_json::<Machine>(&node_folder::machine(&folder))? else { return Ok(()) };
        if !registry::runs(&machine) {
            return Ok(());
        }
        let Some(running) = registry::of(&machine)?.adopt(&machine).await? else { return Ok(()) };
        if snapshot::failed_restore(&supervisor.home).is_some() {
            // A leftover of the failed restore.
            running.end().await;
            return Ok(());
        }
        let mut full = false;
        if node_folder::is_unborn(&folder) {
            if !running.is_active().await? {
                // Its start was interrupted; it holds nothing worth keeping.
                running.end().await;
                return Ok(());
            }
            node_folder::born(&folder)?;
        } else if !running.is_active().await? {
            if snapshot::is_being_restored(&supervisor.home) {
                // The restore starts over.
                running.end().await;
                return Ok(());
            }
            // Unless its host's disk is full, it was paused for a snapshot that will never be completed.
            full = running.lacks_room().await?;
            if !full {
                running.recover().await?;
            }
        }
        *lock(&supervisor.accel) = Some(machine.accel);
        let life = Life::adopt(running.process(), &folder, console::length(&machine.files.console_log));
        self.join(supervisor, &machine, running, Origin::Boot, life).await?;
        if full && let Some(running) = self.running() {
            // Known before the first call arrives.
            self.lacks_room(supervisor, &running);
        }
        let taken = ports::publish(supervisor, &self.name).await;
        *lock(&self.published) = taken.bound;
        for why in taken.refused {
            supervisor.emit(Event::Warning { text: format!("{}: {why}", self.name) });
        }
        Ok(())
    }
}
