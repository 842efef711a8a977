//! Machines that run and cannot be controlled: their sockets were removed while no supervisor was connected to them. They can only be ended.

use labctl_lab::event::{Event, NodeState};
use labctl_lab::home::LabHome;
use labctl_lab::{Failure, node_folder, persist};
use labctl_machine::machine::Machine;
use labctl_machine::registry;

use crate::Supervisor;
use crate::node::Slot;

impl Slot {
    /// The machine that runs although this supervisor has no connection to it.
    fn unreached(&self, home: &LabHome) -> Option<Machine> {
        if self.running().is_some() {
            return None;
        }
        let machine = persist::read_json::<Machine>(&node_folder::machine(&home.node(&self.name))).ok().flatten()?;
        registry::runs(&machine).then_some(machine)
    }

    /// Whether there is one.
    pub fn runs_unreached(&self, home: &LabHome) -> bool {
        self.unreached(home).is_some()
    }

    /// Ends it, if there is one.
    pub async fn end_unreachable(&self, supervisor: &Supervisor) -> Result<(), Failure> {
        let Some(machine) = self.unreached(&supervisor.home) else { return Ok(()) };
        let name = &self.name;
        registry::of(&machine)?.end_unreachable(&machine).await.map_err(|why| {
            let failure = Failure::from(why);
            Failure { message: format!("{name}: its machine runs and cannot be controlled, nor ended: {}", failure.message), ..failure }
        })?;
        let why = self.state().why().map(|why| format!(": {why}")).unwrap_or_default();
        supervisor.emit(Event::Warning {
            text: format!("{name}: its machine could not be controlled and was ended, as by a power failure{why}"),
        });
        self.change(supervisor, NodeState::Off);
        Ok(())
    }
}
