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
//! A machine that runs but cannot be adopted is `Unreachable` until it is ended, or adopted after all.
//!
//! Operations on a node take its lock, so that a start and a halt never overlap; the state may be read at any time.

mod adopting;
mod halting;
mod joining;
mod settling;
mod starting;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use labctl_guest::Link;
use labctl_lab::control::LifeStatus;
use labctl_lab::event::{Event, NodeState};
use labctl_lab::home::LabHome;
use labctl_lab::life::Life;
use labctl_lab::node_folder::disk;
use labctl_lab::snapshot;
use labctl_machine::driver;
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Publish;
use labctl_spec::size::Size;
use tokio::sync::watch;

use crate::{Supervisor, lock};

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
    /// Its kernel has panicked, with this message, and may reboot.
    Panicked(String),
    /// Its kernel has panicked, with this message, and stays that way.
    Halted(String),
    /// It has started to boot again.
    Reset,
    /// It stands still, because the host's disk is full; what is known about it.
    Stopped(String),
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
            NodeState::Unreachable { .. } if self.running().is_none() && !self.runs_unreached(home) => NodeState::Off,
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

    /// Takes the ports that no longer listen for the node.
    pub fn take_published(&self) -> Vec<Publish> {
        std::mem::take(&mut *lock(&self.published))
    }

    /// Records which ports listen for the node.
    pub fn set_published(&self, published: Vec<Publish>) {
        *lock(&self.published) = published;
    }
}
