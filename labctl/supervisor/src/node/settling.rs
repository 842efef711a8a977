//! Telling a guest who it is.

use std::sync::atomic::Ordering;

use labctl_guest::{Agent, LinkState};
use labctl_lab::Failure;
use labctl_lab::event::{Event, NodeState};
use labctl_lab::identity::{entropy, now_ns};

use super::{Running, Slot};
use crate::{Supervisor, lock};

impl Slot {
    /// Tells the guest its own identity and the other nodes', if it answers now.
    pub async fn tell(&self, supervisor: &Supervisor) {
        let answers =
            |running: &Running| self.state() == NodeState::Running && matches!(&*running.link.state().borrow(), LinkState::Up { .. });
        if let Some(running) = self.running().filter(answers)
            && let Err(why) = self.settle(supervisor, &running).await
        {
            supervisor.emit(Event::Warning { text: format!("{}: {why}", self.name) });
        }
    }

    /// Tells the guest its identity unless it knows it: a fork and a foreign image do not, and the lab file may have changed since the
    /// boot.
    pub async fn settle(&self, supervisor: &Supervisor, running: &Running) -> Result<(), Failure> {
        let _turn = running.settling.lock().await;
        let record = supervisor.record();
        let mut identity = record.identity(record.node(&self.name)?)?;
        let digest = identity.digest();
        // Asked again each time: a guest does not announce that it has taken an identity.
        let agent = Agent::new(running.link.clone());
        let mut answers = false;
        if *lock(&self.identity) != digest && running.link.up().await?.1 != digest {
            identity.entropy = entropy();
            identity.clock_ns = now_ns();
            agent.take_identity(identity).await?;
            answers = true;
        }
        if running.asleep.swap(false, Ordering::SeqCst) {
            agent.wake(entropy(), now_ns()).await?;
            answers = true;
        }
        *lock(&self.identity) = digest;
        if matches!(self.state(), NodeState::Booting | NodeState::Silent { .. } | NodeState::Panicked { .. } | NodeState::DiskFull { .. }) {
            if !answers {
                // The channel's information may be from the previous boot.
                agent.ping().await?;
            }
            self.change(supervisor, NodeState::Running);
        }
        Ok(())
    }
}
