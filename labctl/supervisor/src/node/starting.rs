//! Starting a node's machine: it boots, is forked from a template, or is loaded from a snapshot.

use std::sync::Arc;
use std::time::Duration;

use labctl_lab::control::Up;
use labctl_lab::event::NodeState;
use labctl_lab::life::Life;
use labctl_lab::node_folder;
use labctl_lab::template::Template;
use labctl_lab::{Failure, Kind};
use labctl_machine::driver::{self, Orphan, Saving};
use labctl_machine::machine::Machine;
use labctl_machine::{MachineError, registry};
use tokio::time::timeout;

use super::Slot;
use super::joining::Origin;
use crate::boot::{self, Start};
use crate::lost::Lost;
use crate::{Supervisor, console};

/// How long a machine may take to exit after its agent has disconnected, including the cleanup.
const END_DEADLINE: Duration = Duration::from_secs(2);

impl Slot {
    /// Starts the machine unless it runs, and waits for its agent.
    pub async fn start(self: &Arc<Self>, supervisor: &Arc<Supervisor>, up: &Up) -> Result<(), Failure> {
        let forks = up.templates.forks.contains_key(&self.name);
        // Held until it has answered.
        let _turn = if forks { supervisor.forking.acquire().await.ok() } else { None };
        let Some(running) = self.launch_unless_running(supervisor, up).await? else { return self.answered(supervisor).await };
        self.go_on_with_room(supervisor).await?;
        let answered = self.answered(supervisor).await;
        // It was running and stopped just now for another reason: the caller asked for a started machine, so start it again.
        if answered.is_ok() || timeout(END_DEADLINE, running.ended()).await.is_err() {
            return answered;
        }
        self.launch_unless_running(supervisor, up).await?;
        self.answered(supervisor).await
    }

    /// Starts the machine unless it runs; returns one that already does.
    async fn launch_unless_running(
        self: &Arc<Self>,
        supervisor: &Arc<Supervisor>,
        up: &Up,
    ) -> Result<Option<Arc<dyn driver::Running>>, Failure> {
        let _operation = self.operation.lock().await;
        self.adopt_late(supervisor).await;
        if let Some(running) = self.machine()
            && !running.has_ended().await
        {
            return Ok(Some(running));
        }
        self.end_unreachable(supervisor).await?;
        // The task that watches a stopped machine removes its port on the switch, and sets this state last.
        let mut state = self.state.subscribe();
        let _ = timeout(END_DEADLINE, state.wait_for(|state| matches!(state, NodeState::Off | NodeState::Crashed { .. }))).await;
        self.change(supervisor, NodeState::Starting);
        if let Err(why) = self.launch(supervisor, up).await {
            self.change(supervisor, NodeState::Off);
            return Err(why);
        }
        Ok(None)
    }

    async fn launch(self: &Arc<Self>, supervisor: &Arc<Supervisor>, up: &Up) -> Result<(), Failure> {
        let (machine, start) = boot::prepare(supervisor, &self.name, up).await?;
        match start {
            Start::Boot => {
                let printed = console::length(&machine.files.console_log);
                let running = registry::of(&machine)?.launch(&machine, Orphan::LivesOn).await?;
                let life = Life::begin(running.process(), printed, false);
                self.join(supervisor, &machine, running, Origin::Boot, life).await
            }
            Start::Fork(template) => self.fork(supervisor, &machine, &template).await,
        }
    }

    async fn fork(self: &Arc<Self>, supervisor: &Arc<Supervisor>, machine: &Machine, template: &Template) -> Result<(), Failure> {
        let state = template.state();
        let state = std::fs::File::open(&state).map_err(Failure::io(state.display()))?;
        let loads = registry::of(machine)?.loads_for("a fork")?;
        let running = loads.load(machine, state, Saving::WithoutSharedMemory, Orphan::LivesOn).await.map_err(|why| match why {
            MachineError::Unreadable(_) | MachineError::CutOff(_) => Failure::new(Kind::Machine, format!("{}: {why}", self.name))
                .hint(format!("`labctl up --cold {}` boots it without a template", self.name)),
            why => why.into(),
        })?;
        // The agent's channel is open before the guest resumes: it was open when the template was saved.
        let life = Life::begin(running.process(), console::length(&machine.files.console_log), true);
        self.join(supervisor, machine, running, Origin::Boot, life).await?;
        self.go_on(supervisor).await?;
        node_folder::born(&supervisor.home.node(&self.name))
    }

    /// Starts the machine from saved state; it stays paused. One of a moved lab stays off the network until [`Slot::connect`].
    pub async fn load(
        self: &Arc<Self>,
        supervisor: &Arc<Supervisor>,
        machine: &Machine,
        state: std::fs::File,
        moved: bool,
    ) -> Result<(), Lost> {
        let loads = registry::of(machine).and_then(|driver| driver.loads_for("a snapshot")).map_err(Failure::from)?;
        let running = match loads.load(machine, state, Saving::Everything, Orphan::LivesOn).await {
            Ok(running) => running,
            Err(why) => {
                self.change(supervisor, NodeState::Off);
                return Err(self.unreadable(why));
            }
        };
        let life = Life::begin(running.process(), console::length(&machine.files.console_log), true);
        self.join(supervisor, machine, running, if moved { Origin::Moved } else { Origin::Snapshot }, life).await?;
        Ok(())
    }

    /// What it means for the node that saved memory could not be loaded.
    fn unreadable(&self, why: MachineError) -> Lost {
        let failure = || Failure::new(Kind::Machine, format!("{}: {why}", self.name));
        match why {
            MachineError::Unreadable(_) => Lost::Dead(failure()),
            MachineError::CutOff(_) => Lost::Ended(failure().hint("repeat the command")),
            why => Lost::Hindered(why.into()),
        }
    }
}
