//! One entry being made: an exclusive lock on its name, and a folder that no other process uses.
//!
//! The lock is `flock` on `locks/KEY`. The lock file is empty, so programs of a build get it as their standard input:
//! it reads like `/dev/null`, and the lock is held as long as any of them lives, even if labctl was killed. A folder in
//! `building/` whose lock is free is therefore certainly a leftover.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::store_error::{StoreError, at};
use crate::{files, tree};

/// The lock of one entry; released when dropped.
#[derive(Debug)]
pub(crate) struct EntryLock {
    file: File,
    path: PathBuf,
}

impl EntryLock {
    fn file(root: &Path, key: &str) -> Result<Self, StoreError> {
        let folder = root.join("locks");
        files::create_folder(&folder)?;
        let path = folder.join(key);
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(at("open", &path))?;
        Ok(Self { file, path })
    }

    /// Takes the lock; `None` if another process holds it.
    pub(crate) fn try_take(root: &Path, key: &str) -> Result<Option<Self>, StoreError> {
        let lock = Self::file(root, key)?;
        match lock.file.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(at("lock", &lock.path)(error)),
        }
    }

    /// Takes the lock, waiting for the holder if necessary; in that case `wait` is called once.
    pub(crate) fn take(root: &Path, key: &str, wait: impl FnOnce()) -> Result<Self, StoreError> {
        if let Some(lock) = Self::try_take(root, key)? {
            return Ok(lock);
        }
        wait();
        let lock = Self::file(root, key)?;
        loop {
            match lock.file.lock() {
                Ok(()) => return Ok(lock),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(at("lock", &lock.path)(error)),
            }
        }
    }

    /// Standard input for a program of the build: empty, and it keeps the lock held.
    pub(crate) fn stdin(&self) -> Result<Stdio, StoreError> {
        Ok(Stdio::from(self.file.try_clone().map_err(at("share", &self.path))?))
    }
}

/// Empties the folder where the entry `key` is built. The caller holds its lock.
pub(crate) fn build_folder(root: &Path, key: &str, _lock: &EntryLock) -> Result<PathBuf, StoreError> {
    let folder = root.join("building").join(key);
    tree::remove_tree(&folder)?;
    files::create_folder(&folder)?;
    Ok(folder)
}

/// Removes what killed builds left behind: folders in `building/` whose lock is free.
pub(crate) fn sweep(root: &Path) -> Result<(), StoreError> {
    let building = root.join("building");
    let Ok(entries) = fs::read_dir(&building) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let Ok(key) = entry.file_name().into_string() else {
            continue;
        };
        if let Some(_lock) = EntryLock::try_take(root, &key)? {
            tracing::info!(key, "removing the leftover of a killed build");
            tree::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}
