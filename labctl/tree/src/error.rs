//! Why a copy ended early.

use std::io;
use std::path::Path;

/// Why a copy ended early.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The other side is gone, or has cancelled.
    #[error("the other side ended the copy: {0}")]
    Ended(io::Error),
    /// The other side does not keep to the format, or names a path outside of the folder.
    #[error("the other side sent something invalid: {0}")]
    Invalid(String),
    /// It cannot go on here.
    #[error("{0}")]
    Stopped(String),
}

impl TreeError {
    pub(crate) fn at(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::Stopped(format!("{}: {why}", path.display()))
    }
}
