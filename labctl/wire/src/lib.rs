//! Messages between labctl and the agent in a guest, over any byte stream (a virtio-serial port, an SSH channel).
//!
//! A stream carries packets ([`frame`]); a packet holds one [`ToAgent`] or [`FromAgent`]. Requests run side by side,
//! told apart by an id that the controller chooses. Every stream starts with [`ToAgent::Hello`], which names a session: a
//! controller that died and came back opens a new one, and the agent drops what belonged to the old.
//!
//! ```text
//! controller                               agent
//!   Hello{session, version}  ───────────▶
//!                            ◀───────────  Ready{session, ...}      (also unasked after the guest rebooted, session 0)
//!   Request{id, ...}         ───────────▶
//!   Data{id} | End{id}       ───────────▶  (standard input, contents of a file)
//!                            ◀───────────  Data{id, stream} | Credit{id}
//!   Credit{id} | Cancel{id}  ───────────▶
//!                            ◀───────────  Done{id, result}         (exactly once; nothing with this id after it)
//! ```
//!
//! Flow control: a sender of `Data` may have [`WINDOW`] bytes under way per request and direction; the receiver gives
//! back with `Credit` what it has consumed. So a slow reader of one request never holds up another.

pub mod crypt;
mod frame;
mod identity;
mod module;
pub mod modules;
pub mod python_regex;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

pub use frame::{FrameError, Unframer, frame};
pub use identity::{Identity, Neighbour};
pub use module::{INHERIT_VARIABLE, ModuleCall, ModuleReply, STATE, STATE_VARIABLE};

/// Version of these messages; both sides must agree.
pub const VERSION: u32 = 3;

/// Bytes of `Data` that may be under way per request and direction before `Credit` must come back.
pub const WINDOW: usize = 1 << 20;

/// Most bytes in one `Data`: small enough that packets of other requests get their turn.
pub const CHUNK: usize = 64 << 10;

/// Name of the virtio-serial port that the agent answers on (QEMU's `virtserialport,name=`).
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
        /// What is asked.
        request: Request,
    },
    /// Standard input of [`Request::Exec`], contents of [`Request::Put`].
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
    /// So many bytes of the agent's `Data` were consumed.
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
    /// A new size of the request's terminal.
    Resize {
        /// The request.
        id: u64,
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// Ends the request: its processes are killed, `Done` with [`ErrorKind::Cancelled`] follows unless it is done already.
    Cancel {
        /// The request.
        id: u64,
    },
}

/// From the agent to the controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromAgent {
    /// The agent listens. Answers `Hello`; sent unasked with session 0 when the agent starts.
    Ready {
        /// The session of the `Hello`, or 0.
        session: u64,
        /// The agent's [`VERSION`].
        version: u32,
        /// The kernel's `/proc/sys/kernel/random/boot_id`: another one after a reboot.
        boot_id: String,
        /// Hash of the identity that is in force ([`Identity::digest`]); empty if none.
        identity: String,
    },
    /// Output of the request.
    Data {
        /// The request.
        id: u64,
        /// Where it comes from.
        stream: Stream,
        /// At most [`CHUNK`] bytes.
        bytes: ByteBuf,
    },
    /// So many bytes of the controller's `Data` were consumed.
    Credit {
        /// The request.
        id: u64,
        /// Number of bytes.
        bytes: u32,
    },
    /// The request has ended.
    Done {
        /// The request.
        id: u64,
        /// How.
        result: Result<Reply, AgentError>,
    },
}

/// Which output of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output, or the contents of a file.
    Out,
    /// Standard error.
    Err,
}

/// What the agent can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Runs a program; streams its output; [`Reply::Exited`].
    Exec(Exec),
    /// Writes a file from `Data` up to `End`: to a temporary name beside it, synced and renamed; [`Reply::Written`].
    Put(Put),
    /// Streams a file as `Data`; [`Reply::Read`].
    Get {
        /// Absolute path.
        path: String,
    },
    /// Ansible's facts of the guest; [`Reply::Facts`].
    Facts,
    /// Takes on an identity: host name, machine-id, addresses, host keys ...; [`Reply::Done`].
    TakeIdentity(Box<Identity>),
    /// Readies the guest for being saved as a template: whatever would make its forks alike or slow; [`Reply::Done`].
    BecomeTemplate,
    /// Tells a guest that was restored from a snapshot the time, and gives it random bytes of its own; [`Reply::Done`].
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
        /// Chosen by the controller; names this set of targets.
        shot: u64,
        /// Unit names.
        units: Vec<String>,
    },
    /// Sends the signal to every process that `Arm` holds for the shot, waits for the death of each if the signal is SIGKILL; [`Reply::Fired`].
    Fire {
        /// The set of `Arm`.
        shot: u64,
        /// Linux signal number.
        signal: i32,
    },
    /// Runs a task module; [`Reply::Module`].
    Module(Box<ModuleCall>),
    /// Waits until systemd has started everything that it starts at boot; [`Reply::Booted`].
    AwaitBooted,
    /// Powers the guest off in an orderly way; [`Reply::Done`] before it begins.
    PowerOff,
    /// Reboots the guest in an orderly way; [`Reply::Done`] before it begins.
    Reboot,
    /// Nothing; [`Reply::Done`]. Measures a round trip.
    Ping,
}

/// A program to run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// Program (looked up in PATH) and arguments; not empty.
    pub argv: Vec<String>,
    /// Environment added to the agent's own clean one.
    pub env: BTreeMap<String, String>,
    /// Working directory; the user's home unless given.
    pub cwd: Option<String>,
    /// User; root unless given.
    pub user: Option<String>,
    /// A terminal of this size (columns, rows) instead of pipes; output is then all [`Stream::Out`].
    pub terminal: Option<(u16, u16)>,
    /// Whether `Data` follows as standard input; /dev/null otherwise.
    pub stdin: bool,
    /// Kill the process group after so many milliseconds.
    pub timeout_ms: Option<u64>,
}

/// A file to write.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Put {
    /// Absolute path; missing parent folders are made (root, 0755).
    pub path: String,
    /// Permission bits, such as 0o644.
    pub mode: u32,
    /// Owner (name or number); root unless given.
    pub owner: Option<String>,
    /// Group (name or number); root unless given.
    pub group: Option<String>,
    /// Expected length in bytes.
    pub size: u64,
    /// Expected SHA-256 in hex; nothing is renamed if it differs.
    pub sha256: Option<String>,
}

/// How a request ended well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing more to say.
    Done,
    /// The program ended.
    Exited {
        /// Exit code; 128 + signal number if a signal ended it, as shells count.
        code: i32,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// The file is in place.
    Written {
        /// SHA-256 in hex of what was written.
        sha256: String,
    },
    /// The file was sent whole.
    Read {
        /// Length in bytes.
        size: u64,
        /// Permission bits.
        mode: u32,
        /// SHA-256 in hex.
        sha256: String,
    },
    /// Ansible's facts without the prefix `ansible_`.
    Facts(serde_json::Map<String, serde_json::Value>),
    /// State of the units asked for, in that order.
    Units(Vec<UnitState>),
    /// The processes held.
    Armed(Vec<ArmedProcess>),
    /// What the shot did.
    Fired(Vec<Death>),
    /// What the module said.
    Module(Box<ModuleReply>),
    /// The boot is over.
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
    /// Its pid; 0 if the unit had no main process, so that nothing is held.
    pub pid: i32,
}

/// What became of a process that was shot at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Its unit.
    pub unit: String,
    /// Its pid.
    pub pid: i32,
    /// When the signal was sent, in nanoseconds of the guest's CLOCK_REALTIME.
    pub sent_ns: u64,
    /// When its end was seen, likewise; none if it lives on.
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
    /// For people; names the datum.
    pub message: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The file, user, unit or program does not exist.
    NotFound,
    /// The request makes no sense.
    Invalid,
    /// The controller cancelled it, or opened another session.
    Cancelled,
    /// It took longer than it was allowed.
    TimedOut,
    /// The kernel refused.
    Io,
    /// A fault of the agent's own.
    Internal,
}
