//! Machines that stand still because the host's disk has no room for what their guests write. A driver stops them before anything is lost.

use std::sync::Arc;

use labctl_lab::event::NodeState;
use labctl_lab::room::{room, stands_still};
use labctl_lab::{Failure, Kind};
use labctl_spec::size::Size;

use crate::Supervisor;
use crate::node::{Running, Slot, Upset};

/// With less room than this a machine that is resumed would stop again at once.
const LEAST: Size = Size::mib(16);

impl Slot {
    /// Notes that the machine has stopped because the disk is full.
    pub fn lacks_room(&self, supervisor: &Supervisor, running: &Running) {
        let why = stands_still(&supervisor.home.node(&self.name));
        running.upset.send_replace(Some(Upset::Stopped(why.clone())));
        if self.state() != NodeState::Halting {
            self.change(supervisor, NodeState::DiskFull { why });
        }
    }

    /// Notes that the machine goes on; returns whether it stood still for want of room. Whether its guest answers is to be asked next.
    pub fn has_room(&self, supervisor: &Supervisor) -> bool {
        let stood = matches!(self.state(), NodeState::DiskFull { .. });
        if stood {
            self.change(supervisor, NodeState::Booting);
        }
        stood
    }

    /// Resumes a machine that stands still for want of room.
    pub async fn go_on_with_room(&self, supervisor: &Arc<Supervisor>) -> Result<(), Failure> {
        let NodeState::DiskFull { why } = self.state() else { return Ok(()) };
        if room(&supervisor.home.node(&self.name)).is_some_and(|room| room < LEAST) {
            return Err(self.full(&why));
        }
        let Some(running) = self.running() else { return Ok(()) };
        self.has_room(supervisor);
        running.upset.send_replace(None);
        if let Err(why) = running.machine.resume().await {
            // It still stands, unless it has exited.
            if !running.machine.has_ended().await {
                self.lacks_room(supervisor, &running);
            }
            return Err(why.into());
        }
        Ok(())
    }

    /// The failure of whatever needs the guest while it stands still.
    pub fn full(&self, why: &str) -> Failure {
        let name = &self.name;
        Failure::new(Kind::Host, format!("{name}: {why}"))
            .hint(format!("free some disk space, for example with `labctl snapshot rm NAME`; then `labctl up {name}` lets it go on"))
    }
}
