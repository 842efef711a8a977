//! Why a run could not start or go on.

use labctl_spec::fault::Fault;

/// A run that could not start or go on: nothing that a task did.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlaybookError {
    /// A file is wrong.
    #[error("{0}")]
    File(Fault),
    /// The caller's options are.
    #[error("{0}")]
    Options(String),
    /// A playbook asks for what does not exist.
    #[error("{place}: {message}")]
    Play {
        /// `file:line`.
        place: String,
        /// What is wrong.
        message: String,
    },
}

impl From<Fault> for PlaybookError {
    fn from(fault: Fault) -> Self {
        Self::File(fault)
    }
}
