//! What changes in a synced folder.

use std::collections::BTreeSet;
use std::path::PathBuf;

use labctl_tree::Rules;

/// What has changed since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Possibly anything.
    All,
    /// These paths below the folder, and what is below them.
    Paths(BTreeSet<PathBuf>),
}

impl Change {
    /// Nothing yet.
    pub fn none() -> Self {
        Self::Paths(BTreeSet::new())
    }

    pub fn is_none(&self) -> bool {
        *self == Self::none()
    }

    /// Both together.
    pub fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Paths(paths), Self::Paths(more)) => paths.extend(more.iter().cloned()),
            _ => *self = Self::All,
        }
    }
}

/// What changed, and the rules that hold now.
#[derive(Debug, Clone)]
pub struct Changed {
    pub change: Change,
    pub rules: Rules,
}

#[cfg(target_os = "linux")]
pub use super::inotify::Changes;

#[cfg(not(target_os = "linux"))]
pub use elsewhere::Changes;

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;

    use labctl_spec::lab::Sync;
    use labctl_tree::Rules;

    use super::Changed;

    /// Changes are reported on Linux only.
    pub struct Changes;

    impl Changes {
        pub fn watch(_: &Sync, _: Rules) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub async fn next(&mut self) -> io::Result<Changed> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}
