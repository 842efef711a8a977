//! What no lab owns any more: machines, lab folders without a record, unfinished templates.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use labctl_lab::Failure;
use labctl_lab::home::Home;
use labctl_lab::record::Record;
use labctl_machine::qemu::found::{self, Found};
use labctl_template::unfinished;
use serde::Serialize;

/// A leftover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Orphan {
    /// A running QEMU that belongs to no lab of this home.
    Machine {
        /// Its process id.
        pid: i32,
        /// `labctl:LAB/NODE`.
        label: String,
        /// The machine's UUID.
        uuid: String,
    },
    /// A lab's folder without a record, or with a damaged one.
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A folder in which a killed process was making or removing a template or a layer.
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine { pid, label, uuid } => write!(f, "machine {label}, process {pid}, uuid {uuid}"),
            Self::Folder { path } => write!(f, "lab folder {} without a record", path.display()),
            Self::Unfinished { path } => write!(f, "unfinished template {}", path.display()),
        }
    }
}

/// All leftovers of this home. Machines of other homes are never included.
pub fn find(home: &Home) -> Result<Vec<Orphan>, Failure> {
    let (mut uuids, mut orphans) = (BTreeSet::new(), Vec::new());
    for name in home.lab_names() {
        let lab = home.lab(&name);
        match Record::load(&lab) {
            Ok(Some(record)) => uuids.extend(record.nodes.into_values().map(|node| node.uuid)),
            // Leave another version's record to that version.
            Err(why) if !is_damaged(&lab.record()) => return Err(why),
            _ if !in_use(&lab.supervisor_lock()) => orphans.push(Orphan::Folder { path: lab.folder().to_owned() }),
            _ => {}
        }
    }
    // Machines first: their files are in the folders.
    let unknown = found::below(&[home.labs()]).into_iter().filter(|found| !uuids.contains(&found.uuid));
    orphans.splice(0..0, unknown.map(|Found { pid, label, uuid }| Orphan::Machine { pid, label, uuid }));
    orphans.extend(unfinished::find(home).into_iter().map(|path| Orphan::Unfinished { path }));
    Ok(orphans)
}

/// Stops and removes it. If it is already gone, or has become something else, it is left alone.
pub async fn remove(home: &Home, orphan: &Orphan) -> Result<(), Failure> {
    match orphan {
        Orphan::Machine { pid, label, uuid } => Ok(Found { pid: *pid, label: label.clone(), uuid: uuid.clone() }.end().await?),
        Orphan::Unfinished { path } => {
            unfinished::remove(home, path);
            Ok(())
        }
        Orphan::Folder { path } => match fs::remove_dir_all(path) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(path.display())(why)),
            _ => Ok(()),
        },
    }
}

/// Whether the record is not JSON at all.
fn is_damaged(record: &Path) -> bool {
    fs::read(record).is_ok_and(|text| serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_err())
}

/// Whether a process holds the lock.
fn in_use(lock: &Path) -> bool {
    fs::File::open(lock).is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_json_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("lab.json");
        assert!(!is_damaged(&record), "it is not there");
        for (text, damaged) in [("{", true), ("", true), ("{\"version\": 9}", false)] {
            fs::write(&record, text).unwrap();
            assert_eq!(is_damaged(&record), damaged, "{text}");
        }
    }
}
