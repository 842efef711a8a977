//! The supervisor: the process that owns a lab's machines, switch and published ports.
//!
//! It is crash-only. Machines outlive it; the next supervisor adopts those that run. There is one per lab, ensured by a lock, and it exits
//! by itself when no machine runs and no command is connected.
//!
//! ```text
//! started by a command ─▶ adopt running machines ─▶ serve calls ─▶ (no machine, no client) ─▶ exit
//!                                ▲                      │ killed
//!                                └──────────────────────┘ by the next command
//! ```

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod answering;
mod boot;
mod call;
mod clients;
mod console;
mod faulting;
mod healing;
mod history;
mod impairing;
mod kernel;
mod lost;
mod node;
mod owner;
mod patience;
mod ports;
mod rewinding;
mod room;
mod saving;
mod unreached;
mod watching;

use std::collections::BTreeMap;
use std::fs::{OpenOptions, TryLockError};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clients::{Client, Clients};
use history::History;
use labctl_lab::client::{READY, RECALL, TAKEN};
use labctl_lab::control::{LabStatus, NodeStatus};
use labctl_lab::event::{Event, NodeState};
use labctl_lab::home::{Home, LabHome};
use labctl_lab::record::{self, Record};
use labctl_lab::spare_keys::SpareKeys;
use labctl_lab::{Failure, Kind, snapshot};
use labctl_machine::accel::Accel;
use labctl_net::{Switch, SwitchConfig};
use labctl_spec::ident::{LabName, NodeName};
use labctl_spec::lab::Protocol;
use node::Slot;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;

/// How long a supervisor waits for its machines before it serves calls. They answer within milliseconds; one that does not is waited for while
/// the others are of use.
const ADOPTION: Duration = Duration::from_secs(2);

/// How long a supervisor without machines waits for its first client.
const LONELY: Duration = Duration::from_secs(30);

/// How long a supervisor stays after the last machine has stopped and the last client has disconnected.
const LINGER: Duration = Duration::from_secs(2);

/// Locks, and continues even if a task panicked while it held the lock: the maps behind these locks are changed by single insertions.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// State that all calls share.
pub(crate) struct Supervisor {
    home: LabHome,
    /// The home that the lab's own is part of.
    root: Home,
    record: Mutex<Arc<Record>>,
    accel: Mutex<Option<Accel>>,
    switch: Switch,
    slots: Mutex<BTreeMap<NodeName, Arc<Slot>>>,
    events: History,
    impairments: tokio::sync::Mutex<impairing::Impairments>,
    clients: Arc<Clients>,
    /// Limits how many nodes are forked at the same time: waking up needs the processor, and many more than it has cores slow each other
    /// down.
    forking: Semaphore,
    /// Held while all nodes are rewound: a killed command may have left its call running when the next command makes another.
    rewinding: tokio::sync::Mutex<()>,
}

/// Runs the supervisor of a lab until it is no longer needed. `tell` is called with the one word that the starting process waits for:
/// [`READY`] once it listens, or [`TAKEN`].
pub async fn run(root: Home, lab: &LabName, tell: impl FnOnce(&str)) -> Result<(), Failure> {
    // Before the lock is held: whoever finds that we hold it may send the signal.
    let recalls = signal(SignalKind::from_raw(RECALL.as_raw())).map_err(Failure::io("cannot watch for signals"))?;
    let home = root.lab(lab);
    home.make()?;
    let Some(_lock) = try_lock(&home.supervisor_lock())? else {
        tell(TAKEN);
        return Ok(());
    };
    let record = Record::load(&home)?
        .ok_or_else(|| Failure::new(Kind::NotFound, format!("there is no lab `{lab}`")).hint("`labctl up` creates it"))?;
    let config = SwitchConfig { network: record.lab.network.clone(), names: names(&record), upstream: Vec::new() };
    let supervisor = Arc::new(Supervisor {
        switch: Switch::start(config),
        record: Mutex::new(Arc::new(record)),
        accel: Mutex::new(None),
        slots: Mutex::default(),
        events: History::new(),
        impairments: tokio::sync::Mutex::default(),
        clients: Arc::default(),
        forking: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from) + 1),
        rewinding: tokio::sync::Mutex::default(),
        home,
        root,
    });
    supervisor.impair_again().await;
    supervisor.adopt().await;
    let socket = supervisor.home.supervisor_socket();
    // We hold the lock, so any supervisor that listened here has died.
    for left in supervisor.home.foreign_supervisor_sockets() {
        let _ = std::fs::remove_file(left);
    }
    let listener = supervisor.listen()?;
    tell(READY);
    tokio::spawn(healing::heal_due(supervisor.clone()));
    let (spares, nodes) = (SpareKeys::of(&supervisor.root), supervisor.record().lab.nodes.len());
    tokio::spawn(async move {
        if let Err(why) = spares.keep_stock(nodes).await {
            tracing::info!("no SSH host keys in stock: {why}");
        }
    });
    tokio::select! {
        () = supervisor.clone().accept(listener, recalls) => {}
        () = supervisor.until_quiet() => {}
    }
    // While we hold the lock, the socket is certainly ours. A client that still connects gets no answer, and starts another supervisor.
    let _ = std::fs::remove_file(&socket);
    Ok(())
}

/// All names of the lab's nodes with their addresses, for the switch's name service.
fn names(record: &Record) -> Vec<(String, IpAddr)> {
    let entries = record.neighbours().into_iter();
    entries
        .flat_map(|entry| {
            let addresses = [Some(entry.address.into()), entry.address6.map(IpAddr::from)];
            entry.names.into_iter().flat_map(move |name| addresses.into_iter().flatten().map(move |address| (name.clone(), address)))
        })
        .collect()
}

/// The lock file, locked; none if another process holds it.
fn try_lock(path: &Path) -> Result<Option<std::fs::File>, Failure> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(Failure::io(path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(why)) => Err(Failure::io(path.display())(why)),
    }
}

impl Supervisor {
    fn record(&self) -> Arc<Record> {
        lock(&self.record).clone()
    }

    fn emit(&self, event: Event) {
        self.events.add(event);
    }

    /// The slot of a node of the lab.
    fn slot(self: &Arc<Self>, name: &NodeName) -> Result<Arc<Slot>, Failure> {
        self.record().node(name)?;
        Ok(lock(&self.slots).entry(name.clone()).or_insert_with(|| Arc::new(Slot::new(name.clone()))).clone())
    }

    /// Adopts the machines that already run, side by side. Those that do not answer soon are adopted later, if they do.
    async fn adopt(self: &Arc<Self>) {
        let names: Vec<NodeName> = self.record().existing().map(|node| node.name.clone()).collect();
        let adoptions = names.into_iter().map(|name| {
            let supervisor = self.clone();
            tokio::spawn(async move {
                let adopted = match supervisor.slot(&name) {
                    Ok(slot) => slot.adopt(&supervisor).await,
                    Err(why) => Err(why),
                };
                if let Err(why) = adopted {
                    tracing::warn!("cannot adopt {name}: {why}");
                }
            })
        });
        let _ = tokio::time::timeout(ADOPTION, futures_util::future::join_all(adoptions)).await;
    }

    /// A new socket, in a folder that is made again if it is gone.
    fn listen(&self) -> Result<UnixListener, Failure> {
        self.home.make()?;
        let socket = self.home.supervisor_socket();
        let _ = std::fs::remove_file(&socket);
        UnixListener::bind(&socket).map_err(Failure::io(socket.display()))
    }

    /// Serves clients. A recall means that one of them does not find the socket.
    async fn accept(self: Arc<Self>, mut listener: UnixListener, mut recalls: Signal) {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.clone().client(stream),
                    // Most likely out of descriptors: closing connections will free some.
                    Err(why) => {
                        tracing::warn!("cannot accept a connection: {why}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(()) = recalls.recv() => {
                    // Nobody else listens there.
                    if UnixStream::connect(self.home.supervisor_socket()).await.is_ok() {
                        continue;
                    }
                    match self.listen() {
                        Ok(anew) => listener = anew,
                        Err(why) => tracing::warn!("cannot listen again: {why}"),
                    }
                }
            }
        }
    }

    fn client(self: Arc<Self>, stream: UnixStream) {
        let client = Client::of(&self.clients);
        tokio::spawn(call::serve(self, stream, client));
    }

    /// Waits until no machine runs and no client is connected.
    async fn until_quiet(&self) {
        if !self.any_running() {
            // Either a client connects, or the one that started us has died.
            let _ = tokio::time::timeout(LONELY, self.clients.quieter.notified()).await;
        }
        let quiet = || !self.any_running() && self.clients.none();
        loop {
            // A command may make several calls, with no machine running between them.
            let noticed = tokio::time::timeout(LINGER, self.clients.quieter.notified()).await;
            if noticed.is_err() && quiet() {
                return;
            }
        }
    }

    fn any_running(&self) -> bool {
        lock(&self.slots).values().any(|slot| {
            !matches!(slot.state(), NodeState::Absent | NodeState::Off | NodeState::Crashed { .. } | NodeState::Unreachable { .. })
        })
    }

    fn status(self: &Arc<Self>) -> LabStatus {
        let record = self.record();
        let slots = lock(&self.slots).clone();
        let node = |node: &labctl_spec::lab::Node| {
            let slot = slots.get(&node.name);
            let shape = slot.and_then(|slot| slot.shape());
            let ports = slot.map(|slot| slot.published()).unwrap_or_default();
            let published = |protocol| -> Vec<(u16, u16)> {
                ports.iter().filter(|port| port.protocol == protocol).map(|port| (port.host, port.node)).collect()
            };
            NodeStatus {
                name: node.name.clone(),
                state: slot.map_or(NodeState::Absent, |slot| slot.shown_state(&self.home)),
                address: node.address,
                address6: record.lab.network.ipv6_of(node.address),
                loopback: record.loopback(node),
                hostnames: record::names(node).split_off(1),
                groups: node.groups.clone(),
                published: published(Protocol::Tcp),
                published_udp: published(Protocol::Udp),
                pid: slot.and_then(|slot| slot.pid()),
                memory_mib: shape.map_or(node.memory, |(_, memory)| memory).as_mib(),
                cpus: shape.map_or(node.cpus, |(cpus, _)| cpus),
                left: record.lab.node(&node.name).is_none(),
                life: slot.map(|slot| slot.life()).unwrap_or_default(),
            }
        };
        let left = record.left.iter().map(node).filter(|node| node.state != NodeState::Absent);
        LabStatus {
            lab: record.lab.name.to_string(),
            supervisor: Some(std::process::id()),
            accel: *lock(&self.accel),
            nodes: record.lab.nodes.iter().map(node).chain(left).collect(),
            failed_restore: snapshot::failed_restore(&self.home),
        }
    }
}
