//! Why a guest did not do what was asked.

use labctl_wire::AgentError;

/// A fault of the channel or of the guest.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GuestError {
    /// The channel is gone: the machine or the supervisor ended.
    #[error("the connection to the guest broke")]
    Disconnected,
    /// The guest was rebooted, or its agent restarted, while the request was under way.
    #[error("the guest's agent started anew meanwhile")]
    Restarted,
    /// The agent does not answer in time.
    #[error("the guest's agent did not answer within {0:?}")]
    Silent(std::time::Duration),
    /// The agent speaks another version of the protocol.
    #[error("the guest's agent speaks version {found} of the protocol, this labctl speaks {wanted}")]
    Version {
        /// The agent's.
        found: u32,
        /// Ours.
        wanted: u32,
    },
    /// The agent refused or failed.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The agent answered something else than was asked.
    #[error("the guest's agent gave an answer that does not fit: {0}")]
    Unexpected(String),
    /// A file of the host's could not be read or written.
    #[error("{what}: {why}")]
    Local {
        /// What was being done, with the path.
        what: String,
        /// The kernel's reason.
        why: String,
    },
}
