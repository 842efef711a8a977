//! The lab's file `restoring`: which snapshot is being restored, and the result so far.
//!
//! ```text
//! (none) ─ restore starts ─▶ under way ─ all nodes run ─▶ (none)
//!                             │    ▲
//!                interrupted ─┘    │ the next `up` continues it; if a machine exits a second time, the restore counts as failed
//!                             ▼    │
//!                           failed ┴─ another restore, the same one with --cold, destroy
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CLONED, SUSPENDED, list};
use crate::home::LabHome;
use crate::{Failure, persist};

/// A restore that has started but is not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The snapshot's folder.
    pub folder: PathBuf,
    /// Only the disks are restored.
    #[serde(default)]
    pub cold: bool,
    /// How often a machine exited while it was being resumed.
    #[serde(default)]
    ended: u32,
    /// Why it cannot be completed.
    #[serde(default)]
    failed: Option<Failure>,
}

fn path(home: &LabHome) -> PathBuf {
    home.folder().join("restoring")
}

/// The file's content; none if there is no file. An older labctl wrote only the folder.
pub fn pending_restore(home: &LabHome) -> Result<Option<Marker>, Failure> {
    use std::os::unix::ffi::OsStringExt;
    match fs::read(path(home)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text).unwrap_or_else(|_| Marker {
            folder: PathBuf::from(std::ffi::OsString::from_vec(text)),
            cold: false,
            ended: 0,
            failed: None,
        }))),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(Failure::io(path(home).display())(why)),
    }
}

/// A restore starts, or starts again.
pub fn begin_restore(home: &LabHome, folder: &Path, cold: bool) -> Result<(), Failure> {
    let before = pending_restore(home)?.filter(|before| before.folder == folder && before.failed.is_none());
    let ended = before.map_or(0, |before| before.ended);
    persist::write_json(&path(home), &Marker { folder: folder.to_owned(), cold, ended, failed: None })
}

/// The restore is complete or abandoned.
pub fn end_restore(home: &LabHome) -> Result<(), Failure> {
    match fs::remove_file(path(home)) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(path(home).display())(why)),
        _ => Ok(()),
    }
}

/// Abandons a restore and removes everything it has created for the nodes, which must not be running. The next start creates new ones.
pub fn give_up_restore(home: &LabHome) -> Result<(), Failure> {
    let nodes = home.folder().join("nodes");
    match fs::remove_dir_all(&nodes) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(Failure::io(nodes.display())(why)),
        _ => {}
    }
    end_restore(home)
}

/// Why the last restore cannot be completed. None if its snapshot has been removed since: then the disks stay as they are.
pub fn failed_restore(home: &LabHome) -> Option<Failure> {
    let marker = pending_restore(home).ok()??;
    marker.failed.filter(|_| marker.folder.join("snapshot.json").exists())
}

/// Records that the restore from the snapshot in `folder` cannot succeed, however often it is retried. Returns the failure to report.
pub fn restore_failed(home: &LabHome, folder: &Path, name: &str, why: Failure) -> Result<Failure, Failure> {
    let told = Failure {
        message: format!("{} cannot be resumed, and its nodes were stopped:\n{}", of(home, folder, name), why.message),
        hint: Some(ways_out(home, folder, name)),
        ..why
    };
    change(home, folder, |marker| marker.failed = Some(told.clone()))?;
    Ok(told)
}

/// Records that a machine exited while it was being resumed. The next `up` tries once more, because something may have killed it.
pub fn restore_cut_off(home: &LabHome, folder: &Path, name: &str, why: Failure) -> Result<Failure, Failure> {
    if pending_restore(home)?.is_some_and(|marker| marker.folder == folder && marker.ended > 0) {
        return restore_failed(home, folder, name, why);
    }
    change(home, folder, |marker| marker.ended += 1)?;
    let hint = format!("`labctl up` tries it once more; {}", ways_out(home, folder, name));
    Ok(Failure { message: format!("resuming {} was interrupted:\n{}", of(home, folder, name), why.message), hint: Some(hint), ..why })
}

/// Changes the marker if it still belongs to that restore: another restore may have started in the meantime.
fn change(home: &LabHome, folder: &Path, change: impl FnOnce(&mut Marker)) -> Result<(), Failure> {
    match pending_restore(home)? {
        Some(mut marker) if marker.folder == folder => {
            change(&mut marker);
            persist::write_json(&path(home), &marker)
        }
        _ => Ok(()),
    }
}

/// The lab that was to be resumed, as the start of a sentence.
fn of(home: &LabHome, folder: &Path, name: &str) -> String {
    match (name, folder.starts_with(home.folder())) {
        (SUSPENDED, _) => "the suspended lab".to_owned(),
        (CLONED, _) => "the clone".to_owned(),
        (name, true) => format!("the lab of snapshot `{name}`"),
        (name, false) if name.starts_with('+') => "the lab as it was provisioned".to_owned(),
        (name, false) => format!("the clone of snapshot `{name}`"),
    }
}

/// What the user can do in that case.
fn ways_out(home: &LabHome, folder: &Path, name: &str) -> String {
    if name == SUSPENDED {
        return "`labctl halt` discards the saved memory, then `labctl up` boots the disks as they were; `labctl destroy` removes the lab"
            .to_owned();
    }
    if !folder.starts_with(home.folder()) {
        return "`labctl destroy` removes the lab".to_owned();
    }
    let others: Vec<String> = list(home).0.into_iter().map(|snapshot| snapshot.name).filter(|other| other != name).collect();
    let other = match others.is_empty() {
        true => String::new(),
        false => format!("`labctl snapshot restore` restores a different snapshot ({}); ", others.join(", ")),
    };
    format!("`labctl snapshot restore {name} --cold` boots its disks; {other}`labctl destroy` removes the lab")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::home::Home;

    fn lab(folder: &Path) -> LabHome {
        let home = Home::at(&folder.join("data"), &folder.join("run")).unwrap().lab(&"tiny".parse().unwrap());
        home.make().unwrap();
        home
    }

    fn snapshot(home: &LabHome, name: &str) -> PathBuf {
        let folder = home.folder().join("snapshots").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("snapshot.json"), "{}").unwrap();
        folder
    }

    fn why(text: &str) -> Failure {
        Failure::new(Kind::Machine, text)
    }

    #[test]
    fn a_restore_that_failed_is_told_until_another_one_begins() {
        let folder = tempfile::tempdir().unwrap();
        let home = lab(folder.path());
        let (one, two) = (snapshot(&home, "one"), snapshot(&home, "two"));
        begin_restore(&home, &one, false).unwrap();
        assert_eq!(failed_restore(&home), None);
        let told = restore_failed(&home, &one, "one", why("a: dead")).unwrap();
        assert_eq!(failed_restore(&home), Some(told.clone()));
        assert!(told.message.contains("snapshot `one`") && told.message.contains("a: dead"), "{told}");
        let hint = told.hint.unwrap();
        assert!(hint.contains("labctl snapshot restore one --cold") && hint.contains("labctl destroy"), "{hint}");
        begin_restore(&home, &two, true).unwrap();
        assert_eq!(failed_restore(&home), None);
        assert!(pending_restore(&home).unwrap().unwrap().cold, "whoever finishes it knows how it was begun");
        restore_failed(&home, &one, "one", why("late news of the first")).unwrap();
        assert_eq!(failed_restore(&home), None, "another restore is under way");
        end_restore(&home).unwrap();
        assert_eq!(pending_restore(&home).unwrap(), None);
    }

    #[test]
    fn a_snapshot_that_was_removed_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let home = lab(folder.path());
        let one = snapshot(&home, "one");
        begin_restore(&home, &one, false).unwrap();
        restore_failed(&home, &one, "one", why("a: dead")).unwrap();
        fs::remove_dir_all(&one).unwrap();
        assert_eq!(failed_restore(&home), None);
    }

    #[test]
    fn a_machine_that_ends_is_woken_once_more_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let home = lab(folder.path());
        let one = snapshot(&home, "one");
        begin_restore(&home, &one, false).unwrap();
        let told = restore_cut_off(&home, &one, "one", why("a: the machine ended")).unwrap();
        assert!(told.hint.unwrap().contains("`labctl up` tries it once more"));
        assert_eq!(failed_restore(&home), None);
        begin_restore(&home, &one, false).unwrap();
        restore_cut_off(&home, &one, "one", why("a: the machine ended")).unwrap();
        assert!(failed_restore(&home).is_some());
    }

    #[test]
    fn what_an_older_labctl_wrote_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let home = lab(folder.path());
        fs::write(home.folder().join("restoring"), "/data/labs/tiny/snapshots/one").unwrap();
        assert_eq!(pending_restore(&home).unwrap().unwrap().folder, Path::new("/data/labs/tiny/snapshots/one"));
    }
}
