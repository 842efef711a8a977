//! Why a run could not start or go on.

use labctl_spec::fault::{Fault, Faults};

/// A run that could not start or go on: nothing that a task did.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlaybookError {
    /// Files are wrong: all that was found in them.
    #[error("{0}")]
    Files(Faults),
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
        Self::Files(Faults(vec![fault]))
    }
}
