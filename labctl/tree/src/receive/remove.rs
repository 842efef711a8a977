//! Removing what the sender no longer has. Nothing is removed through a link, on another file system, or if a rule spares it.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use labctl_wire::tree::{Removal, What};

use super::compare::Plan;
use super::temporary::{self, is_temporary};
use super::{Listed, Work, path_of};
use crate::TreeError;

impl Work<'_> {
    /// Removes incomplete files of a copy that was killed.
    pub fn sweep(&mut self) -> Result<(), TreeError> {
        let Some(token) = self.record.unfinished.clone() else { return Ok(()) };
        if temporary::is_in_use(&token) {
            // Another copy to this place is at work.
            return Ok(());
        }
        // Also those that the sender no longer has.
        let known = self.items.iter().map(|item| path_of(&item.path)).chain(self.record.all());
        let folders: HashSet<&Path> = known.filter_map(Path::parent).collect();
        for folder in folders {
            if !self.behind_a_link(&folder.join("x")) {
                temporary::sweep(&self.place(folder), &token);
            }
        }
        if self.items.len() == 1
            && let Some(folder) = self.base.parent()
        {
            temporary::sweep(folder, &token);
        }
        Ok(())
    }

    /// Removes incomplete files of copies that were killed and are recorded nowhere, where files are going to be written.
    pub fn sweep_dead(&self, plan: &Plan) {
        let paths = plan.wanted.iter().map(|want| path_of(&self.items[want.item as usize].path));
        let folders: HashSet<Option<&Path>> = paths.map(Path::parent).collect();
        for folder in folders {
            match folder {
                // Nothing is in a folder that was made just now.
                Some(folder) if plan.fresh.contains(folder) => {}
                Some(folder) => temporary::sweep_dead(&self.place(folder)),
                // A single file.
                None => self.base.parent().into_iter().for_each(temporary::sweep_dead),
            }
        }
    }

    /// Removes what was brought and is gone.
    pub fn remove_gone(&mut self, listed: &Listed) -> Result<(), TreeError> {
        match self.how.removal {
            Removal::Never => Ok(()),
            Removal::Brought => {
                for path in self.record.leftovers() {
                    self.remove_brought(&path)?;
                }
                Ok(())
            }
            Removal::Foreign => {
                let leftovers = if self.how.partial { Vec::new() } else { self.record.leftovers() };
                for path in listed.gone.iter().chain(&leftovers) {
                    if !self.behind_a_link(path) {
                        self.remove_tree(path)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Removes one thing; a folder only if it is empty.
    fn remove_brought(&mut self, path: &Path) -> Result<(), TreeError> {
        let place = self.place(path);
        let about = match fs::symlink_metadata(&place) {
            Ok(about) if !self.behind_a_link(path) => about,
            _ => return Ok(()),
        };
        if self.is_spared(path, about.is_dir()) {
            return Ok(());
        }
        let removed = if about.is_dir() { fs::remove_dir(&place) } else { fs::remove_file(&place) };
        match removed {
            Err(why) if matches!(why.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy) && about.is_dir() => {}
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            removed => self.done.removed += u64::from(self.faults.take(&place, removed)?.is_some()),
        }
        Ok(())
    }

    /// Removes everything that is not in the manifest, in folders that existed before.
    pub fn remove_foreign(&mut self, plan: &Plan) -> Result<(), TreeError> {
        if self.how.removal != Removal::Foreign || self.how.partial {
            return Ok(());
        }
        let mut known: HashMap<&Path, HashSet<&OsStr>> = HashMap::new();
        for path in self.items.iter().map(|item| path_of(&item.path)) {
            if let (Some(above), Some(name)) = (path.parent(), path.file_name()) {
                known.entry(above).or_default().insert(name);
            }
        }
        let folders = self.items.iter().filter(|item| item.what == What::Folder).map(|item| path_of(&item.path));
        let none = HashSet::new();
        for folder in folders.filter(|folder| !plan.fresh.contains(*folder) && !plan.blocked.contains(*folder)) {
            let known = known.get(folder).unwrap_or(&none);
            let place = self.place(folder);
            let listed = names(&place);
            for name in self.faults.take(&place, listed)?.unwrap_or_default() {
                if !known.contains(name.as_os_str()) && !is_temporary(&name) {
                    self.remove_tree(&folder.join(name))?;
                }
            }
        }
        Ok(())
    }

    /// Removes something with all that is in it, but for what is spared; returns whether all of it is gone.
    pub fn remove_tree(&mut self, path: &Path) -> Result<bool, TreeError> {
        let place = self.place(path);
        let Ok(about) = fs::symlink_metadata(&place) else { return Ok(true) };
        if self.is_spared(path, about.is_dir()) {
            return Ok(false);
        }
        if about.is_dir() {
            let above = place.parent().and_then(|above| fs::symlink_metadata(above).ok());
            if above.is_some_and(|above| above.dev() != about.dev()) {
                return Ok(false);
            }
            let listed = names(&place);
            let mut empty = true;
            for name in self.faults.take(&place, listed)?.unwrap_or_default() {
                empty &= self.remove_tree(&path.join(name))?;
            }
            if !empty {
                return Ok(false);
            }
        }
        let removed = if about.is_dir() { fs::remove_dir(&place) } else { fs::remove_file(&place) };
        let gone = self.faults.take(&place, removed)?.is_some();
        self.done.removed += u64::from(gone);
        Ok(gone)
    }

    fn is_spared(&self, path: &Path, is_folder: bool) -> bool {
        self.how.spare.iter().any(|spare| path.starts_with(spare)) || self.how.rules.exclude_within(path, is_folder)
    }

    /// Whether a link in the tree is on the way to a path.
    fn behind_a_link(&self, path: &Path) -> bool {
        let above: Vec<PathBuf> = path.ancestors().skip(1).map(|above| self.place(above)).collect();
        above.iter().filter(|above| **above != self.base).any(|above| above.is_symlink())
    }
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}
