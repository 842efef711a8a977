//! Files and folders that are either complete or absent.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::store_error::{StoreError, at};

/// Creates a folder and its parents.
pub(crate) fn create_folder(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(at("create", path))
}

/// Removes a folder and its contents. Succeeds if it does not exist.
pub(crate) fn remove_folder(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a file. Succeeds if it does not exist.
pub(crate) fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Flushes one file or folder to the disk.
pub(crate) fn flush(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(at("flush", path))
}

/// Flushes every file of a folder, then the folder. Not recursive: entries are flat.
pub(crate) fn flush_folder(path: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(path).map_err(at("read", path))? {
        flush(&entry.map_err(at("read", path))?.path())?;
    }
    flush(path)
}

/// Renames and flushes the parent folder, so that the rename is durable.
pub(crate) fn publish(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(at("publish", to))?;
    match to.parent() {
        Some(parent) => flush(parent),
        None => Ok(()),
    }
}

/// Replaces a small file atomically: writes a new file beside it, flushes it and renames it.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let mut file = File::create(beside).map_err(at("create", beside))?;
    file.write_all(content).map_err(at("write", beside))?;
    file.sync_all().map_err(at("flush", beside))?;
    publish(beside, path)
}
