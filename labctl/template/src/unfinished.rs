//! What killed builds and removals have left in the store. One that is still in progress, in any process and home, holds the lock of its
//! key and is never touched.

use std::fs;
use std::path::{Path, PathBuf};

use labctl_lab::home::Home;
use labctl_lab::template::{BUILDING, REMOVED, Templates};
use labctl_machine::machine::{Files, is_running};

/// Something that was left unfinished.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unfinished {
    key: String,
    folder: PathBuf,
}

/// Folders left by killed builds and removals of templates and layers, and not in use by another process.
pub fn find(home: &Home) -> Vec<PathBuf> {
    let templates = Templates::of(home);
    all(&templates).into_iter().filter(|left| templates.try_turn(&left.key).is_some()).map(|left| left.folder).collect()
}

/// Removes a folder returned by [`find`], unless another process is working on it by now. Returns whether it is gone.
pub fn remove(home: &Home, folder: &Path) -> bool {
    let templates = Templates::of(home);
    all(&templates).iter().filter(|left| left.folder == folder).all(|left| sweep_one(home, &templates, left))
}

/// Removes all of them. What cannot be removed stays: a store shared with other owners is no reason to fail.
pub fn sweep(home: &Home) {
    let templates = Templates::of(home);
    for left in all(&templates) {
        sweep_one(home, &templates, &left);
    }
}

fn all(templates: &Templates) -> Vec<Unfinished> {
    let entries = fs::read_dir(templates.root()).into_iter().flatten().flatten();
    let key = |name: &str| name.strip_prefix(BUILDING).or_else(|| name.strip_prefix(REMOVED)).map(str::to_owned);
    let mut all: Vec<Unfinished> =
        entries.filter_map(|entry| Some(Unfinished { key: key(entry.file_name().to_str()?)?, folder: entry.path() })).collect();
    all.sort_by(|one, other| one.folder.cmp(&other.folder));
    all
}

fn sweep_one(home: &Home, templates: &Templates, left: &Unfinished) -> bool {
    // Held until the folder is gone: a process that starts the same build in the meantime waits.
    let Some(_turn) = templates.try_turn(&left.key) else { return false };
    // The kernel kills a builder's machine together with the builder; if it did not, the next build of the same template does.
    if is_running(&Files::new(home.scratch(), 0, &left.folder)).unwrap_or(true) {
        return false;
    }
    if let Some(short) = left.key.get(..8) {
        for kind in ["t", "l"] {
            let _ = fs::remove_dir_all(home.scratch().join(format!("{kind}-{short}")));
        }
    }
    fs::remove_dir_all(&left.folder).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_nobody_works_on_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
        let templates = Templates::of(&home);
        let (left, busy, whole) = ("1".repeat(32), "2".repeat(32), "3".repeat(32));
        let removed = templates.root().join(format!("{REMOVED}{left}"));
        let sockets = home.scratch().join("l-11111111");
        for made in [&templates.building(&left), &templates.building(&busy), &templates.place(&whole).folder, &removed, &sockets] {
            fs::create_dir_all(made).unwrap();
            fs::write(made.join("file"), "").unwrap();
        }
        let turn = templates.turn(&busy).await.unwrap();
        assert_eq!(find(&home), [templates.building(&left), removed.clone()]);
        assert!(!remove(&home, &templates.building(&busy)));
        sweep(&home);
        assert!(!templates.building(&left).exists() && !removed.exists() && !sockets.exists());
        assert!(templates.building(&busy).exists() && templates.place(&whole).folder.exists());
        drop(turn);
        assert!(remove(&home, &templates.building(&busy)));
        assert_eq!(find(&home), Vec::<PathBuf>::new());
    }
}
