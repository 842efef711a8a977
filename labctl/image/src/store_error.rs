//! Errors of the store itself. Every message names the file concerned; [`StoreError::hint`] suggests the next step.

use std::io;
use std::path::{Path, PathBuf};

use crate::free;

/// The store itself cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder of the store.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The failed operation, such as `create`.
        action: &'static str,
        /// The path it was applied to.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The disk is full, or would be.
    #[error("{what}: not enough disk space: {} needed, {} free on the disk of {}", mib(*needed), mib(*available), path.display())]
    NoSpace {
        /// What failed: the name of what was about to be created, or an operation.
        what: String,
        /// The path.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        available: u64,
    },
    /// A description in the store is not in this version's format.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    /// What the user can do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Io { path, .. } => {
                format!("check that {} exists and belongs to you", path.display())
            }
            Self::NoSpace { .. } => {
                "free some space on that disk (`labctl image rm NAME` removes an image, `labctl prune --force` leftovers), \
                 or set LABCTL_HOME to a folder on a larger disk"
                    .to_string()
            }
            Self::Damaged { path, .. } => {
                format!("remove {} and repeat the command", path.display())
            }
        }
    }
}

/// Adds the failed operation and its path to an I/O error; a full disk becomes [`StoreError::NoSpace`].
pub(crate) fn at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + use<'a> {
    move |source| {
        if source.kind() == io::ErrorKind::StorageFull {
            return StoreError::NoSpace {
                what: format!("cannot {action} a file"),
                path: path.to_path_buf(),
                needed: 1 << 20,
                available: free::available(path).unwrap_or(0),
            };
        }
        StoreError::Io { action, path: path.to_path_buf(), source }
    }
}

/// Bytes as whole MiB, rounded up.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
