//! A node's disk: a file with a new name each time, because QEMU reopens a disk by the name it was given, and a link `disk.qcow2` to the
//! one in use.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rand::Rng;

use crate::Failure;

/// The link to the disk in use. It may not exist.
pub fn link(folder: &Path) -> PathBuf {
    folder.join("disk.qcow2")
}

/// The file behind the link.
pub fn file(folder: &Path) -> Result<PathBuf, Failure> {
    let link = link(folder);
    fs::canonicalize(&link).map_err(Failure::io(link.display()))
}

/// A name for a new disk.
pub fn another(folder: &Path) -> PathBuf {
    let mut bytes = [0; 4];
    rand::rng().fill_bytes(&mut bytes);
    folder.join(format!("disk-{}.qcow2", hex::encode(bytes)))
}

/// Makes `disk`, a file in the folder, the disk in use.
pub fn take(folder: &Path, disk: &Path) -> Result<(), Failure> {
    let new = folder.join("disk.new");
    let _ = fs::remove_file(&new);
    let name = disk.file_name().unwrap_or_default();
    symlink(name, &new).and_then(|()| fs::rename(&new, link(folder))).map_err(Failure::io(link(folder).display()))
}

/// Removes the disks that are not in use. The machine must not be running.
pub fn tidy(folder: &Path) {
    let used = fs::canonicalize(link(folder)).ok();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let disk = entry.file_name().as_encoded_bytes().starts_with(b"disk-");
        if disk && fs::canonicalize(&path).ok() != used {
            // A disk that cannot be removed only costs space until the node's folder is removed.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_changes_and_the_others_go() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (one, two) = (another(folder), another(folder));
        for (disk, text) in [(&one, "one"), (&two, "two")] {
            fs::write(disk, text).unwrap();
            take(folder, disk).unwrap();
            assert_eq!(fs::read_to_string(link(folder)).unwrap(), text);
        }
        tidy(folder);
        assert!(!one.exists() && two.exists());
        assert_eq!(file(folder).unwrap(), fs::canonicalize(two).unwrap());
    }
}
