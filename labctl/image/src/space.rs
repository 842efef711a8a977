//! Free disk space, checked before starting anything large.

use std::path::Path;

use crate::free;
use crate::store_error::{StoreError, at};

/// Fails unless `needed` bytes are free on the disk of `path`.
pub(crate) fn require(what: &str, path: &Path, needed: u64) -> Result<(), StoreError> {
    let available = free::available(path).map_err(at("determine the free space of", path))?;
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
