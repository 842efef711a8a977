//! The location of the system's own files: `/` in a guest, a temporary folder in tests.

use std::path::{Path, PathBuf};

/// The folder that stands for `/` in paths to system databases (`/etc/passwd`, `/var/lib/dpkg`, `/proc`). Paths given in a task are never
/// put under it.
#[derive(Debug, Clone)]
pub(crate) struct Root(PathBuf);

impl Root {
    /// The machine's real root.
    pub(crate) fn real() -> Self {
        Self(PathBuf::from("/"))
    }

    /// The root of a system that does not run yet, or of a test.
    pub(crate) fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    /// `path` (absolute) under this root.
    pub(crate) fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether system calls that act on the machine itself (host name, mounts, clock) may be made.
    pub(crate) fn is_real(&self) -> bool {
        self.0 == Path::new("/")
    }
}
