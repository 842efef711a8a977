//! Requests from handles to the switch's task.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use labctl_spec::ident::{MacAddr, NodeName};
use labctl_spec::network::{Edge, HeldFrames, Impairment};
use tokio::net::TcpStream;
use tokio::sync::oneshot::Sender;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::counters::Counters;
use crate::flow::exchange::Exchange;
use crate::flow::host::PipeEnd;
use crate::flow::tcp::Opening;
use crate::names::Names;

/// A node's place at the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// The node.
    pub name: NodeName,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Its address in the lab's subnet.
    pub address: Ipv4Addr,
    /// The unix socket on which its QEMU listens (`-netdev stream,server=on`); it need not exist yet.
    pub socket: PathBuf,
}

/// A request. Each is answered once it has taken effect.
pub(crate) enum Command {
    /// Adds a port. Answers with the task of the port that it replaced, if any.
    Attach(PortConfig, Sender<Option<JoinHandle<()>>>),
    /// Removes a port. Answers with its task.
    Detach(NodeName, Sender<Option<JoinHandle<()>>>),
    /// Opens a connection to a guest for `host`.
    Dial { to: SocketAddrV4, opening: Opening, host: PipeEnd },
    /// Opens a connection to a guest for a connection of a published port.
    Join { to: SocketAddrV4, stream: TcpStream, deadline: Instant },
    /// Opens an exchange of datagrams with a guest for a client of a published port.
    Exchange { to: SocketAddrV4, exchange: Exchange },
    /// Holds all frames.
    Hold(Sender<()>),
    /// Releases all held frames.
    Release(Sender<HeldFrames>),
    /// Impairs an edge.
    Impair(Edge, Impairment, Sender<()>),
    /// Impairs an edge and keeps its counters.
    Adjust(Edge, Impairment, Sender<()>),
    /// Heals an edge.
    Heal(Edge, Sender<()>),
    /// Heals all edges.
    HealAll(Sender<()>),
    /// Reads the counters.
    Count(Sender<Counters>),
    /// Records into a file, or stops recording. Answers with the writer of the previous capture, if any.
    Capture(Option<std::fs::File>, Sender<Option<JoinHandle<std::io::Result<()>>>>),
    /// Replaces the names.
    Rename(Arc<Names>, Sender<()>),
    /// Stops everything. Answers with the ports' tasks.
    Shutdown(Sender<Vec<JoinHandle<()>>>),
}
