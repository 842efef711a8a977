//! Errors of the store and of images. Every message names the file or value concerned; [`ImageError::hint`] and
//! [`StoreError::hint`] suggest the next step.

use std::io;
use std::path::{Path, PathBuf};

/// The store itself cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder of the store.
    #[error("cannot {action} {}", path.display())]
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

/// An image is not available.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host lacks a program.
    #[error("image `{image}`: {missing}")]
    Missing {
        /// The image.
        image: String,
        /// What is missing, why it is needed and how to get it.
        missing: Box<crate::doctor::Missing>,
    },
    /// The vendor's image cannot be downloaded, or is not the expected one.
    #[error("image `{image}`: {error}")]
    Download {
        /// The image.
        image: String,
        /// The cause.
        error: crate::download::DownloadError,
    },
    /// The image file asks for something impossible.
    #[error("image `{image}`: {field}: {reason}")]
    Invalid {
        /// The image.
        image: String,
        /// Field of the image file.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A program of the build failed.
    #[error("image `{image}`: {program} failed ({status}){}", tail(lines))]
    Failed {
        /// The image.
        image: String,
        /// The program.
        program: String,
        /// Its exit status.
        status: String,
        /// Its last lines of output.
        lines: Vec<String>,
        /// Its complete output.
        log: PathBuf,
    },
    /// The build completed, but its result is not bootable.
    #[error("image `{image}`: {reason}")]
    Unusable {
        /// The image.
        image: String,
        /// What is missing.
        reason: String,
    },
    /// The build's thread panicked.
    #[error("image `{image}`: the build was aborted: {reason}")]
    Aborted {
        /// The image.
        image: String,
        /// The error from the runtime.
        reason: String,
    },
}

impl ImageError {
    /// What the user can do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Store(error) => error.hint(),
            Self::Missing { missing, .. } => missing.fix.clone(),
            Self::Download { error, .. } => error.hint(),
            Self::Invalid { field, .. } => format!("correct `{field}` in the image file"),
            Self::Failed { log, .. } => {
                format!("read {}; if packages could not be fetched, check the network and `mirror:`, then repeat", log.display())
            }
            Self::Unusable { .. } => "check `packages:` of the image file".to_string(),
            Self::Aborted { .. } => "repeat the command".to_string(),
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
                available: crate::space::available(path).unwrap_or(0),
            };
        }
        StoreError::Io { action, path: path.to_path_buf(), source }
    }
}

/// Bytes as whole MiB, rounded up.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// The last lines of a program's output, in a form that can follow a message.
fn tail(lines: &[String]) -> String {
    if lines.is_empty() { String::new() } else { format!(": {}", lines.join("; ")) }
}
