//! What differs. Folders and links are made at once; files are asked for.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use labctl_wire::tree::{Item, MODE_BITS, Removal, What};
use serde_bytes::ByteBuf;

use super::{Work, path_of};
use crate::walk::nanoseconds;
use crate::{TreeError, digest};

/// What has to be done.
#[derive(Default)]
pub struct Plan {
    /// Files to ask for, in the order of the manifest.
    pub wanted: Vec<Wanted>,
    /// Folders that did not exist.
    pub fresh: HashSet<PathBuf>,
    /// Folders that could not be made; what is in them is left out.
    pub blocked: HashSet<PathBuf>,
    /// Folders whose mode or owner is to be set once they are filled, by position in the manifest.
    pub unsettled: Vec<usize>,
}

/// A file to ask for.
pub struct Wanted {
    /// Its position in the manifest.
    pub item: u32,
    /// SHA-256 of the file that is here, if only its time differs.
    pub sha256: Option<ByteBuf>,
    /// The file that is here.
    pub old: Option<Metadata>,
}

impl Work<'_> {
    pub fn compare(&mut self) -> Result<Plan, TreeError> {
        let mut plan = Plan::default();
        let items = self.items;
        for (at, item) in items.iter().enumerate() {
            let path = path_of(&item.path);
            if path.parent().is_some_and(|above| plan.blocked.contains(above)) {
                if item.what == What::Folder {
                    plan.blocked.insert(path.to_owned());
                }
                continue;
            }
            let place = self.place(path);
            // Nothing can be in a folder that was made just now.
            let found = if path.parent().is_some_and(|above| plan.fresh.contains(above)) { Ok(None) } else { look(&place) };
            let Some(found) = self.faults.take(&place, found)? else { continue };
            match &item.what {
                What::Folder => self.folder(at, item, found, &mut plan)?,
                What::Link { target } => self.link(path, path_of(target), found)?,
                What::File { .. } | What::Stream => {
                    if let Some(want) = self.file(at, item, found)? {
                        plan.wanted.push(want);
                    }
                }
            }
        }
        Ok(plan)
    }

    fn folder(&mut self, at: usize, item: &Item, found: Option<Metadata>, plan: &mut Plan) -> Result<(), TreeError> {
        let path = path_of(&item.path);
        let place = self.place(path);
        if let Some(about) = found.as_ref().filter(|about| about.is_dir()) {
            // The tree's own place may be a folder of the system's, such as /tmp.
            let ours = !path.as_os_str().is_empty() || self.record.has_root();
            if ours && (about.mode() & MODE_BITS != item.mode || !self.how.owner.has(about)) {
                plan.unsettled.push(at);
                self.done.touched += 1;
            }
            return Ok(());
        }
        if found.is_some() {
            if !self.may_replace(path) {
                plan.blocked.insert(path.to_owned());
                self.record.disown(path);
                self.faults.add(&place, "is not a folder, and was not made by a copy: remove it, or choose another place");
                return Ok(());
            }
            let removed = fs::remove_file(&place);
            self.faults.take(&place, removed)?;
        }
        let made = fs::DirBuilder::new().mode(0o700 | item.mode).create(&place);
        if self.faults.take(&place, made)?.is_some() {
            self.done.folders += 1;
            plan.fresh.insert(path.to_owned());
            plan.unsettled.push(at);
        } else {
            plan.blocked.insert(path.to_owned());
        }
        Ok(())
    }

    fn link(&mut self, path: &Path, target: &Path, found: Option<Metadata>) -> Result<(), TreeError> {
        let place = self.place(path);
        if let Some(about) = found.as_ref().filter(|about| about.is_symlink() && fs::read_link(&place).is_ok_and(|old| old == target)) {
            if !self.how.owner.has(about) {
                let owned = self.how.owner.own(&place);
                self.done.touched += u64::from(self.faults.take(&place, owned)?.is_some());
            }
            return Ok(());
        }
        if !self.make_room(path, found.as_ref())? {
            return Ok(());
        }
        let temporary = self.names.beside(&place);
        let made =
            symlink(target, &temporary.path).and_then(|()| self.how.owner.own(&temporary.path)).and_then(|()| temporary.keep(&place));
        self.done.written += u64::from(self.faults.take(&place, made)?.is_some());
        Ok(())
    }

    fn file(&mut self, at: usize, item: &Item, found: Option<Metadata>) -> Result<Option<Wanted>, TreeError> {
        let path = path_of(&item.path);
        let place = self.place(path);
        let mut want = Wanted { item: u32::try_from(at).unwrap_or(u32::MAX), sha256: None, old: None };
        if !self.make_room(path, found.as_ref())? {
            return Ok(None);
        }
        let Some(about) = found.filter(Metadata::is_file) else { return Ok(Some(want)) };
        let What::File { size, mtime } = item.what else { return Ok(Some(Wanted { old: Some(about), ..want })) };
        if about.len() != size {
            return Ok(Some(Wanted { old: Some(about), ..want }));
        }
        if nanoseconds(&about) != mtime {
            // A file that cannot be read here is simply sent again.
            want.sha256 = File::open(&place).and_then(digest::sha256).ok().map(ByteBuf::from);
            return Ok(Some(Wanted { old: Some(about), ..want }));
        }
        if self.attributes(&place, item.mode, &about)? {
            self.done.touched += 1;
        }
        Ok(None)
    }

    /// Sets mode and owner where they differ; returns whether they did.
    pub fn attributes(&mut self, place: &Path, mode: u32, about: &Metadata) -> Result<bool, TreeError> {
        let mut differs = false;
        if !self.how.owner.has(about) {
            let owned = self.how.owner.own(place);
            differs |= self.faults.take(place, owned)?.is_some();
        }
        if about.mode() & MODE_BITS != mode {
            // A file's special bits do not survive a change; a folder's may be the node's own business.
            let special = if about.is_dir() { about.mode() & 0o7000 } else { 0 };
            let set = fs::set_permissions(place, fs::Permissions::from_mode(mode | special));
            differs |= self.faults.take(place, set)?.is_some();
        }
        Ok(differs)
    }

    /// Removes a folder that is in the way of something else; returns whether the way is free. Only where everything foreign is to be removed,
    /// it need not be empty.
    fn make_room(&mut self, path: &Path, found: Option<&Metadata>) -> Result<bool, TreeError> {
        if !found.is_some_and(Metadata::is_dir) {
            return Ok(true);
        }
        let place = self.place(path);
        let is_free = if self.how.removal == Removal::Foreign {
            self.remove_tree(path)?
        } else if self.record.has(path) {
            match fs::remove_dir(&place) {
                Err(why) if why.kind() == io::ErrorKind::DirectoryNotEmpty => false,
                removed => return Ok(self.faults.take(&place, removed)?.is_some()),
            }
        } else {
            self.record.disown(path);
            false
        };
        if !is_free {
            self.faults.add(&place, "is a folder with things that were not made by a copy: remove it, or choose another place");
        }
        Ok(is_free)
    }

    /// Gives folders their final modes and owners, the innermost first: a folder may forbid writing.
    pub fn settle(&mut self, plan: &Plan) -> Result<(), TreeError> {
        for at in plan.unsettled.iter().rev() {
            let item = &self.items[*at];
            let place = self.place(path_of(&item.path));
            let about = fs::symlink_metadata(&place);
            if let Some(about) = self.faults.take(&place, about)? {
                self.attributes(&place, item.mode, &about)?;
            }
        }
        Ok(())
    }
}

fn look(place: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(place) {
        Ok(about) => Ok(Some(about)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why),
    }
}
