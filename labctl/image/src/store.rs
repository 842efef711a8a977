//! The store's folder layout.
//!
//! ```text
//! images/ID/            disk, kernel, modules.cpio, image.json
//! artifacts/            see `artifact`
//! downloads/            incomplete files, kept so that downloads can resume
//! building/KEY/         entries being made, or left behind by a killed build
//! locks/KEY             one empty file per entry, to lock
//! logs/KEY.log          output of the last build's programs
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::entry;
use crate::files;
use crate::outside::Outside;
use crate::store_error::StoreError;

/// The content store. Cheap to open and to clone; any number of processes may use one at once.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    outside: Arc<Outside>,
}

impl Store {
    /// Opens the store at `root`, creating the folder if needed.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let root = std::path::absolute(root).map_err(crate::store_error::at("find", root))?;
        for folder in ["images", "artifacts", "downloads", "building", "locks", "logs"] {
            files::create_folder(&root.join(folder))?;
        }
        Ok(Self { root, outside: Arc::default() })
    }

    /// The same store, which downloads and builds in another way.
    #[must_use]
    pub fn by(self, outside: Outside) -> Self {
        Self { outside: Arc::new(outside), ..self }
    }

    /// How it reaches the outside.
    pub(crate) fn outside(&self) -> &Outside {
        &self.outside
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes leftovers of killed builds. Every build does that by itself; this is for `prune`.
    ///
    /// # Errors
    /// A leftover cannot be removed.
    pub fn sweep(&self) -> Result<(), StoreError> {
        entry::sweep(&self.root)
    }

    /// Log file for the output of a build's programs.
    pub(crate) fn log(&self, key: &str) -> PathBuf {
        self.root.join("logs").join(format!("{key}.log"))
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
