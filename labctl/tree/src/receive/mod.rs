//! The side that lacks something.
//!
//! ```text
//! manifest ─▶ remove what is gone ─▶ compare, make folders and links ─▶ ask for files ─▶ write them ─▶ settle folders' modes
//! ```

mod compare;
mod incoming;
mod record;
mod remove;
mod temporary;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use labctl_wire::tree::{FromReceiver, FromSender, Item, MODE_BITS, Received, Removal, What};

use crate::faults::Faults;
use crate::pipe::Talk;
use crate::{Owner, Passed, Pipe, Rules, TreeError};
use record::Record;
pub(crate) use temporary::Names;

/// How a tree is written.
#[derive(Debug, Clone, Default)]
pub struct Receiver {
    /// Absolute path of the tree.
    pub path: PathBuf,
    /// If the path is an existing folder or ends with a slash, the tree gets this name in it.
    pub into: Option<PathBuf>,
    /// Whom all of it belongs to.
    pub owner: Owner,
    /// What may be removed.
    pub removal: Removal,
    /// Folder with the records of what was brought where; none to keep no record.
    pub records: Option<PathBuf>,
    /// Whether the manifest has only what may have changed.
    pub partial: bool,
    /// What is not removed although the sender does not have it.
    pub rules: Rules,
    /// Paths below the tree that are not removed either.
    pub spare: Vec<PathBuf>,
}

/// The manifest as it was received.
#[derive(Default)]
struct Listed {
    items: Vec<Item>,
    gone: Vec<PathBuf>,
}

/// Receives a tree; `progress` is told how far it is, after each piece of content. Faults of single items are in the result.
pub fn receive(how: &Receiver, pipe: &mut dyn Pipe, progress: &mut dyn FnMut(Passed)) -> Result<Received, TreeError> {
    let mut talk = Talk::new(pipe);
    let listed = listen(&mut talk)?;
    let root = listed.items.first().ok_or_else(|| TreeError::Invalid("an empty manifest".into()))?;
    let base = base(how, root)?;
    let mut work = Work {
        how,
        names: Names::new(),
        record: Record::load(how.records.as_deref(), &base)?,
        base,
        items: &listed.items,
        done: Received::default(),
        faults: Faults::default(),
    };
    work.sweep()?;
    // Before anything is brought, so that a copy that is killed can be undone and repeated.
    work.note(&listed)?;
    work.remove_gone(&listed)?;
    let plan = work.compare()?;
    work.record.correct(&work.names)?;
    work.remove_foreign(&plan)?;
    work.sweep_dead(&plan);
    for want in &plan.wanted {
        talk.say(&FromReceiver::Want { item: want.item, sha256: want.sha256.clone() })?;
    }
    talk.say(&FromReceiver::Complete)?;
    talk.flush()?;
    let mut passed = Passed::none_of(plan.wanted.iter().map(|want| &listed.items[want.item as usize].what));
    let mut progress = |bytes: u64| {
        passed.bytes = passed.bytes.saturating_add(bytes);
        progress(passed);
    };
    for want in &plan.wanted {
        work.bring(&mut talk, want, &mut progress)?;
    }
    work.settle(&plan)?;
    work.record.close()?;
    work.done.faults = work.faults.lines();
    Ok(work.done)
}

/// A copy in progress.
struct Work<'a> {
    how: &'a Receiver,
    /// Names for files that are not complete.
    names: Names,
    record: Record,
    base: PathBuf,
    items: &'a [Item],
    done: Received,
    faults: Faults,
}

impl Work<'_> {
    fn place(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { self.base.clone() } else { self.base.join(path) }
    }

    /// Whether something may be replaced by something of another kind: not what somebody else made.
    fn may_replace(&self, path: &Path) -> bool {
        self.how.removal == Removal::Foreign || self.record.has(path)
    }
}

/// Path of an item or of something that is gone.
fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Reads the manifest. Each item must be in a folder of the manifest and be there once, so no path leads through a link, let alone out of the
/// tree.
fn listen(talk: &mut Talk<'_>) -> Result<Listed, TreeError> {
    let mut listed = Listed::default();
    // Whether each is a folder.
    let mut seen: HashMap<Vec<u8>, bool> = HashMap::new();
    loop {
        match talk.hear()? {
            FromSender::Item(item) => {
                let path = path_of(&item.path);
                if path.as_os_str().is_empty() && matches!(item.what, What::Link { .. }) {
                    // A sender follows its root. As a link, it would lead the next copy to this place elsewhere.
                    return Err(TreeError::Invalid("a link in place of the whole tree".into()));
                }
                let known = match path.parent() {
                    None => listed.items.is_empty(),
                    Some(above) => seen.get(above.as_os_str().as_bytes()) == Some(&true),
                };
                // What comes twice could be a file when it is looked at and a link when it is changed.
                let is_new = seen.insert(item.path.to_vec(), item.what == What::Folder).is_none();
                if !known || !is_new || !is_plain(path) {
                    return Err(TreeError::Invalid(format!("the path `{}`", path.display())));
                }
                // A guest does not get to make setuid files on the host.
                listed.items.push(Item { mode: item.mode & MODE_BITS, ..item });
            }
            FromSender::Gone(path) => {
                let path = path_of(&path);
                if path.as_os_str().is_empty() || !is_plain(path) {
                    return Err(TreeError::Invalid(format!("the path `{}`", path.display())));
                }
                listed.gone.push(path.to_owned());
            }
            FromSender::Listed => return Ok(listed),
            _ => return Err(TreeError::Invalid("content that was not asked for".into())),
        }
    }
}

/// Whether a path has names only, and is written in the one way that means it.
fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
        && path.components().collect::<PathBuf>().as_os_str() == path.as_os_str()
}

/// Where the root item goes. The last part of the path is followed if it is a link; folders above it are made.
fn base(how: &Receiver, root: &Item) -> Result<PathBuf, TreeError> {
    let mut path = how.path.clone();
    let folder = path.as_os_str().as_bytes().ends_with(b"/");
    if let Some(name) = how.into.as_ref().filter(|_| folder || path.is_dir()) {
        if name.components().count() != 1 || !is_plain(name) {
            return Err(TreeError::Invalid(format!("the name `{}`", name.display())));
        }
        path.push(name);
    }
    let above = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(above).map_err(|why| TreeError::at(above, why))?;
    // The same path as when it exists: the record of what was brought is found by it.
    let new = || Some(above.canonicalize().ok()?.join(path.file_name()?));
    let path = path.canonicalize().ok().or_else(new).unwrap_or_else(|| path.clone());
    match (fs::symlink_metadata(&path), root.what == What::Folder) {
        (Ok(about), true) if !about.is_dir() => Err(TreeError::at(&path, "exists and is not a folder")),
        (Ok(about), false) if about.is_dir() => Err(TreeError::at(&path, "is a folder")),
        _ => Ok(path),
    }
}
