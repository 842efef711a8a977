//! What commands and the supervisor say to each other on the supervisor's socket.
//!
//! One connection is one call: the client sends a [`Call`] as a packet ([`labctl_wire::frame`]), the supervisor answers with
//! any number of [`Answer::Event`]s and one other [`Answer`]. After [`Answer::Open`] the connection carries something else: the agent's
//! protocol or a TCP stream.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use labctl_image::BootImage;
use labctl_machine::accel::Accel;
use labctl_spec::ident::NodeName;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::event::{Event, NodeState};
use crate::record::Record;
use crate::snapshot::Snapshot;
use crate::template::Plan;

/// What a command asks of the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Call {
    /// Counts the connection as a client until it ends; [`Answer::Done`]. A supervisor without machines does not end while it has clients:
    /// whoever has this answer may make calls, and whoever gets none has come to one that is just ending.
    Stay,
    /// The lab's state; [`Answer::Status`].
    Status,
    /// The lab's state, now and after every change, and what happens, lately and from now on: [`Answer::Status`] and
    /// [`Answer::Watched`] until either side goes.
    Watch,
    /// Takes the record on and starts nodes until their agents answer; [`Answer::Done`].
    Up(Box<Up>),
    /// Ends nodes; [`Answer::Done`].
    Halt {
        /// Which; all if empty.
        nodes: Vec<NodeName>,
        /// Without asking the guest first.
        force: bool,
    },
    /// Saves all nodes as a snapshot of that name; [`Answer::Saved`].
    Save {
        /// The snapshot's name.
        name: String,
        /// Compare what was saved with the memory of the stopped nodes, page by page.
        verify: bool,
    },
    /// Starts all nodes where a snapshot left them; none may run. [`Answer::Done`].
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
    /// Holds every frame of the lab until the connection ends, [`Call::Release`] comes or the limit is over; [`Answer::Done`]
    /// when it is in force.
    Hold {
        /// Longest time, in milliseconds.
        limit_ms: u64,
    },
    /// Lets frames go again; [`Answer::Held`].
    Release,
    /// Ends nothing but the supervisor; [`Answer::Done`]. The machines go on. Keep its name and shape: other versions of labctl say it.
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
    /// The proved accelerator.
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

/// What the supervisor says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// Something happened.
    Event(Event),
    /// Something happened, at a known time; only to [`Call::Watch`].
    Watched(Stamped),
    /// It is done.
    Done,
    /// The snapshot that was taken.
    Saved(Box<Snapshot>),
    /// The lab's state.
    Status(LabStatus),
    /// The connection is what was asked for from now on.
    Open,
    /// What was held back.
    Held(HeldFrames),
    /// It failed.
    Failed(Failure),
}

/// An event and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Frames that the switch held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFrames {
    /// How many were held and delivered afterwards.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many were dropped because too many came.
    pub dropped: u64,
    /// How long, in microseconds.
    pub duration_us: u64,
}

/// State of a lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabStatus {
    /// Its name.
    pub lab: String,
    /// Process id of its supervisor; none if none runs.
    pub supervisor: Option<u32>,
    /// What runs the guests' instructions, if that is known.
    pub accel: Option<Accel>,
    /// Its nodes in the order of the lab file.
    pub nodes: Vec<NodeStatus>,
    /// Why the lab was not put back to a snapshot, if that was tried last and its nodes have been down since.
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
    /// Address on the host that its published ports listen on.
    pub loopback: Ipv4Addr,
    /// All further names.
    pub hostnames: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// Ports that listen on `loopback` now: host port to node port.
    pub published: Vec<(u16, u16)>,
    /// Process id of its QEMU.
    pub pid: Option<i32>,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Whether the lab file no longer names it.
    #[serde(default)]
    pub left: bool,
    /// What is known of its machine's life, if it runs.
    #[serde(flatten)]
    pub life: LifeStatus,
}

/// A machine's life as far as it is known. Times are in milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeStatus {
    /// Since when its guest has run without a reboot.
    #[serde(default)]
    pub since_unix_ms: Option<u64>,
    /// Since when its machine runs.
    #[serde(default)]
    pub started_unix_ms: Option<u64>,
    /// The guest's boot.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// Reboots of the guest since the machine was started.
    #[serde(default)]
    pub reboots: u32,
    /// Panics of its kernel since then.
    #[serde(default)]
    pub panics: u32,
    /// The last of these.
    #[serde(default)]
    pub last_panic: Option<Panic>,
}

/// A panic of a guest's kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    /// When it was noticed, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The kernel's words.
    pub line: String,
}
