//! One node's place in the supervisor.
//!
//! ```text
//!            start            agent answers        halt, crash, power off
//! Absent/Off ─────▶ Starting ─▶ Booting ─▶ Running ────────────────────────▶ Off / Crashed
//!                                  ▲ ▲        │ guest reboots
//!                                  │ └────────┤
//!                                  │          │ kernel panics, or nobody answers for long
//!                                  └───── Panicked / Silent ─▶ Running, once it answers
//! ```
//!
//! Operations on a node take its lock, so that a start and a halt never meet; the state may be read at any time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labctl_guest::{Agent, Link, LinkState};
use labctl_machine::MachineError;
use labctl_machine::qemu::{Machine, Qemu, Saving};
use labctl_spec::ident::NodeName;
use labctl_spec::size::Size;
use tokio::sync::watch;
use tokio::time::timeout;

use super::boot::Start;
use super::life::Life;
use super::rewinding::Lost;
use super::{Supervisor, boot, console, disk, lock, ports};
use crate::control::{LifeStatus, Up};
use crate::event::{Event, NodeState};
use crate::home::LabHome;
use crate::template::Template;
use crate::{Failure, Kind, persist, snapshot};

/// How long an orderly shutdown may take before the power button is pressed.
const HALT_DEADLINE: Duration = Duration::from_secs(60);
/// How long the guest may take after the power button before it is ended by force.
const BUTTON_DEADLINE: Duration = Duration::from_secs(20);

/// How long a machine whose agent has hung up may take to be gone, and what belonged to it to be put away.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// A running machine.
#[derive(Clone)]
pub struct Running {
    pub qemu: Arc<Qemu>,
    pub link: Link,
    /// Held while the guest is told who it is.
    settling: Arc<tokio::sync::Mutex<()>>,
    /// It was restored and does not know the time yet.
    pub asleep: Arc<AtomicBool>,
    /// What its serial console printed.
    pub console_log: PathBuf,
    /// Virtual CPUs and memory that it was started with.
    shape: (u32, Size),
    /// The threads that its guest needs: of its virtual CPUs, and the one that serves its devices.
    pub threads: Arc<[i32]>,
    /// What is known of its life.
    pub life: Arc<Mutex<Life>>,
    /// The last thing that has befallen its guest.
    pub upset: Arc<watch::Sender<Option<Upset>>>,
}

/// What befalls a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upset {
    /// Its kernel has given up, with these words.
    Panicked(String),
    /// It has begun to boot anew.
    Reset,
}

/// Where a machine's guest comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It boots, is a fork, or ran already.
    Boot,
    /// Saved memory: it knows who it is, but not when.
    Snapshot,
    /// Saved memory of a lab in another subnet: it joins the network when it has its own address.
    Moved,
}

/// A node's place.
pub struct Slot {
    pub name: NodeName,
    state: watch::Sender<NodeState>,
    running: Mutex<Option<Running>>,
    /// Digest of the identity that the guest was seen to have; empty if that is not known.
    identity: Mutex<String>,
    published: Mutex<Vec<(u16, u16)>>,
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

    /// The state; instead of `Off` `Absent` if the node has no disk, and `Suspended` if the whole lab is.
    pub fn shown_state(&self, home: &LabHome) -> NodeState {
        match self.state() {
            NodeState::Off if snapshot::is_suspended(home) => NodeState::Suspended,
            NodeState::Off if !disk::link(&home.node(&self.name)).exists() => NodeState::Absent,
            state => state,
        }
    }

    /// Its machine, if it runs.
    pub fn running(&self) -> Option<Running> {
        lock(&self.running).clone()
    }

    /// Its machine has ended.
    pub fn gone(&self) {
        *lock(&self.running) = None;
    }

    /// Waits until its guest's kernel has panicked. Of one that is silent it is not sure that it will stay so.
    pub async fn panicked(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| matches!(state, NodeState::Panicked { .. })).await;
    }

    pub fn pid(&self) -> Option<i32> {
        lock(&self.running).as_ref().map(|running| running.qemu.pid())
    }

    /// What is known of its machine's life; nothing if it does not run.
    pub fn life(&self) -> LifeStatus {
        self.running().map(|running| lock(&running.life).status()).unwrap_or_default()
    }

    /// Ports that listen now: host port to node port.
    pub fn published(&self) -> Vec<(u16, u16)> {
        lock(&self.published).clone()
    }

    /// Virtual CPUs and memory that its machine was started with, if it runs.
    pub fn shape(&self) -> Option<(u32, Size)> {
        lock(&self.running).as_ref().map(|running| running.shape)
    }

    /// Tells the guest who it and the others are, if it answers now.
    pub async fn tell(&self, supervisor: &Supervisor) {
        let answers =
            |running: &Running| self.state() == NodeState::Running && matches!(&*running.link.state().borrow(), LinkState::Up { .. });
        if let Some(running) = self.running().filter(answers)
            && let Err(why) = self.settle(supervisor, &running).await
        {
            supervisor.emit(Event::Warning { text: format!("{}: {why}", self.name) });
        }
    }

    /// Its QEMU, if it runs.
    pub fn qemu(&self) -> Option<Arc<Qemu>> {
        lock(&self.running).as_ref().map(|running| running.qemu.clone())
    }

    /// Held by whoever changes the node.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.operation.lock().await
    }

    pub fn change(&self, supervisor: &Supervisor, state: NodeState) {
        if self.state.send_replace(state.clone()) != state {
            supervisor.emit(Event::Node { node: self.name.clone(), state });
        }
    }

    /// Takes control of the machine if it runs.
    pub async fn adopt(self: &Arc<Self>, supervisor: &Arc<Supervisor>) -> Result<(), Failure> {
        let _operation = self.operation.lock().await;
        let folder = supervisor.home.node(&self.name);
        let Some(machine) = persist::read_json::<Machine>(&boot::machine(&folder))? else { return Ok(()) };
        let Some(qemu) = Qemu::adopt(&machine).await? else { return Ok(()) };
        if crate::snapshot::failed_restore(&supervisor.home).is_some() {
            // What was left of it.
            qemu.end().await;
            return Ok(());
        }
        if boot::is_unborn(&folder) {
            if !qemu.is_active().await? {
                // Its start was cut off; there is nothing in it to keep.
                qemu.end().await;
                return Ok(());
            }
            boot::born(&folder)?;
        } else if !qemu.is_active().await? {
            if crate::snapshot::is_being_restored(&supervisor.home) {
                // The restore begins anew.
                qemu.end().await;
                return Ok(());
            }
            // Paused for a snapshot that will never be.
            qemu.save_nothing().await?;
        }
        *lock(&supervisor.accel) = Some(machine.accel);
        let life = Life::adopt(&qemu, &folder, console::length(&machine.files.console_log));
        self.join(supervisor, &machine, qemu, Origin::Boot, life).await?;
        let taken = ports::publish(supervisor, &self.name).await;
        *lock(&self.published) = taken.bound;
        Ok(())
    }

    /// Starts the machine unless it runs, and waits for its agent.
    pub async fn start(self: &Arc<Self>, supervisor: &Arc<Supervisor>, up: &Up) -> Result<(), Failure> {
        let forks = up.templates.forks.contains_key(&self.name);
        // Until it has answered.
        let _turn = if forks { supervisor.forking.acquire().await.ok() } else { None };
        let Some(qemu) = self.launch_unless_running(supervisor, up).await? else { return self.answered(supervisor).await };
        let answered = self.answered(supervisor).await;
        // It ran, and ends in this moment, of something else: that it is started is what was asked for.
        if answered.is_ok() || timeout(END_DEADLINE, qemu.ended()).await.is_err() {
            return answered;
        }
        self.launch_unless_running(supervisor, up).await?;
        self.answered(supervisor).await
    }

    /// Starts the machine unless it runs; gives the QEMU of one that does.
    async fn launch_unless_running(self: &Arc<Self>, supervisor: &Arc<Supervisor>, up: &Up) -> Result<Option<Arc<Qemu>>, Failure> {
        let _operation = self.operation.lock().await;
        if let Some(qemu) = self.qemu()
            && !qemu.has_ended().await
        {
            return Ok(Some(qemu));
        }
        // Whoever follows a machine that has ended puts its port on the switch away, and says so last.
        let mut state = self.state.subscribe();
        let _ = timeout(END_DEADLINE, state.wait_for(|state| matches!(state, NodeState::Off | NodeState::Crashed { .. }))).await;
        self.change(supervisor, NodeState::Starting);
        if let Err(why) = self.launch(supervisor, up).await {
            self.change(supervisor, NodeState::Off);
            return Err(why);
        }
        Ok(None)
    }

    /// Tells the guest who it is, unless it knows: a fork and a foreign image do not, and the lab file may have changed since the boot.
    pub async fn settle(&self, supervisor: &Supervisor, running: &Running) -> Result<(), Failure> {
        let _turn = running.settling.lock().await;
        let record = supervisor.record();
        let mut identity = record.identity(record.node(&self.name)?)?;
        let digest = identity.digest();
        // Asked anew each time: an identity that was taken on is not announced.
        let agent = Agent::new(running.link.clone());
        let mut answers = false;
        if *lock(&self.identity) != digest && running.link.up().await?.1 != digest {
            identity.entropy = boot::entropy();
            identity.clock_ns = boot::now_ns();
            agent.take_identity(identity).await?;
            answers = true;
        }
        if running.asleep.swap(false, Ordering::SeqCst) {
            agent.wake(boot::entropy(), boot::now_ns()).await?;
            answers = true;
        }
        *lock(&self.identity) = digest;
        if matches!(self.state(), NodeState::Booting | NodeState::Silent { .. } | NodeState::Panicked { .. }) {
            if !answers {
                // What the channel knows may be of the boot before.
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
                let qemu = Qemu::launch(&machine).await?;
                let life = Life::begin(&qemu, printed, false);
                self.join(supervisor, &machine, qemu, Origin::Boot, life).await
            }
            Start::Fork(template) => self.fork(supervisor, &machine, &template).await,
        }
    }

    async fn fork(self: &Arc<Self>, supervisor: &Arc<Supervisor>, machine: &Machine, template: &Template) -> Result<(), Failure> {
        let state = template.state();
        let state = std::fs::File::open(&state).map_err(Failure::io(state.display()))?;
        let qemu = Qemu::launch_empty(machine).await?;
        if let Err(why) = qemu.load(state, Saving::WithoutSharedMemory).await {
            qemu.end().await;
            let hint = format!("`labctl up --cold {}` boots it without a template", self.name);
            return Err(Failure::new(Kind::Machine, format!("{}: {why}", self.name)).hint(hint));
        }
        // The agent's channel is open before the guest goes on: it was open when the template was saved.
        let life = Life::begin(&qemu, console::length(&machine.files.console_log), true);
        self.join(supervisor, machine, qemu, Origin::Boot, life).await?;
        self.go_on(supervisor).await?;
        boot::born(&supervisor.home.node(&self.name))
    }

    /// Starts the machine from saved state; it stays paused. One of a lab that was moved is apart from the network until [`Slot::connect`].
    pub async fn load(
        self: &Arc<Self>,
        supervisor: &Arc<Supervisor>,
        machine: &Machine,
        state: std::fs::File,
        moved: bool,
    ) -> Result<(), Lost> {
        let logged = console::length(&machine.files.log);
        let qemu = Qemu::launch_empty(machine).await.map_err(Failure::from)?;
        if let Err(why) = qemu.load(state, Saving::Everything).await {
            qemu.end().await;
            self.change(supervisor, NodeState::Off);
            return Err(self.unreadable(machine, logged, why));
        }
        let life = Life::begin(&qemu, console::length(&machine.files.console_log), true);
        self.join(supervisor, machine, qemu, if moved { Origin::Moved } else { Origin::Snapshot }, life).await?;
        Ok(())
    }

    /// Why saved memory was not read. A QEMU that cannot read it says so in its log and ends, as one that is killed does.
    fn unreadable(&self, machine: &Machine, logged: u64, why: MachineError) -> Lost {
        let log = std::fs::read(&machine.files.log).unwrap_or_default();
        let log = String::from_utf8_lossy(log.get(usize::try_from(logged).unwrap_or(0)..).unwrap_or_default()).into_owned();
        let refused = log.lines().find(|line| line.contains("load of migration failed"));
        let failure =
            |why: &dyn std::fmt::Display| Failure::new(Kind::Machine, format!("{}: QEMU cannot read its memory: {why}", self.name));
        match (refused, &why) {
            (Some(_), _) => Lost::Dead(failure(&log.trim())),
            (None, MachineError::Refused { .. }) => Lost::Dead(failure(&why)),
            (None, MachineError::Disconnected(_) | MachineError::Ended(_)) => {
                Lost::Ended(Failure::new(Kind::Machine, format!("{}: {why}", self.name)).hint("repeat the command"))
            }
            (None, _) => Lost::Hindered(why.into()),
        }
    }

    /// Connects the machine to the lab's network; one that is connected stays so.
    pub async fn connect(&self, supervisor: &Supervisor, machine: &Machine) -> Result<(), Failure> {
        let record = supervisor.record();
        let node = record.node(&self.name)?;
        let socket = machine.files.net.clone();
        let port = labctl_net::PortConfig { name: node.name.clone(), mac: machine.mac, address: node.address, socket };
        supervisor.switch.attach(port).await;
        Ok(())
    }

    /// Lets a machine that was loaded go on.
    pub async fn go_on(&self, supervisor: &Supervisor) -> Result<(), Failure> {
        match self.qemu() {
            Some(qemu) => Ok(qemu.resume().await?),
            None => Err(self.not_running(supervisor)),
        }
    }

    /// Connects switch and agent to a machine that has just been started or adopted, and watches it.
    async fn join(
        self: &Arc<Self>,
        supervisor: &Arc<Supervisor>,
        machine: &Machine,
        qemu: Qemu,
        origin: Origin,
        life: Life,
    ) -> Result<(), Failure> {
        if origin != Origin::Moved {
            self.connect(supervisor, machine).await?;
        }
        life.keep(&supervisor.home.node(&self.name))?;
        let mut threads = qemu.vcpus().await?;
        // The thread that a process begins with has its id.
        threads.push(qemu.pid());
        let link = Link::connect(&machine.files.agent).await.map_err(Failure::io(machine.files.agent.display()))?;
        let running = Running {
            qemu: Arc::new(qemu),
            link,
            settling: Arc::default(),
            asleep: Arc::new(AtomicBool::new(origin != Origin::Boot)),
            console_log: machine.files.console_log.clone(),
            shape: (machine.cpus, machine.memory),
            threads: threads.into(),
            life: Arc::new(Mutex::new(life)),
            upset: Arc::new(watch::Sender::new(None)),
        };
        lock(&self.identity).clear();
        *lock(&self.running) = Some(running.clone());
        self.change(supervisor, NodeState::Booting);
        tokio::spawn(self.clone().watch(supervisor.clone(), running));
        Ok(())
    }

    /// Ports that no longer listen for the node.
    pub fn take_published(&self) -> Vec<(u16, u16)> {
        std::mem::take(&mut *lock(&self.published))
    }

    /// Notes which ports listen for the node.
    pub fn set_published(&self, published: Vec<(u16, u16)>) {
        *lock(&self.published) = published;
    }

    /// Ends the machine: asks the agent, then presses the power button, then ends QEMU. With `force` only the last.
    pub async fn halt(self: &Arc<Self>, supervisor: &Arc<Supervisor>, force: bool) -> Result<(), Failure> {
        let _operation = self.operation.lock().await;
        let Some(Running { qemu, link, .. }) = lock(&self.running).clone() else {
            self.change(supervisor, NodeState::Off);
            return Ok(());
        };
        // Nobody is left in it to be asked.
        let force = force || matches!(self.state(), NodeState::Panicked { .. });
        self.change(supervisor, NodeState::Halting);
        if !force && !self.halt_in_order(supervisor, &qemu, link).await {
            supervisor.emit(Event::Warning { text: format!("{} did not shut down in time and was ended by force", self.name) });
        }
        qemu.end().await;
        // The watching task has the last word on the state.
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| matches!(state, NodeState::Off | NodeState::Crashed { .. })).await;
        Ok(())
    }

    async fn halt_in_order(&self, supervisor: &Supervisor, qemu: &Qemu, link: Link) -> bool {
        let asked = timeout(Duration::from_secs(5), Agent::new(link).power_off()).await;
        if matches!(asked, Ok(Ok(()))) && timeout(HALT_DEADLINE, qemu.ended()).await.is_ok() {
            return true;
        }
        if let Err(why) = qemu.press_power_button().await {
            supervisor.emit(Event::Note { text: format!("{}: {why}", self.name) });
        }
        timeout(BUTTON_DEADLINE, qemu.ended()).await.is_ok()
    }
}
