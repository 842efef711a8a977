//! Messages between labctl and the agent in a guest, over any byte stream (a virtio-serial port, an SSH channel).
//!
//! A stream carries packets ([`frame`]); a packet holds one [`ToAgent`] or [`FromAgent`]. Requests run concurrently, distinguished by an id
//! that the controller chooses. Every stream starts with [`ToAgent::Hello`], which names a session: a controller that restarts opens a new
//! one, and the agent drops what belonged to the old one.
//!
//! ```text
//! controller                               agent
//!   Hello{session, version}  ───────────▶
//!                            ◀───────────  Ready{session, ...}      (also unprompted after a guest reboot, session 0)
//!   Request{id, ...}         ───────────▶
//!   Data{id} | End{id}       ───────────▶  (standard input, contents of a file)
//!                            ◀───────────  Data{id, stream} | Credit{id}
//!   Credit{id} | Cancel{id}  ───────────▶
//!                            ◀───────────  Done{id, result}         (exactly once; nothing with this id after it)
//! ```
//!
//! Flow control: a sender of `Data` may have [`WINDOW`] unacknowledged bytes per request and direction; the receiver returns what it has
//! consumed with `Credit`. So a slow reader of one request never blocks another request.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod crypt;
mod frame;
mod identity;
mod module;
pub mod modules;
pub mod python_regex;
pub mod tree;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

pub use frame::{FrameError, Unframer, frame};
pub use identity::{Authority, HostKey, Identity, Neighbour, Proxy, User};
pub use module::{INHERIT_VARIABLE, ModuleCall, ModuleReply, STATE, STATE_VARIABLE};

/// Version of these messages; both sides must agree.
pub const VERSION: u32 = 5;

/// Bytes of `Data` that may be in flight per request and direction until `Credit` arrives.
pub const WINDOW: usize = 1 << 20;

/// Maximum bytes in one `Data`: small enough that packets of other requests get their turn.
pub const CHUNK: usize = 64 << 10;

/// Name of the virtio-serial port on which the agent answers (QEMU's `virtserialport,name=`).
pub const PORT_NAME: &str = "labctl.agent";

/// From the controller to the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Opens a session; everything of an earlier one is dropped and its processes are killed.
    Hello {
        /// Chosen at random by the controller; never 0.
        session: u64,
        /// The controller's [`VERSION`].
        version: u32,
    },
    /// Starts a request.
    Request {
        /// Chosen by the controller, not in use.
        id: u64,
        /// The operation.
        request: Request,
    },
    /// Standard input of [`Request::Exec`], contents of [`Request::Put`], a side of [`Request::ReceiveTree`] or [`Request::SendTree`].
    Data {
        /// The request.
        id: u64,
        /// At most [`CHUNK`] bytes.
        bytes: ByteBuf,
    },
    /// No more `Data` from the controller.
    End {
        /// The request.
        id: u64,
    },
    /// This many bytes of the agent's `Data` were consumed.
    Credit {
        /// The request.
        id: u64,
        /// Number of bytes.
        bytes: u32,
    },
    /// A signal for the request's process group, such as SIGINT.
    Signal {
        /// The request.
        id: u64,
        /// Linux signal number.
        signal: i32,
    },
    /// A new size for the request's terminal.
    Resize {
        /// The request.
        id: u64,
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// Cancels the request: its processes are killed, and `Done` with [`ErrorKind::Cancelled`] follows unless it has already finished.
    Cancel {
        /// The request.
        id: u64,
    },
}

/// From the agent to the controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromAgent {
    /// The agent is listening. Answers `Hello`; sent unprompted with session 0 when the agent starts.
    Ready {
        /// The session of the `Hello`, or 0.
        session: u64,
        /// The agent's [`VERSION`].
        version: u32,
        /// The kernel's `/proc/sys/kernel/random/boot_id`: changes with each boot.
        boot_id: String,
        /// Hash of the applied identity ([`Identity::digest`]); empty if none.
        identity: String,
    },
    /// Output of the request.
    Data {
        /// The request.
        id: u64,
        /// Which output it is.
        stream: Stream,
        /// At most [`CHUNK`] bytes.
        bytes: ByteBuf,
    },
    /// This many bytes of the controller's `Data` were consumed.
    Credit {
        /// The request.
        id: u64,
        /// Number of bytes.
        bytes: u32,
    },
    /// The request has finished.
    Done {
        /// The request.
        id: u64,
        /// Its result.
        result: Result<Reply, AgentError>,
    },
}

/// Which output of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output, the contents of a file, or the agent's side of a tree.
    Out,
    /// Standard error.
    Err,
}

/// What the agent can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Runs a program and streams its output; [`Reply::Exited`].
    Exec(Exec),
    /// Writes a file from `Data` up to `End`: to a temporary file next to it, synced and renamed; [`Reply::Written`].
    Put(Put),
    /// Streams a file as `Data`; [`Reply::Read`].
    Get {
        /// Absolute path, as bytes.
        path: ByteBuf,
    },
    /// Writes a tree that the controller sends ([`tree`]); [`Reply::Received`].
    ReceiveTree(Box<tree::Receive>),
    /// Sends a tree to the controller ([`tree`]); [`Reply::Sent`].
    SendTree {
        /// Path, as bytes; a relative one is below root's home.
        path: ByteBuf,
    },
    /// Ansible's facts of the guest; [`Reply::Facts`].
    Facts,
    /// Adopts an identity: host name, machine-id, addresses, host keys ...; [`Reply::Done`].
    TakeIdentity(Box<Identity>),
    /// Prepares the guest for being saved as a template: removes whatever would make its forks identical or slow; [`Reply::Done`].
    BecomeTemplate,
    /// Sets the time in a guest that was restored from a snapshot, and gives it its own random bytes; [`Reply::Done`].
    Wake {
        /// Random bytes, as in [`Identity::entropy`].
        entropy: ByteBuf,
        /// Wall clock in nanoseconds since 1970.
        clock_ns: u64,
    },
    /// State of systemd units; [`Reply::Units`].
    Units {
        /// Unit names, such as `consul.service`.
        units: Vec<String>,
    },
    /// Opens a pidfd of each unit's main process and keeps them until `Fire` or the end of the session; [`Reply::Armed`].
    Arm {
        /// Chosen by the controller; identifies this set of targets.
        shot: u64,
        /// Unit names.
        units: Vec<String>,
    },
    /// Sends the signal to every process that `Arm` holds for the shot; if it is SIGKILL, waits for each to die; [`Reply::Fired`].
    Fire {
        /// The set from `Arm`.
        shot: u64,
        /// Linux signal number.
        signal: i32,
    },
    /// Runs a task module; [`Reply::Module`].
    Module(Box<ModuleCall>),
    /// Waits until systemd has started everything that belongs to the boot; [`Reply::Booted`].
    AwaitBooted,
    /// Shuts the guest down cleanly; [`Reply::Done`] before that starts.
    PowerOff,
    /// Reboots the guest cleanly; [`Reply::Done`] before that starts.
    Reboot,
    /// Does nothing; [`Reply::Done`]. Measures a round trip.
    Ping,
}

/// A program to run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// Program (looked up in PATH) and arguments; not empty.
    pub argv: Vec<String>,
    /// Environment variables in addition to the agent's own clean environment.
    pub env: BTreeMap<String, String>,
    /// Working directory; default: the user's home.
    pub cwd: Option<String>,
    /// User; default: root.
    pub user: Option<String>,
    /// A terminal of this size (columns, rows) instead of pipes; output is then all [`Stream::Out`].
    pub terminal: Option<(u16, u16)>,
    /// Whether `Data` follows as standard input; /dev/null otherwise.
    pub stdin: bool,
    /// Kill the process group after this many milliseconds.
    pub timeout_ms: Option<u64>,
}

/// A file to write.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Put {
    /// Absolute path; missing parent folders are created (root, 0755).
    pub path: String,
    /// Permission bits, such as 0o644.
    pub mode: u32,
    /// Owner (name or number); default: root.
    pub owner: Option<String>,
    /// Group (name or number); default: root.
    pub group: Option<String>,
    /// Expected length in bytes.
    pub size: u64,
    /// Expected SHA-256 in hex; if it differs, the file is not renamed into place.
    pub sha256: Option<String>,
}

/// The result of a successful request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// No further data.
    Done,
    /// The program exited.
    Exited {
        /// Exit code; 128 + signal number if a signal killed it, as in a shell.
        code: i32,
        /// The signal that killed it.
        signal: Option<i32>,
    },
    /// The file is in place.
    Written {
        /// SHA-256 in hex of the written content.
        sha256: String,
    },
    /// The whole file was sent.
    Read {
        /// Length in bytes.
        size: u64,
        /// Permission bits.
        mode: u32,
        /// SHA-256 in hex.
        sha256: String,
    },
    /// The tree is in place, but for its faults.
    Received(tree::Received),
    /// The tree was sent, but for its faults.
    Sent(tree::Sent),
    /// Ansible's facts without the prefix `ansible_`.
    Facts(serde_json::Map<String, serde_json::Value>),
    /// State of the requested units, in the order of the request.
    Units(Vec<UnitState>),
    /// The held processes.
    Armed(Vec<ArmedProcess>),
    /// What the shot did.
    Fired(Vec<Death>),
    /// The module's result.
    Module(Box<ModuleReply>),
    /// The boot is complete.
    Booted {
        /// systemd's state: `running` or `degraded`.
        state: String,
        /// Units that failed.
        failed: Vec<String>,
    },
}

/// State of a systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// Unit name.
    pub unit: String,
    /// `ActiveState`: active, inactive, failed, activating ...
    pub active: String,
    /// `SubState`: running, dead, auto-restart ...
    pub sub: String,
    /// `MainPID`; 0 if there is none.
    pub main_pid: i32,
    /// `NRestarts`.
    pub restarts: u32,
}

/// A process held for a shot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmedProcess {
    /// Its unit.
    pub unit: String,
    /// Its pid; 0 if the unit had no main process, so nothing is held.
    pub pid: i32,
}

/// What happened to a process that was signalled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Its unit.
    pub unit: String,
    /// Its pid.
    pub pid: i32,
    /// When the signal was sent, in nanoseconds of the guest's CLOCK_REALTIME.
    pub sent_ns: u64,
    /// When its death was seen, likewise; none if it is still alive.
    pub dead_ns: Option<u64>,
    /// Why nothing was sent.
    pub error: Option<String>,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AgentError {
    /// For the controller to act on.
    pub kind: ErrorKind,
    /// For people; names the file, unit or value concerned.
    pub message: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The file, user, unit or program does not exist.
    NotFound,
    /// The request is invalid.
    Invalid,
    /// The controller cancelled it, or opened a new session.
    Cancelled,
    /// It exceeded its time limit.
    TimedOut,
    /// The kernel returned an error.
    Io,
    /// A bug or failure in the agent itself.
    Internal,
}
