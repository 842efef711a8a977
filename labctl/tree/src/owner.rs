//! Whom copied things belong to.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

/// User and group ids; what is none is left as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub user: Option<u32>,
    /// Group id.
    pub group: Option<u32>,
}

impl Owner {
    /// Whether something belongs to it.
    pub(crate) fn has(self, about: &Metadata) -> bool {
        self.user.is_none_or(|user| user == about.uid()) && self.group.is_none_or(|group| group == about.gid())
    }

    /// Whom the successor of `old` belongs to: this owner, else that of `old`, unless that is who creates it.
    pub(crate) fn after(self, old: Option<&Metadata>) -> Self {
        let Some(old) = old.filter(|old| old.is_file()) else { return self };
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if user != 0 {
            return self;
        }
        let kept = |old: u32, own: u32| Some(old).filter(|old| *old != own);
        Self { user: self.user.or(kept(old.uid(), user)), group: self.group.or(kept(old.gid(), group)) }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_nobody(self) -> bool {
        self == Self::default()
    }

    /// Gives something to it; a link itself, not where it leads.
    pub(crate) fn own(self, path: &Path) -> io::Result<()> {
        if self.is_nobody() { Ok(()) } else { lchown(path, self.user, self.group) }
    }
}
