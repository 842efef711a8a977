//! One node's place in the supervisor.
//!
//! ```text
//!            start            agent answers        halt, crash, power off
//! Absent/Off ─────▶ Starting ─▶ Booting ─▶ Running ────────────────────────▶ Off / Crashed
//!                                  ▲          │ guest reboots
//!                                  └──────────┘
//! ```
//!
//! Operations on a node take its lock, so that a start and a halt never meet; the state may be read at any time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labctl_guest::{Agent, GuestError, Link, LinkState};
use labctl_machine::qemu::{Machine, Qemu, Saving};
use labctl_spec::ident::NodeName;
use labctl_spec::size::Size;
use tokio::sync::watch;
use tokio::time::timeout;

use super::boot::Start;
use super::{Supervisor, boot, disk, lock, patience, ports};
use crate::control::Up;
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
struct Running {
    qemu: Arc<Qemu>,
    link: Link,
    /// Held while the guest is told who it is.
    settling: Arc<tokio::sync::Mutex<()>>,
    /// It was restored and does not know the time yet.
    asleep: Arc<AtomicBool>,
    /// What its serial console printed.
    console_log: PathBuf,
    /// Virtual CPUs and memory that it was started with.
    shape: (u32, Size),
}

impl Running {
    /// Waits for the agent, with patience as long as the guest shows that it lives.
    async fn first_word(&self) -> Result<(), GuestError> {
        patience::first_word(&self.link, &self.console_log).await
    }
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
    name: NodeName,
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

    pub fn pid(&self) -> Option<i32> {
        lock(&self.running).as_ref().map(|running| running.qemu.pid())
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
        let running = lock(&self.running).clone();
        if let Some(running) = running.filter(|running| matches!(&*running.link.state().borrow(), LinkState::Up { .. }))
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

    /// The channel to the agent, once it answers.
    pub async fn link(&self, supervisor: &Supervisor) -> Result<Link, Failure> {
        let running = lock(&self.running).clone().ok_or_else(|| self.not_running())?;
        running.first_word().await?;
        // A fork that has not been told who it is yet would act as its template, a moved clone as the lab that it was. One that cannot be told
        // can still be looked at.
        let _ = self.settle(supervisor, &running).await;
        Ok(running.link)
    }

    pub fn not_running(&self) -> Failure {
        Failure::new(Kind::Conflict, format!("{} is not running", self.name)).hint(format!("labctl up {}", self.name))
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
        self.join(supervisor, &machine, qemu, Origin::Boot).await?;
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
        if answered.is_ok() && self.still_answers().await {
            return Ok(());
        }
        // It ran, and ends in this moment, of something else: that it is started is what was asked for.
        if timeout(END_DEADLINE, qemu.ended()).await.is_err() && answered.is_err() {
            return answered;
        }
        self.launch_unless_running(supervisor, up).await?;
        self.answered(supervisor).await
    }

    /// Asks the agent: a machine that was killed a moment ago is still there. One that says nothing may stand still on purpose.
    async fn still_answers(&self) -> bool {
        let Some(Running { link, .. }) = lock(&self.running).clone() else { return false };
        !matches!(timeout(END_DEADLINE, Agent::new(link).ping()).await, Ok(Err(_)))
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

    /// Waits until the guest answers and knows who it is.
    pub async fn answered(self: &Arc<Self>, supervisor: &Arc<Supervisor>) -> Result<(), Failure> {
        let Some(running) = lock(&self.running).clone() else { return Err(self.ended_early(supervisor)) };
        tokio::select! {
            answered = running.first_word() => match answered {
                Ok(()) => self.settle(supervisor, &running).await,
                Err(GuestError::Disconnected) => Err(self.ended_early(supervisor)),
                Err(why) => Err(Failure::new(Kind::Machine, format!("{}: {why}", self.name))
                    .hint(format!("labctl logs {} --console", self.name))),
            },
            () = running.qemu.ended() => Err(self.ended_early(supervisor)),
        }
    }

    /// Tells the guest who it is, unless it knows: a fork and a foreign image do not, and the lab file may have changed since the boot.
    async fn settle(&self, supervisor: &Supervisor, running: &Running) -> Result<(), Failure> {
        let _turn = running.settling.lock().await;
        let record = supervisor.record();
        let mut identity = record.identity(record.node(&self.name)?)?;
        let digest = identity.digest();
        // Asked anew each time: an identity that was taken on is not announced.
        let agent = Agent::new(running.link.clone());
        if *lock(&self.identity) != digest && running.link.up().await?.1 != digest {
            identity.entropy = boot::entropy();
            identity.clock_ns = boot::now_ns();
            agent.take_identity(identity).await?;
        }
        if running.asleep.swap(false, Ordering::SeqCst) {
            agent.wake(boot::entropy(), boot::now_ns()).await?;
        }
        *lock(&self.identity) = digest;
        if self.state() == NodeState::Booting {
            self.change(supervisor, NodeState::Running);
        }
        Ok(())
    }

    fn ended_early(&self, supervisor: &Supervisor) -> Failure {
        let console = supervisor.home.node(&self.name).join("console.log");
        let text = std::fs::read(&console).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        let last: Vec<&str> = lines.into_iter().rev().collect();
        let seen = if last.is_empty() { "it printed nothing".to_owned() } else { format!("it printed last:\n  {}", last.join("\n  ")) };
        Failure::new(Kind::Machine, format!("{}: the machine ended before its agent answered; {seen}", self.name))
            .hint(format!("see {} and repeat the command", console.display()))
    }

    async fn launch(self: &Arc<Self>, supervisor: &Arc<Supervisor>, up: &Up) -> Result<(), Failure> {
        let (machine, start) = boot::prepare(supervisor, &self.name, up).await?;
        match start {
            Start::Boot => {
                let qemu = Qemu::launch(&machine).await?;
                self.join(supervisor, &machine, qemu, Origin::Boot).await
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
        self.join(supervisor, machine, qemu, Origin::Boot).await?;
        let Some(Running { qemu, .. }) = lock(&self.running).clone() else { return Err(self.ended_early(supervisor)) };
        qemu.resume().await?;
        boot::born(&supervisor.home.node(&self.name))
    }

    /// Starts the machine from saved state; it stays paused. One of a lab that was moved is apart from the network until [`Slot::connect`].
    pub async fn load(
        self: &Arc<Self>,
        supervisor: &Arc<Supervisor>,
        machine: &Machine,
        state: std::fs::File,
        moved: bool,
    ) -> Result<(), Failure> {
        let qemu = Qemu::launch_empty(machine).await?;
        if let Err(why) = qemu.load(state, Saving::Everything).await {
            qemu.end().await;
            self.change(supervisor, NodeState::Off);
            return Err(Failure::new(Kind::Machine, format!("{}: {why}", self.name))
                .hint("`labctl snapshot restore NAME --cold` boots the same disks"));
        }
        self.join(supervisor, machine, qemu, if moved { Origin::Moved } else { Origin::Snapshot }).await
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
    pub async fn go_on(&self) -> Result<(), Failure> {
        match self.qemu() {
            Some(qemu) => Ok(qemu.resume().await?),
            None => Err(self.not_running()),
        }
    }

    /// Connects switch and agent to a machine that has just been started or adopted, and watches it.
    async fn join(self: &Arc<Self>, supervisor: &Arc<Supervisor>, machine: &Machine, qemu: Qemu, origin: Origin) -> Result<(), Failure> {
        if origin != Origin::Moved {
            self.connect(supervisor, machine).await?;
        }
        let link = Link::connect(&machine.files.agent).await.map_err(Failure::io(machine.files.agent.display()))?;
        let running = Running {
            qemu: Arc::new(qemu),
            link,
            settling: Arc::default(),
            asleep: Arc::new(AtomicBool::new(origin != Origin::Boot)),
            console_log: machine.files.console_log.clone(),
            shape: (machine.cpus, machine.memory),
        };
        lock(&self.identity).clear();
        *lock(&self.running) = Some(running.clone());
        self.change(supervisor, NodeState::Booting);
        tokio::spawn(self.clone().watch(supervisor.clone(), running));
        Ok(())
    }

    /// Follows a machine to its end.
    async fn watch(self: Arc<Self>, supervisor: Arc<Supervisor>, running: Running) {
        let qemu = &running.qemu;
        let mut agent = running.link.state();
        loop {
            let answers = matches!(&*agent.borrow_and_update(), LinkState::Up { .. });
            if !answers && self.state() != NodeState::Halting {
                self.change(&supervisor, NodeState::Booting);
            }
            let settle = async {
                // One that fails is repeated by the next `up`, which tells why.
                if answers && let Err(why) = self.settle(&supervisor, &running).await {
                    eprintln!("{}: {why}", self.name);
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = qemu.ended() => break,
                changed = agent.changed() => if changed.is_err() {
                    qemu.ended().await;
                    break;
                },
                () = settle => {}
            }
        }
        let asked = self.state() == NodeState::Halting;
        *lock(&self.running) = None;
        supervisor.switch.detach(&self.name).await;
        let published = std::mem::take(&mut *lock(&self.published));
        ports::unpublish(&supervisor, &self.name, &published).await;
        let console = supervisor.home.node(&self.name).join("console.log");
        let orderly = asked || boot::powered_off(&console);
        let crash = NodeState::Crashed { why: "its QEMU ended unasked".to_owned() };
        self.change(&supervisor, if orderly { NodeState::Off } else { crash });
        supervisor.quieter.notify_one();
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
