//! Events, as they happen: the lines of the progress display, `--json` and the dashboard.

use labctl_spec::ident::NodeName;
use serde::{Deserialize, Serialize};

/// Takes events as they happen.
pub type Each<'a> = &'a (dyn Fn(Event) + Send + Sync);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A node's state changed.
    Node {
        /// The node.
        node: NodeName,
        /// Its new state.
        state: NodeState,
    },
    /// A step of work on something shared, such as an image or an artifact.
    Work {
        /// What is worked on.
        what: String,
        /// What is being done, in a few words.
        step: String,
        /// Units of work done and in total, if known (bytes or packages).
        progress: Option<(u64, u64)>,
    },
    /// A guest's kernel reports a problem on its console.
    Kernel {
        /// The node.
        node: NodeName,
        /// How bad it is.
        trouble: Trouble,
        /// The kernel's message, verbatim.
        line: String,
    },
    /// A guest has rebooted within its machine and answers again.
    Rebooted {
        /// The node.
        node: NodeName,
        /// Why.
        cause: RebootCause,
        /// How long it had run before, in milliseconds.
        ran_ms: u64,
        /// The new boot's id.
        boot_id: String,
    },
    /// A folder or file of the host was compared with a node's copy, and what differed was brought there.
    Synced {
        /// The node.
        node: NodeName,
        /// The host's side.
        from: String,
        /// The node's side.
        to: String,
        /// Files and links that were written.
        written: u64,
        /// Bytes of content that were sent.
        bytes: u64,
        /// Folders that were made.
        folders: u64,
        /// What was removed.
        removed: u64,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// Information that is not a failure.
    Note {
        /// The text.
        text: String,
    },
    /// Something does not work as requested, while the rest does.
    Warning {
        /// The text, including what to do about it.
        text: String,
    },
}

/// What a kernel reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// A processor or a task was stalled for a long time. Normal in an emulated guest on a busy host.
    Stall,
    /// A kernel fault that killed the process that hit it; the rest keeps running, correctly or not.
    Oops,
    /// The kernel has given up.
    Panic,
}

/// Why a guest rebooted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebootCause {
    /// It was requested, from inside the guest or through labctl.
    Asked,
    /// Its kernel had panicked.
    Panic,
    /// The cause is unknown.
    Itself,
}

/// State of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum NodeState {
    /// It was never started.
    Absent,
    /// Its machine is not running.
    Off,
    /// Its machine is not running; its memory is saved, and it will resume from there.
    Suspended,
    /// Its machine is being started.
    Starting,
    /// The machine is running; its agent does not answer yet.
    Booting,
    /// The agent answers.
    Running,
    /// The machine is running, but its agent has not answered within the allowed time.
    Silent {
        /// What is known about it.
        why: String,
    },
    /// The machine is running, but its kernel has given up and does not reboot by itself.
    Panicked {
        /// The kernel's last message.
        why: String,
    },
    /// The machine stands still, because the host's disk has no room for what its guest wrote.
    DiskFull {
        /// What is known about it.
        why: String,
    },
    /// The machine is running, but nothing can be asked of it: its sockets are gone, or it does not answer there.
    Unreachable {
        /// What is known about it.
        why: String,
    },
    /// It is being halted.
    Halting,
    /// The machine exited without being asked to.
    Crashed {
        /// What is known about it.
        why: String,
    },
}

impl NodeState {
    /// One word for tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Absent => "not created",
            Self::Off => "off",
            Self::Suspended => "suspended",
            Self::Starting => "starting",
            Self::Booting => "booting",
            Self::Running => "running",
            Self::Silent { .. } => "silent",
            Self::Panicked { .. } => "panicked",
            Self::DiskFull { .. } => "disk full",
            Self::Unreachable { .. } => "unreachable",
            Self::Halting => "halting",
            Self::Crashed { .. } => "crashed",
        }
    }

    /// What is known about an abnormal state.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Silent { why } | Self::Panicked { why } | Self::DiskFull { why } | Self::Unreachable { why } | Self::Crashed { why } => {
                Some(why)
            }
            _ => None,
        }
    }
}
