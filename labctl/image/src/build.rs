//! State that every step of one build shares.

use std::path::{Path, PathBuf};

use labctl_spec::image::DiskFormat;
use serde::{Deserialize, Serialize};

use crate::entry::EntryLock;
use crate::error::ImageError;
use crate::missing::Missing;
use crate::outside::Outside;
use crate::progress::Progress;

/// One image being built.
pub(crate) struct Build<'a> {
    /// The image's name, for messages.
    pub name: String,
    /// The store.
    pub root: &'a Path,
    /// Name of the entry's lock, log and downloads.
    pub key: String,
    /// Folder that becomes the entry.
    pub folder: PathBuf,
    /// Log file for the output of the build's programs.
    pub log: PathBuf,
    /// How downloads and programs reach the outside.
    pub outside: &'a Outside,
    /// The entry's lock.
    pub lock: EntryLock,
    /// Receives progress events.
    pub progress: &'a dyn Progress,
}

impl Build<'_> {
    /// An error about something that the host lacks.
    pub(crate) fn missing(&self, missing: Missing) -> ImageError {
        ImageError::Missing { image: self.name.clone(), missing: Box::new(missing) }
    }
}

/// Files of an entry, relative to its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parts {
    pub disk: PathBuf,
    pub format: DiskFormat,
    pub virtual_size: u64,
    pub kernel: Option<PathBuf>,
    pub modules: Option<PathBuf>,
}
