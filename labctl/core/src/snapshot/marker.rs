//! The lab's file `restoring`: which snapshot the lab is being put back to, and what became of that.
//!
//! ```text
//! (none) ─ restore begins ─▶ under way ─ all nodes go on ─▶ (none)
//!                             │    ▲
//!                  cut off ───┘    │ the next `up` goes on with it; a second machine that ends under it is taken for its own fault
//!                             ▼    │
//!                           failed ┴─ another restore, the same one with --cold, destroy
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CLONED, SUSPENDED, list};
use crate::home::LabHome;
use crate::{Failure, persist};

/// A restore that has begun and is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// The snapshot's folder.
    pub folder: PathBuf,
    /// Only the disks are put back.
    #[serde(default)]
    pub cold: bool,
    /// How often a machine ended while it was woken.
    #[serde(default)]
    ended: u32,
    /// Why it cannot be done.
    #[serde(default)]
    failed: Option<Failure>,
}

fn path(home: &LabHome) -> PathBuf {
    home.folder().join("restoring")
}

/// What the file says; none if there is none. An older labctl wrote the folder alone.
pub(super) fn read(home: &LabHome) -> Result<Option<Marker>, Failure> {
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

/// A restore begins, or is begun anew.
pub(super) fn begin(home: &LabHome, folder: &Path, cold: bool) -> Result<(), Failure> {
    let before = read(home)?.filter(|before| before.folder == folder && before.failed.is_none());
    let ended = before.map_or(0, |before| before.ended);
    persist::write_json(&path(home), &Marker { folder: folder.to_owned(), cold, ended, failed: None })
}

/// It is done, or given up.
pub(super) fn remove(home: &LabHome) -> Result<(), Failure> {
    match fs::remove_file(path(home)) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(path(home).display())(why)),
        _ => Ok(()),
    }
}

/// Gives a restore up with all that it made of the nodes, which do not run: the next start makes new ones.
pub(super) fn give_up(home: &LabHome) -> Result<(), Failure> {
    let nodes = home.folder().join("nodes");
    match fs::remove_dir_all(&nodes) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(Failure::io(nodes.display())(why)),
        _ => {}
    }
    remove(home)
}

/// Why the restore that was tried last cannot be done. Nothing if its snapshot has been removed since: then the disks are what they are.
pub(crate) fn failed(home: &LabHome) -> Option<Failure> {
    let marker = read(home).ok()??;
    marker.failed.filter(|_| marker.folder.join("snapshot.json").exists())
}

/// Notes that the restore from the snapshot in `folder` cannot be done, whenever it is tried; gives that as it is told.
pub(crate) fn restore_failed(home: &LabHome, folder: &Path, name: &str, why: Failure) -> Result<Failure, Failure> {
    let told = Failure {
        message: format!("{} cannot go on, and its nodes were ended:\n{}", of(home, folder, name), why.message),
        hint: Some(ways_out(home, folder, name)),
        ..why
    };
    change(home, folder, |marker| marker.failed = Some(told.clone()))?;
    Ok(told)
}

/// Notes that a machine ended while it was woken: the next `up` tries once more, for somebody may have ended it.
pub(crate) fn restore_cut_off(home: &LabHome, folder: &Path, name: &str, why: Failure) -> Result<Failure, Failure> {
    if read(home)?.is_some_and(|marker| marker.folder == folder && marker.ended > 0) {
        return restore_failed(home, folder, name, why);
    }
    change(home, folder, |marker| marker.ended += 1)?;
    let hint = format!("`labctl up` tries it once more; {}", ways_out(home, folder, name));
    Ok(Failure { message: format!("{} was cut off while it was woken:\n{}", of(home, folder, name), why.message), hint: Some(hint), ..why })
}

/// Changes the marker, if it is still that restore's: another one may have begun meanwhile.
fn change(home: &LabHome, folder: &Path, change: impl FnOnce(&mut Marker)) -> Result<(), Failure> {
    match read(home)? {
        Some(mut marker) if marker.folder == folder => {
            change(&mut marker);
            persist::write_json(&path(home), &marker)
        }
        _ => Ok(()),
    }
}

/// The lab that was to go on, as the beginning of a sentence.
fn of(home: &LabHome, folder: &Path, name: &str) -> String {
    match (name, folder.starts_with(home.folder())) {
        (SUSPENDED, _) => "the suspended lab".to_owned(),
        (CLONED, _) => "the clone".to_owned(),
        (name, true) => format!("the lab of snapshot `{name}`"),
        (name, false) if name.starts_with('+') => "the lab as it was provisioned".to_owned(),
        (name, false) => format!("the clone of snapshot `{name}`"),
    }
}

/// What a user may do then.
fn ways_out(home: &LabHome, folder: &Path, name: &str) -> String {
    if name == SUSPENDED {
        return "`labctl halt` forgets the saved memory, then `labctl up` boots the disks as they were; `labctl destroy` gives the lab up"
            .to_owned();
    }
    if !folder.starts_with(home.folder()) {
        return "`labctl destroy` gives the lab up".to_owned();
    }
    let others: Vec<String> = list(home).0.into_iter().map(|snapshot| snapshot.name).filter(|other| other != name).collect();
    let other = match others.is_empty() {
        true => String::new(),
        false => format!("`labctl snapshot restore` goes back to another one ({}); ", others.join(", ")),
    };
    format!("`labctl snapshot restore {name} --cold` boots its disks; {other}`labctl destroy` gives the lab up")
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
        begin(&home, &one, false).unwrap();
        assert_eq!(failed(&home), None);
        let told = restore_failed(&home, &one, "one", why("a: dead")).unwrap();
        assert_eq!(failed(&home), Some(told.clone()));
        assert!(told.message.contains("snapshot `one`") && told.message.contains("a: dead"), "{told}");
        let hint = told.hint.unwrap();
        assert!(hint.contains("labctl snapshot restore one --cold") && hint.contains("labctl destroy"), "{hint}");
        begin(&home, &two, true).unwrap();
        assert_eq!(failed(&home), None);
        assert!(read(&home).unwrap().unwrap().cold, "whoever finishes it knows how it was begun");
        restore_failed(&home, &one, "one", why("late news of the first")).unwrap();
        assert_eq!(failed(&home), None, "another restore is under way");
        remove(&home).unwrap();
        assert_eq!(read(&home).unwrap(), None);
    }

    #[test]
    fn a_snapshot_that_was_removed_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let home = lab(folder.path());
        let one = snapshot(&home, "one");
        begin(&home, &one, false).unwrap();
        restore_failed(&home, &one, "one", why("a: dead")).unwrap();
        fs::remove_dir_all(&one).unwrap();
        assert_eq!(failed(&home), None);
    }

    #[test]
    fn a_machine_that_ends_is_woken_once_more_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let home = lab(folder.path());
        let one = snapshot(&home, "one");
        begin(&home, &one, false).unwrap();
        let told = restore_cut_off(&home, &one, "one", why("a: the machine ended")).unwrap();
        assert!(told.hint.unwrap().contains("`labctl up` tries it once more"));
        assert_eq!(failed(&home), None);
        begin(&home, &one, false).unwrap();
        restore_cut_off(&home, &one, "one", why("a: the machine ended")).unwrap();
        assert!(failed(&home).is_some());
    }

    #[test]
    fn what_an_older_labctl_wrote_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let home = lab(folder.path());
        fs::write(home.folder().join("restoring"), "/data/labs/tiny/snapshots/one").unwrap();
        assert_eq!(read(&home).unwrap().unwrap().folder, Path::new("/data/labs/tiny/snapshots/one"));
    }
}
