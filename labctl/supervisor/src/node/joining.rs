//! Connecting a machine that has just been started or adopted: to the lab's network, to its agent, to whoever watches it.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use labctl_guest::Link;
use labctl_lab::Failure;
use labctl_lab::event::NodeState;
use labctl_lab::life::Life;
use labctl_machine::driver;
use labctl_machine::machine::Machine;
use tokio::sync::watch;

use super::{Running, Slot};
use crate::{Supervisor, lock};

/// Where a machine's guest comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It boots, is a fork, or was already running.
    Boot,
    /// Saved memory: it knows its identity, but not the time.
    Snapshot,
    /// Saved memory of a lab in another subnet: it joins the network once it has its own address.
    Moved,
}

impl Slot {
    /// Connects the machine to the lab's network; one that is already connected stays so.
    pub async fn connect(&self, supervisor: &Supervisor, machine: &Machine) -> Result<(), Failure> {
        let record = supervisor.record();
        let node = record.node(&self.name)?;
        let socket = machine.files.net.clone();
        let port = labctl_net::PortConfig { name: node.name.clone(), mac: machine.mac, address: node.address, socket };
        supervisor.switch.attach(port).await;
        Ok(())
    }

    /// Resumes a machine that was loaded.
    pub async fn go_on(&self, supervisor: &Supervisor) -> Result<(), Failure> {
        match self.machine() {
            Some(running) => Ok(running.resume().await?),
            None => Err(self.not_running(supervisor)),
        }
    }

    /// Connects switch and agent to a machine that has just been started or adopted, and watches it.
    pub(super) async fn join(
        self: &Arc<Self>,
        supervisor: &Arc<Supervisor>,
        machine: &Machine,
        running: Arc<dyn driver::Running>,
        origin: Origin,
        life: Life,
    ) -> Result<(), Failure> {
        if origin != Origin::Moved {
            self.connect(supervisor, machine).await?;
        }
        let link = Link::connect(&machine.files.agent).await.map_err(Failure::io(machine.files.agent.display()))?;
        let running = Running {
            machine: running,
            link,
            settling: Arc::default(),
            asleep: Arc::new(AtomicBool::new(origin != Origin::Boot)),
            console_log: machine.files.console_log.clone(),
            shape: (machine.cpus, machine.memory),
            life: Arc::new(Mutex::new(life)),
            upset: Arc::new(watch::Sender::new(None)),
        };
        // Only for a later supervisor. One that cannot be stored, on a full disk, is no reason to lose the machine.
        self.keep(supervisor, &running);
        lock(&self.identity).clear();
        *lock(&self.running) = Some(running.clone());
        self.change(supervisor, NodeState::Booting);
        tokio::spawn(self.clone().watch(supervisor.clone(), running));
        Ok(())
    }
}
