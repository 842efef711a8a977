//! Room on the host's disk, which machines stand still without.

use std::path::Path;

use labctl_spec::size::Size;

/// Room on the disk that holds the folder, if the system tells.
pub fn room(folder: &Path) -> Option<Size> {
    rustix::fs::statvfs(folder).ok().map(|about| Size(about.f_bavail.saturating_mul(about.f_frsize)))
}

/// Why a machine whose files are in this folder stands still, for display.
pub fn stands_still(folder: &Path) -> String {
    let left = room(folder).map(|room| format!(", {} MiB left", room.as_mib())).unwrap_or_default();
    format!("its machine stands still, because the host's disk is full ({}{left}); nothing is lost", folder.display())
}
