//! Errors of images. Every message names the file or value concerned; [`ImageError::hint`] suggests the next step.

use std::path::PathBuf;

use crate::download::DownloadError;
use crate::missing::Missing;
use crate::store_error::StoreError;

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
        missing: Box<Missing>,
    },
    /// The vendor's image cannot be downloaded, or is not the expected one.
    #[error("image `{image}`: {error}")]
    Download {
        /// The image.
        image: String,
        /// The cause.
        error: DownloadError,
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
    /// A baked image is not in this store.
    #[error("image `{image}` is not in this store: it was baked on another host, or removed")]
    NotBaked {
        /// The image.
        image: String,
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
            Self::NotBaked { image } => {
                format!("bake it again, as its file says: labctl image bake {image} --replace --role ROLE (or --from NODE)")
            }
            Self::Aborted { .. } => "repeat the command".to_string(),
        }
    }
}

/// The last lines of a program's output, in a form that can follow a message.
fn tail(lines: &[String]) -> String {
    if lines.is_empty() { String::new() } else { format!(": {}", lines.join("; ")) }
}
