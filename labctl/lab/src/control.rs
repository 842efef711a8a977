//! The protocol between commands and the supervisor on the supervisor's socket.
//!
//! Each connection carries one call: the client sends a [`Call`] as a packet ([`labctl_wire::frame`]), the supervisor answers with any
//! number of [`Answer::Event`]s and one other [`Answer`]. After [`Answer::Open`] the connection carries something else, either the agent's
//! protocol or a TCP stream.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use labctl_chaos::ImpairedEdges;
use labctl_image::BootImage;
use labctl_machine::accel::Accel;
use labctl_machine::driver_name::DriverName;
use labctl_spec::ident::NodeName;
use labctl_spec::lab::{Protocol, Publish};
use labctl_spec::network::{EdgeCounters, HeldFrames};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::event::{Event, NodeState};
use crate::record::Record;
use crate::snapshot::Snapshot;
use crate::template::Plan;

/// A request from a command to the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Call {
    /// Counts the connection as a client until it closes; [`Answer::Done`]. A supervisor without machines does not exit while it has
    /// clients: after this answer, calls are safe. No answer means that the supervisor is shutting down.
    Stay,
    /// The lab's state; [`Answer::Status`].
    Status,
    /// The lab's state now and after every change, plus recent and future events: [`Answer::Status`] and
    /// [`Answer::Watched`] until either side closes the connection.
    Watch,
    /// Adopts the record and starts nodes, waiting until their agents answer; [`Answer::Done`].
    Up(Box<Up>),
    /// Stops nodes; [`Answer::Done`].
    Halt {
        /// Which; all if empty.
        nodes: Vec<NodeName>,
        /// Without asking the guest first.
        force: bool,
    },
    /// Resumes nodes that stand still because the host's disk was full; [`Answer::Done`] once they answer.
    GoOn {
        /// Which.
        nodes: Vec<NodeName>,
    },
    /// Saves all nodes as a snapshot of that name; [`Answer::Saved`].
    Save {
        /// The snapshot's name.
        name: String,
        /// Compare what was saved with the memory of the stopped nodes, page by page.
        verify: bool,
    },
    /// Starts all nodes from a snapshot; none may be running. [`Answer::Done`].
    Rewind(Box<Rewind>),
    /// A channel to a node's agent; [`Answer::Open`] once the agent answers, then the agent's protocol.
    Agent {
        /// The node.
        node: NodeName,
    },
    /// A TCP connection into the lab's network; [`Answer::Open`], then its bytes.
    Dial {
        /// The node.
        node: NodeName,
        /// TCP port.
        port: u16,
    },
    /// Holds every frame of the lab until the connection closes, [`Call::Release`] arrives or the limit has passed; [`Answer::Done`] once
    /// it is in effect.
    Hold {
        /// Longest time, in milliseconds.
        limit_ms: u64,
    },
    /// Releases held frames; [`Answer::Held`].
    Release,
    /// Impairs edges of the network until [`Call::Mend`]; [`Answer::Done`]. What is needed to end it is journalled first.
    Impair(Box<ImpairedEdges>),
    /// Ends an impairment, if it is in effect; [`Answer::Done`].
    Mend {
        /// The impairment's id.
        id: String,
    },
    /// What an impairment has done to frames so far; [`Answer::Impaired`].
    Impaired {
        /// The impairment's id.
        id: String,
    },
    /// Stops only the supervisor; [`Answer::Done`]. The machines keep running. Keep its name and shape: other versions of labctl send it.
    Leave,
}

/// What `up` needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Up {
    /// The lab.
    pub record: Record,
    /// Which nodes to start.
    pub nodes: Vec<NodeName>,
    /// Images by name.
    pub images: BTreeMap<String, BootImage>,
    /// What runs the machines that are started.
    pub driver: DriverName,
    /// The accelerator, proven to work.
    pub accel: Accel,
    /// Which nodes are forked, and from what.
    pub templates: Plan,
}

/// What [`Call::Rewind`] needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rewind {
    /// The lab, as it is from now on.
    pub record: Record,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Its folder.
    pub folder: PathBuf,
}

/// An answer from the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// Something happened.
    Event(Event),
    /// Something happened, at a known time; only sent in answer to [`Call::Watch`].
    Watched(Stamped),
    /// It is done.
    Done,
    /// The snapshot that was taken.
    Saved(Box<Snapshot>),
    /// The lab's state.
    Status(LabStatus),
    /// From now on the connection carries what was requested.
    Open,
    /// The frames that were held.
    Held(HeldFrames),
    /// What an impairment has done.
    Impaired(EdgeCounters),
    /// It failed.
    Failed(Failure),
}

/// An event with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Time of the event, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// State of a lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabStatus {
    /// Its name.
    pub lab: String,
    /// Process id of its supervisor; none if none is running.
    pub supervisor: Option<u32>,
    /// The accelerator that runs the guests, if known.
    pub accel: Option<Accel>,
    /// Its nodes in the order of the lab file.
    pub nodes: Vec<NodeStatus>,
    /// Why the last restore of a snapshot failed, if its nodes have been down since.
    #[serde(default)]
    pub failed_restore: Option<Failure>,
}

/// State of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: NodeName,
    /// Its state.
    #[serde(flatten)]
    pub state: NodeState,
    /// Address in the lab.
    pub address: Ipv4Addr,
    /// IPv6 address in the lab.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// Address on the host that its published ports listen on.
    pub loopback: Ipv4Addr,
    /// All other names.
    pub hostnames: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// TCP ports that listen on `loopback` now: host port to node port.
    pub published: Vec<(u16, u16)>,
    /// The same for UDP.
    #[serde(default)]
    pub published_udp: Vec<(u16, u16)>,
    /// Process id of its machine.
    pub pid: Option<i32>,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Whether it is no longer in the lab file.
    #[serde(default)]
    pub left: bool,
    /// What is known about its machine's history, if it is running.
    #[serde(flatten)]
    pub life: LifeStatus,
}

impl NodeStatus {
    /// All ports that listen now.
    pub fn all_published(&self) -> Vec<Publish> {
        let of = |protocol, ports: &[(u16, u16)]| -> Vec<Publish> {
            ports.iter().map(|(host, node)| Publish { host: *host, node: *node, protocol }).collect()
        };
        [of(Protocol::Tcp, &self.published), of(Protocol::Udp, &self.published_udp)].concat()
    }
}

/// A machine's history as far as it is known. Times are in milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeStatus {
    /// Since when its guest has run without a reboot.
    #[serde(default)]
    pub since_unix_ms: Option<u64>,
    /// Since when its machine has been running.
    #[serde(default)]
    pub started_unix_ms: Option<u64>,
    /// The guest's boot ID.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// Reboots of the guest since the machine was started.
    #[serde(default)]
    pub reboots: u32,
    /// Kernel panics since then.
    #[serde(default)]
    pub panics: u32,
    /// The last of these panics.
    #[serde(default)]
    pub last_panic: Option<Panic>,
}

/// A kernel panic of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    /// When it was noticed, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The kernel's message.
    pub line: String,
}
