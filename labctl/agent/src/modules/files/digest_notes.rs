//! Checksums of large files, noted on the guest's disk: they outlive the agent, and are still true in forks and clones of the disk.
//!
//! An entry is believed only while the file's inode, size and both times are what they were. So the file may be lost, stale or from another
//! guest: at worst, a file is read again. It is readable by root only, and so is nobody else's to change.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use labctl_wire::ModuleCall;
use serde::{Deserialize, Serialize};

use super::atomic_write::{Attributes, replace};
use super::digest::{Stamp, Sums};

/// Maximum number of entries; then those of files that no longer exist are dropped, or else all.
const MOST: usize = 512;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    stamp: Stamp,
    #[serde(flatten)]
    sums: Sums,
}

/// The notes, read when they are first needed.
#[derive(Debug)]
pub(super) struct Notes {
    /// None where nothing is to be noted: in tests, which run on a developer's machine.
    file: Option<PathBuf>,
    entries: Option<BTreeMap<PathBuf, Entry>>,
}

impl Notes {
    /// Those in the agent's state folder.
    pub(super) fn of_this_machine() -> Self {
        let file = Path::new(&ModuleCall::state_folder()).join("digests.json");
        Self { file: (!cfg!(test)).then_some(file), entries: None }
    }

    #[cfg(test)]
    pub(super) fn at(file: &Path) -> Self {
        Self { file: Some(file.to_owned()), entries: None }
    }

    fn entries(&mut self) -> &mut BTreeMap<PathBuf, Entry> {
        let file = &self.file;
        let read = || file.as_ref().and_then(|file| serde_json::from_slice(&fs::read(file).ok()?).ok()).unwrap_or_default();
        self.entries.get_or_insert_with(read)
    }

    /// The sums of the file at `path` if it still is what it was.
    pub(super) fn find(&mut self, path: &Path, stamp: &Stamp) -> Option<Sums> {
        self.entries().get(path).filter(|entry| entry.stamp == *stamp).map(|entry| entry.sums.clone())
    }

    /// Notes the sums of the file at `path`.
    pub(super) fn keep(&mut self, path: &Path, stamp: Stamp, sums: &Sums) {
        let Some(file) = self.file.clone() else { return };
        let entries = self.entries();
        if entries.len() >= MOST {
            entries.retain(|path, _| path.exists());
        }
        if entries.len() >= MOST {
            entries.clear();
        }
        entries.insert(path.to_owned(), Entry { stamp, sums: sums.clone() });
        let Ok(text) = serde_json::to_vec(&self.entries) else { return };
        // Another user's agent, or a full disk: without the note, the file is read again.
        let _ = replace(&file, &text, &Attributes { mode: 0o600, uid: None, gid: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::digest::sums_of;

    fn stamp(path: &Path) -> Stamp {
        Stamp::of(&fs::metadata(path).unwrap())
    }

    #[test]
    fn damaged_notes_are_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("digests.json");
        let program = folder.path().join("program");
        fs::write(&program, "x").unwrap();
        Notes::at(&file).keep(&program, stamp(&program), &sums_of(b"x"));
        assert_eq!(Notes::at(&file).find(&program, &stamp(&program)), Some(sums_of(b"x")));
        fs::write(&file, "[").unwrap();
        assert_eq!(Notes::at(&file).find(&program, &stamp(&program)), None);
    }

    #[test]
    fn they_do_not_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("digests.json");
        let mut notes = Notes::at(&file);
        let here = stamp(folder.path());
        for number in 0..MOST {
            notes.entries().insert(folder.path().join(number.to_string()), Entry { stamp: here, sums: sums_of(b"x") });
        }
        notes.keep(&file, here, &sums_of(b"y"));
        assert_eq!(Notes::at(&file).entries().len(), 1, "none of the others exists");
    }
}
