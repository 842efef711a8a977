//! Free disk space, checked before starting anything large.

use std::io;
use std::path::Path;

use crate::error::StoreError;

/// Bytes that an ordinary user can still write on the disk that holds `path`, or its nearest existing ancestor.
pub(crate) fn available(path: &Path) -> io::Result<u64> {
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let stat = rustix::fs::statvfs(existing)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Fails unless `needed` bytes are free on the disk of `path`.
pub(crate) fn require(what: &str, path: &Path, needed: u64) -> Result<(), StoreError> {
    let available = available(path).map_err(crate::error::at("determine the free space of", path))?;
    if available >= needed {
        return Ok(());
    }
    Err(StoreError::NoSpace { what: what.to_string(), path: path.to_path_buf(), needed, available })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_any_disk_has_is_refused_with_both_numbers() {
        let error = require("image `x`", Path::new("/tmp/not/yet/there"), u64::MAX).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("image `x`"), "{text}");
        assert!(text.contains("/tmp/not/yet/there"), "{text}");
        assert!(text.contains("17592186044416 MiB"), "{text}");
        assert!(error.hint().contains("labctl image rm"), "{}", error.hint());
    }

    #[test]
    fn nothing_always_fits() {
        require("nothing", Path::new("/"), 0).unwrap();
    }
}
