//! One node's place in the supervisor.
//!
//! ```text
//!            start            agent answers        halt, crash, power off
//! Absent/Off ─────▶ Starting ─▶ Booting ─▶ Running ────────────────────────▶ Off / Crashed
//!                                  ▲ ▲        │ guest reboots
//!                                  │ └────────┤
//!                                  │          │ kernel panics, agent stays silent, host's disk is full
//!                                  └───── Panicked / Silent / DiskFull ─▶ Running, once it answers
//! ```
//!
//! A machine that runs but cannot be adopted is `Unreachable` until it is ended.
//!
//! Operations on a node take its lock, so that a start and a halt never overlap; the state may be read at any time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labctl_guest::{Agent, Link, LinkState};
use labctl_lab::control::{LifeStatus, Up};
use labctl_lab::event::{Event, NodeState};
use labctl_lab::home::LabHome;
use labctl_lab::identity::{entropy, now_ns};
use labctl_lab::life::Life;
use labctl_lab::node_folder::{self, disk};
use labctl_lab::template::Template;
use labctl_lab::{Failure, Kind, persist, snapshot};
use labctl_machine::driver::{self, Orphan, Saving};
use labctl_machine::machine::Machine;
use labctl_machine::{MachineError, registry};
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Publish;
use labctl_spec::size::Size;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::boot::Start;
use crate::lost::Lost;
use crate::{Supervisor, boot, console, lock, ports};

/// How long an orderly shutdown may take before the power button is pressed.
const HALT_DEADLINE: Duration = Duration::from_secs(60);
/// How long the guest may take after the power button before it is killed.
const BUTTON_DEADLINE: Duration = Duration::from_secs(20);

/// How long a machine may take to exit after its agent has disconnected, including the cleanup.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// A running machine.
#[derive(Clone)]
pub struct Running {
    pub machine: Arc<dyn driver::Running>,
    pub link: Link,
    /// Held while the guest is told its identity.
    settling: Arc<tokio::sync::Mutex<()>>,
    /// It was restored and does not know the time yet.
    pub asleep: Arc<AtomicBool>,
    /// The log of its serial console.
    pub console_log: PathBuf,
    /// Virtual CPUs and memory that it was started with.
    shape: (u32, Size),
    /// Its life so far, as far as known.
    pub life: Arc<Mutex<Life>>,
    /// The latest upset of its guest.
    pub upset: Arc<watch::Sender<Option<Upset>>>,
}

/// An unexpected event in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upset {
    /// Its kernel has panicked, with this message.
    Panicked(String),
    /// It has started to boot again.
    Reset,
    /// It stands still, because the host's disk is full; what is known about it.
    Stopped(String),
}

/// Where a machine's guest comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It boots, is a fork, or was already running.
    Boot,
    /// Saved memory: it knows its identity, but not the time.
    Snapshot,
    /// Saved memory of a lab in another subnet: it joins the network once it has its own address.
    Moved,
}

/// A node's place in the supervisor.
pub struct Slot {
    pub name: NodeName,
    state: watch::Sender<NodeState>,
    running: Mutex<Option<Running>>,
    /// Digest of the identity that the guest is known to have; empty if unknown.
    identity: Mutex<String>,
    published: Mutex<Vec<Publish>>,
    /// Held by the one operation that may change the node.
    operation: tokio::sync::Mutex<()>,
}

impl Slot {
    pub fn new(name: NodeName) -> Self {
        let state = watch::Sender::new(NodeState::Off);
        Self {
            name,
            state,
            running: Mutex::default(),
            identity: Mutex::default(),
            published: Mutex::default(),
            operation: tokio::sync::Mutex::default(),
        }
    }

    pub fn state(&self) -> NodeState {
        self.state.borrow().clone()
    }

    /// The state; `Off` becomes `Absent` if the node has no disk, and `Suspended` if the whole lab is suspended.
    pub fn shown_state(&self, home: &LabHome) -> NodeState {
        match self.state() {
            NodeState::Off if snapshot::is_suspended(home) => NodeState::Suspended,
            NodeState::Off if !disk::link(&home.node(&self.name)).exists() => NodeState::Absent,
            NodeState::Unreachable { .. } if !self.runs_unreached(home) => NodeState::Off,
            state => state,
        }
    }

    /// Its machine, if it runs.
    pub fn running(&self) -> Option<Running> {
        lock(&self.running).clone()
    }

    /// Notes that its machine has stopped.
    pub fn gone(&self) {
        *lock(&self.running) = None;
    }

    /// Waits until its guest answers nothing any more: its kernel has panicked, or it stands still because the host's disk is full. A silent
    /// guest does not count: it may answer again.
    pub async fn stuck(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| matches!(state, NodeState::Panicked { .. } | NodeState::DiskFull { .. })).await;
    }

    pub fn pid(&self) -> Option<i32> {
        lock(&self.running).as_ref().map(|running| running.machine.process().0.pid)
    }

    /// What is known of its machine's life; empty if it does not run.
    pub fn life(&self) -> LifeStatus {
        self.running().map(|running| lock(&running.life).status()).unwrap_or_default()
    }

    /// Ports that listen now.
    pub fn published(&self) -> Vec<Publish> {
        lock(&self.published).clone()
    }

    /// Virtual CPUs and memory that its machine was started with, if it runs.
    pub fn shape(&self) -> Option<(u32, Size)> {
        lock(&self.running).as_ref().map(|running| running.shape)
    }

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

    /// Its machine, as its driver runs it.
    pub fn machine(&self) -> Option<Arc<dyn driver::Running>> {
        lock(&self.running).as_ref().map(|running| running.machine.clone())
    }

    /// Held by the operation that changes the node.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.operation.lock().await
    }

    pub fn change(&self, supervisor: &Supervisor, state: NodeState) {
        if self.state.send_replace(state.clone()) != state {
            supervisor.emit(Event::Node { node: self.name.clone(), state });
        }
    }

    /// Adopts the machine if it runs.
    pub async fn adopt(self: &Arc<Self>, supervisor: &Arc<Supervisor>) -> Result<(), Failure> {
        let _operation = self.operation.lock().await;
        let adopted = self.take_over(supervisor).await;
        if let Err(why) = &adopted
            && self.runs_unreached(&supervisor.home)
        {
            self.change(supervisor, NodeState::Unreachable { why: why.message.clone() });
        }
        adopted
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
            if !running.lacks_room().await? {
                running.recover().await?;
            }
        }
        *lock(&supervisor.accel) = Some(machine.accel);
        let life = Life::adopt(running.process(), &folder, console::length(&machine.files.console_log));
        self.join(supervisor, &machine, running, Origin::Boot, life).await?;
        let taken = ports::publish(supervisor, &self.name).await;
        *lock(&self.published) = taken.bound;
        Ok(())
    }

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
    async fn join(
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
        life.keep(&supervisor.home.node(&self.name))?;
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
        lock(&self.identity).clear();
        *lock(&self.running) = Some(running.clone());
        self.change(supervisor, NodeState::Booting);
        tokio::spawn(self.clone().watch(supervisor.clone(), running));
        Ok(())
    }

    /// Takes the ports that no longer listen for the node.
    pub fn take_published(&self) -> Vec<Publish> {
        std::mem::take(&mut *lock(&self.published))
    }

    /// Records which ports listen for the node.
    pub fn set_published(&self, published: Vec<Publish>) {
        *lock(&self.published) = published;
    }

    /// Stops the machine: asks the agent, then presses the power button, then kills it. With `force` only the last.
    pub async fn halt(self: &Arc<Self>, supervisor: &Arc<Supervisor>, force: bool) -> Result<(), Failure> {
        let _operation = self.operation.lock().await;
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
