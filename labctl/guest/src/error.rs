//! Why a request to a guest failed.

use labctl_wire::AgentError;

/// A failure of the channel or of the guest.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GuestError {
    /// The channel is gone: the machine or the supervisor stopped.
    #[error("the connection to the guest broke")]
    Disconnected,
    /// The guest was rebooted, or its agent restarted, during the request.
    #[error("the guest's agent started anew meanwhile")]
    Restarted,
    /// The agent did not answer in time.
    #[error("the guest's agent did not answer within {0:?}")]
    Silent(std::time::Duration),
    /// The agent uses a different version of the protocol.
    #[error("the guest's agent uses version {found} of the protocol, this labctl uses {wanted}")]
    Version {
        /// The agent's.
        found: u32,
        /// Ours.
        wanted: u32,
    },
    /// The agent rejected the request or failed.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The agent's answer does not match the request.
    #[error("the guest's agent sent an unexpected answer: {0}")]
    Unexpected(String),
    /// A copy cannot go on on this side.
    #[error("{0}")]
    Copy(String),
    /// A file on the host could not be read or written.
    #[error("{what}: {why}")]
    Local {
        /// The failed operation, with the path.
        what: String,
        /// The kernel's reason.
        why: String,
    },
}
