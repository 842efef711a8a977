//! The common form of all errors: a kind, a message with the value in question, a hint with the next step.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of failure; determines the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A file or an argument from the user is wrong.
    Input,
    /// The host lacks something: a program, memory, disk space, a port.
    Host,
    /// There is no lab, node, image, snapshot or scenario of that name.
    NotFound,
    /// Another labctl command is working on the same lab, or the lab is not in the required state.
    Conflict,
    /// A machine or its guest did not do what was requested.
    Machine,
    /// Provisioning failed on at least one node.
    Provision,
    /// A scenario did not pass.
    Scenario,
    /// A bug in labctl.
    Internal,
}

impl Kind {
    /// The exit code of a command that fails this way. clap uses 2 for wrong usage.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Input => 3,
            Self::Host => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::Machine => 7,
            Self::Provision => 8,
            Self::Scenario => 9,
        }
    }
}

/// A failure as it is shown, whichever process it occurred in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind it is.
    pub kind: Kind,
    /// What is wrong, with the value in question. Several lines if several things are wrong.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// For `map_err` on system calls.
    pub fn io(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.to_string();
        move |why| {
            let failure = Self::new(Kind::Host, format!("{what}: {why}"));
            match why.kind() {
                std::io::ErrorKind::StorageFull => failure.hint("free some disk space and repeat the command; nothing was lost"),
                std::io::ErrorKind::PermissionDenied => failure.hint("check its owner and mode, and those of the folders above it"),
                std::io::ErrorKind::ReadOnlyFilesystem => failure.hint("choose a path that you can write to"),
                _ => failure,
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<labctl_machine::MachineError> for Failure {
    fn from(why: labctl_machine::MachineError) -> Self {
        use labctl_machine::MachineError as M;
        let message = why.to_string();
        match why {
            M::Missing { .. } => Self::new(Kind::Host, message).hint("`labctl doctor` prints the command that installs it"),
            M::Io { .. } => Self::new(Kind::Host, message),
            M::NoDriver { .. } | M::Unable { .. } => Self::new(Kind::Conflict, message),
            M::InUse(_) => Self::new(Kind::Conflict, message).hint("repeat the command; if that does not help: `labctl halt --force`"),
            _ => Self::new(Kind::Machine, message),
        }
    }
}

impl From<labctl_guest::GuestError> for Failure {
    fn from(why: labctl_guest::GuestError) -> Self {
        use labctl_guest::GuestError as G;
        let failure = Self::new(Kind::Machine, why.to_string());
        match why {
            G::Restarted => failure.hint("the node or its agent was restarted; repeat the command"),
            G::Disconnected => failure.hint("`labctl status` shows the state of the node"),
            G::Silent(_) => failure.hint("`labctl logs NODE --console` shows how far it got"),
            G::Version { .. } => failure.hint("`labctl reload NODE` restarts the node with the agent of this labctl version"),
            _ => failure,
        }
    }
}
