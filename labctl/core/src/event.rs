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
            Self::Halting => "halting",
            Self::Crashed { .. } => "crashed",
        }
    }
}
