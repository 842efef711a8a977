//! Files that exist completely or not at all.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Failure, Kind};

/// Writes `bytes` to a temporary file next to `path`, syncs it and renames it into place. Readable by the owner only.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_with_mode(path, bytes, 0o600)
}

/// The same for a world-readable file.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_with_mode(path, bytes, 0o644)
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let save = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().permissions(fs::Permissions::from_mode(mode)).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|why| why.error)?;
        fs::File::open(folder)?.sync_all()
    };
    save().map_err(Failure::io(path.display()))
}

/// Writes `value` as JSON.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(value).map_err(|why| Failure::new(Kind::Internal, format!("{}: {why}", path.display())))?;
    write(path, &text)
}

/// Reads JSON; none if there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(Failure::io(path.display())(why)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|why| {
        Failure::new(Kind::Conflict, format!("{}: {why}", path.display())).hint(
            "another version of labctl wrote this file, or it was damaged; use that version, or let `labctl prune --force` remove what is damaged",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), None);
        write_json(&path, &[1, 2]).unwrap();
        write_json(&path, &[3]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), Some(vec![3]));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file may stay");
        fs::write(&path, "{").unwrap();
        assert!(read_json::<Vec<u8>>(&path).is_err());
    }
}
