//! What happens, as it happens: the lines of the progress display, of `--json` and of the dashboard.

use labctl_spec::ident::NodeName;
use serde::{Deserialize, Serialize};

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
        /// Units of work done and in all, if known (bytes, or packages).
        progress: Option<(u64, u64)>,
    },
    /// A guest's kernel says on its console that something is wrong.
    Kernel {
        /// The node.
        node: NodeName,
        /// How bad it is.
        trouble: Trouble,
        /// What it says, in its own words.
        line: String,
    },
    /// A guest has rebooted within its machine, and answers again.
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
    /// Something worth knowing that is not a failure.
    Note {
        /// The text.
        text: String,
    },
    /// Something that does not work as asked, while the rest does.
    Warning {
        /// The text, with the way out.
        text: String,
    },
}

/// What a kernel complains of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// A processor or a task stood still for long. Normal in an emulated guest on a busy host.
    Stall,
    /// A fault of the kernel's own that cost the process that met it; the rest goes on, rightly or not.
    Oops,
    /// The kernel has given up.
    Panic,
}

/// Why a guest rebooted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebootCause {
    /// Somebody asked it to, from inside or through labctl.
    Asked,
    /// Its kernel had panicked.
    Panic,
    /// Nobody knows.
    Itself,
}

/// State of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum NodeState {
    /// It was never started.
    Absent,
    /// Its machine does not run.
    Off,
    /// Its machine does not run; its memory is saved, and it goes on from there.
    Suspended,
    /// QEMU is being started.
    Starting,
    /// The machine runs; its agent does not answer yet.
    Booting,
    /// The agent answers.
    Running,
    /// The machine runs, but its agent has not answered for longer than it may take.
    Silent {
        /// What is known about it.
        why: String,
    },
    /// The machine runs, but its kernel has given up, and does not boot anew by itself.
    Panicked {
        /// The kernel's last words.
        why: String,
    },
    /// It is being halted.
    Halting,
    /// The machine ended without being asked to.
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
            Self::Halting => "halting",
            Self::Crashed { .. } => "crashed",
        }
    }

    /// What is known about a state that is not as it should be.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Silent { why } | Self::Panicked { why } | Self::Crashed { why } => Some(why),
            _ => None,
        }
    }
}
