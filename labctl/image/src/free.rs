//! How much space is left on a disk.

use std::io;
use std::path::Path;

/// Bytes that an ordinary user can still write on the disk that holds `path`, or its nearest existing ancestor.
pub(crate) fn available(path: &Path) -> io::Result<u64> {
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let stat = rustix::fs::statvfs(existing)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
