//! The handle to a running switch.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use labctl_spec::ident::NodeName;
use labctl_spec::lab::Network;
use labctl_spec::network::{Edge, HeldFrames, Impairment};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::command::{Command, PortConfig};
use crate::counters::Counters;
use crate::dial::{DIAL_TIMEOUT, DialError};
use crate::engine::{Engine, Inputs};
use crate::flow::host::{self, DialStream};
use crate::flow::tcp::Opening;
use crate::gateway::Gateway;
use crate::names::Names;
use crate::publish::{self, Listen, PublishError};
use crate::uplink::Rules;

/// Runs that may wait for the switch: each port has at most one, so this leaves room for the flows.
const INGRESS: usize = 256;

/// Commands that may wait for the switch.
const COMMANDS: usize = 64;

/// Configuration of a switch.
#[derive(Debug, Clone)]
pub struct SwitchConfig {
    /// The lab's network.
    pub network: Network,
    /// Lower-case names of the nodes with their addresses. A name is either complete or short; a short one also stands
    /// for `name.domain`. The reverse name of an address derives from its first name.
    pub names: Vec<(String, IpAddr)>,
    /// Name servers for all other names. If empty, those in the host's /etc/resolv.conf, read again for each query.
    pub upstream: Vec<SocketAddr>,
}

/// A handle to a running switch, which stops when [`Switch::shutdown`] is called or the last handle is dropped. Calls
/// to a stopped switch do nothing.
#[derive(Debug, Clone)]
pub struct Switch {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<Command>,
    network: Network,
    upstream: Vec<SocketAddr>,
    /// Listeners of published ports. The mutex is held across the bind, so that two calls for one address are
    /// serialized.
    published: Mutex<HashMap<Listen, Published>>,
}

#[derive(Debug)]
struct Published {
    to: SocketAddrV4,
    task: JoinHandle<()>,
}

impl Drop for Published {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Switch {
    /// Starts a switch without ports.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    pub fn start(config: SwitchConfig) -> Self {
        let SwitchConfig { network, names, upstream } = config;
        let (commands, commanded) = mpsc::channel(COMMANDS);
        let (ended_to, ended) = mpsc::unbounded_channel();
        let (ingress_to, ingress) = mpsc::channel(INGRESS);
        let names = Arc::new(Names::new(&network, &names, upstream.clone()));
        let mac = gateway_mac(network.gateway);
        let gateway = Gateway::new(mac, network.gateway, Rules::new(&network), names, ingress_to.clone(), ended_to);
        let engine = Engine::new(gateway, ingress_to);
        tokio::spawn(engine.run(Inputs { commands: commanded, ended, ingress }));
        Self { shared: Arc::new(Shared { commands, network, upstream, published: Mutex::default() }) }
    }

    /// Adds a node's port and keeps it connected from now on. Adding the same port again changes nothing; a different
    /// one with the same name replaces it.
    pub async fn attach(&self, port: PortConfig) {
        self.stop_task(self.ask(|done| Command::Attach(port, done)).await).await;
    }

    /// Removes a node's port; its connections through the gateway are reset. Impairments of its edges stay.
    pub async fn detach(&self, name: &NodeName) {
        self.stop_task(self.ask(|done| Command::Detach(name.clone(), done)).await).await;
    }

    async fn stop_task(&self, task: Option<Option<JoinHandle<()>>>) {
        if let Some(Some(task)) = task {
            // The task is aborted; it is over once the connection to QEMU is closed.
            let _ = task.await;
        }
    }

    /// Opens a TCP connection from the gateway's address into a guest; the guest has 10 s to accept it.
    ///
    /// # Errors
    /// See [`DialError`]. An unreachable node is reported immediately.
    pub async fn dial(&self, to: SocketAddrV4) -> Result<DialStream, DialError> {
        self.dial_within(to, DIAL_TIMEOUT).await
    }

    /// The same with a different timeout.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial_within(&self, to: SocketAddrV4, patience: Duration) -> Result<DialStream, DialError> {
        let (ours, theirs) = host::pipe();
        let (outcome, opened) = oneshot::channel();
        let opening = Opening { outcome: Some(outcome), deadline: Instant::now() + patience };
        let stopped = |()| DialError::Stopped(to);
        self.shared.commands.send(Command::Dial { to, opening, host: ours }).await.map_err(|_| stopped(()))?;
        opened.await.map_err(|_| stopped(()))??;
        Ok(theirs)
    }

    /// Listens at `listen` on the host and passes each connection, or the datagrams of each client, to the guest's port
    /// `to`. If `listen` is already published to `to`, nothing changes; if to another port, that is replaced. A
    /// connection that the guest refuses is reset.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, listen: Listen, to: SocketAddrV4) -> Result<(), PublishError> {
        let mut published = self.shared.published.lock().await;
        if self.shared.commands.is_closed() {
            return Err(PublishError::Stopped(listen));
        }
        if published.get(&listen).is_some_and(|known| known.to == to) {
            return Ok(());
        }
        end(published.remove(&listen)).await;
        let task = publish::start(listen, to, self.shared.commands.downgrade()).await?;
        published.insert(listen, Published { to, task });
        Ok(())
    }

    /// Stops listening at `listen`. Open TCP connections continue.
    pub async fn unpublish(&self, listen: Listen) {
        let published = self.shared.published.lock().await.remove(&listen);
        end(published).await;
    }

    /// Holds every frame, between guests and between guests and the gateway, from the moment this returns. Up to 64 MiB
    /// are held; further frames are dropped and counted. Does nothing if a hold is already active.
    pub async fn hold(&self) {
        self.ask(Command::Hold).await;
    }

    /// Releases all held frames in their order of arrival and reports what was held; all zero if there was no hold.
    pub async fn release(&self) -> HeldFrames {
        self.ask(Command::Release).await.unwrap_or_default()
    }

    /// Impairs an edge, replacing any previous impairment. Its counters start again from zero. The nodes need not be attached yet.
    pub async fn impair(&self, edge: Edge, impairment: Impairment) {
        self.ask(|done| Command::Impair(edge, impairment, done)).await;
    }

    /// The same, but the counters of an edge that is impaired already go on.
    pub async fn adjust(&self, edge: Edge, impairment: Impairment) {
        self.ask(|done| Command::Adjust(edge, impairment, done)).await;
    }

    /// Heals an edge. Frames that it already delayed still arrive.
    pub async fn heal(&self, edge: Edge) {
        self.ask(|done| Command::Heal(edge, done)).await;
    }

    /// Heals all edges.
    pub async fn heal_all(&self) {
        self.ask(Command::HealAll).await;
    }

    /// Traffic counters since the switch started; all zero once it has stopped.
    pub async fn counters(&self) -> Counters {
        self.ask(Command::Count).await.unwrap_or_default()
    }

    /// Records all frames of nodes in a new pcapng file at `path` until [`Switch::stop_capture`] or until the switch
    /// stops. A running capture is stopped first.
    ///
    /// # Errors
    /// The file cannot be created, or the previous capture failed.
    pub async fn capture(&self, path: &Path) -> std::io::Result<()> {
        let file = tokio::fs::File::create(path).await?.into_std().await;
        self.change_capture(Some(file)).await
    }

    /// Stops the capture. The file is complete when this returns.
    ///
    /// # Errors
    /// The file could not be written, for example because the disk is full.
    pub async fn stop_capture(&self) -> std::io::Result<()> {
        self.change_capture(None).await
    }

    async fn change_capture(&self, file: Option<std::fs::File>) -> std::io::Result<()> {
        match self.ask(|done| Command::Capture(file, done)).await {
            Some(Some(writer)) => writer.await.map_err(std::io::Error::other)?,
            _ => Ok(()),
        }
    }

    /// Replaces [`SwitchConfig::names`].
    pub async fn rename(&self, names: &[(String, IpAddr)]) {
        let names = Arc::new(Names::new(&self.shared.network, names, self.shared.upstream.clone()));
        self.ask(|done| Command::Rename(names, done)).await;
    }

    /// Stops the switch: when this returns, listeners and connections to QEMU are closed and connections of guests are
    /// reset.
    pub async fn shutdown(self) {
        for (_, published) in std::mem::take(&mut *self.shared.published.lock().await) {
            end(Some(published)).await;
        }
        for task in self.ask(Command::Shutdown).await.unwrap_or_default() {
            let _ = task.await;
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.shared.commands.send(command(done)).await.ok()?;
        answer.await.ok()
    }
}

/// Stops a listener; its address is free when this returns.
async fn end(published: Option<Published>) {
    if let Some(mut published) = published {
        published.task.abort();
        // Cancelled, as intended.
        let _ = (&mut published.task).await;
    }
}

/// The gateway's Ethernet address: locally administered, different from those of nodes, and the same in every run.
fn gateway_mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x52, 0x55, a, b, c, d]
}
