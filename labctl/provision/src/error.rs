//! Why a run could not start or continue.

use labctl_spec::mistake::{Mistake, Mistakes};

/// A run could not start or continue, for reasons other than a failed task.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlaybookError {
    /// Invalid files: all faults found in them.
    #[error("{0}")]
    Files(Mistakes),
    /// Invalid options from the caller.
    #[error("{0}")]
    Options(String),
    /// A playbook refers to something that does not exist.
    #[error("{place}: {message}")]
    Play {
        /// `file:line`.
        place: String,
        /// What is wrong.
        message: String,
    },
}

impl From<Mistake> for PlaybookError {
    fn from(fault: Mistake) -> Self {
        Self::Files(Mistakes(vec![fault]))
    }
}
