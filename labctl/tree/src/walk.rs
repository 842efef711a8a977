//! What is in a folder.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use labctl_wire::tree::{Item, MODE_BITS, What};
use rustix::fs::{Access, access};
use serde_bytes::ByteBuf;

use crate::Rules;
use crate::faults::Faults;

/// What is in a folder, or what of it may have changed.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    /// The folder or file.
    pub root: PathBuf,
    /// What is there; a folder precedes what is in it.
    pub items: Vec<Item>,
    /// In a partial manifest, what is not there.
    pub gone: Vec<ByteBuf>,
    /// Special files, each with what it is.
    pub skipped: Vec<String>,
    /// What could not be read, each with its path and reason.
    pub faults: Vec<String>,
}

impl Manifest {
    /// A single file whose content comes from a pipe.
    pub fn of_stream(mode: u32) -> Self {
        Self { items: vec![Item { path: ByteBuf::new(), mode, what: What::Stream }], ..Self::default() }
    }
}

/// Looks at all of a folder, or at a file. `mode` replaces the modes of files; folders can then be entered by all who may read them.
pub fn all(root: &Path, rules: &Rules, mode: Option<u32>) -> Manifest {
    let mut walk = Walk::new(root, rules, mode);
    if walk.root() {
        walk.folder(Path::new(""));
    }
    walk.finish()
}

/// Looks only at these paths below a folder, and at all that is below them.
pub fn some(root: &Path, rules: &Rules, mode: Option<u32>, paths: &BTreeSet<PathBuf>) -> Manifest {
    let mut walk = Walk::new(root, rules, mode);
    if !walk.root() {
        return walk.finish();
    }
    let mut listed: HashSet<&Path> = HashSet::new();
    // All that is below these has been dealt with.
    let mut settled: HashSet<&Path> = HashSet::new();
    for path in paths {
        if path.ancestors().any(|above| settled.contains(above)) {
            continue;
        }
        let mut above: Vec<&Path> = path.ancestors().filter(|above| !above.as_os_str().is_empty()).collect();
        above.reverse();
        for (at, step) in above.iter().copied().enumerate() {
            let last = at + 1 == above.len();
            if !last && listed.contains(step) {
                continue;
            }
            let about = match fs::symlink_metadata(root.join(step)) {
                Ok(about) => about,
                Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    // A rule that is for folders only does not spare what may have been one.
                    if !rules.exclude_within(step, false) {
                        walk.gone.push(bytes(step));
                    }
                    settled.insert(step);
                    break;
                }
                Err(why) => {
                    walk.faults.add(&root.join(step), why);
                    break;
                }
            };
            if rules.exclude(step, about.is_dir()) {
                break;
            }
            if listed.insert(step) {
                walk.item(step, &about);
            }
            if !about.is_dir() {
                break;
            }
            if last {
                walk.folder(step);
                settled.insert(step);
            }
        }
    }
    walk.finish()
}

struct Walk<'a> {
    root: &'a Path,
    rules: &'a Rules,
    mode: Option<u32>,
    items: Vec<Item>,
    gone: Vec<ByteBuf>,
    skipped: Vec<String>,
    faults: Faults,
}

fn bytes(path: &Path) -> ByteBuf {
    ByteBuf::from(path.as_os_str().as_bytes())
}

impl<'a> Walk<'a> {
    fn new(root: &'a Path, rules: &'a Rules, mode: Option<u32>) -> Self {
        Self { root, rules, mode, items: Vec::new(), gone: Vec::new(), skipped: Vec::new(), faults: Faults::default() }
    }

    /// Adds the root, which is followed if it is a link. Returns whether it is a folder.
    fn root(&mut self) -> bool {
        match fs::metadata(self.root) {
            Ok(about) if about.is_dir() || about.is_file() => self.item(Path::new(""), &about),
            Ok(about) => self.faults.add(self.root, format_args!("{} cannot be copied", special(about.file_type()))),
            Err(why) => self.faults.add(self.root, why),
        }
        self.items.first().is_some_and(|root| root.what == What::Folder)
    }

    /// Where an item is. Joining nothing to a file's path would make it a folder's.
    fn place(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { self.root.to_owned() } else { self.root.join(path) }
    }

    fn folder(&mut self, path: &Path) {
        let place = self.place(path);
        let listed = fs::read_dir(&place).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect());
        let mut names: Vec<std::ffi::OsString> = match listed {
            Ok(names) => names,
            Err(why) => return self.faults.add(&place, why),
        };
        names.sort();
        for name in names {
            let path = path.join(name);
            let about = match fs::symlink_metadata(self.root.join(&path)) {
                Ok(about) => about,
                // Removed since the folder was listed.
                Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
                Err(why) => {
                    self.faults.add(&self.root.join(&path), why);
                    continue;
                }
            };
            if self.rules.exclude(&path, about.is_dir()) {
                continue;
            }
            self.item(&path, &about);
            if about.is_dir() {
                self.folder(&path);
            }
        }
    }

    fn item(&mut self, path: &Path, about: &Metadata) {
        let place = self.place(path);
        let kind = about.file_type();
        let mut mode = self.mode.unwrap_or(about.mode() & MODE_BITS);
        let what = if kind.is_dir() {
            if self.mode.is_some() {
                mode |= (mode & 0o444) >> 2;
            }
            What::Folder
        } else if kind.is_file() {
            // Found now, so that all faults are reported before anything is changed.
            if let Err(why) = access(&place, Access::READ_OK) {
                return self.faults.add(&place, io::Error::from(why));
            }
            What::File { size: about.len(), mtime: nanoseconds(about) }
        } else if kind.is_symlink() {
            match fs::read_link(&place) {
                Ok(target) => What::Link { target: bytes(&target) },
                Err(why) => return self.faults.add(&place, why),
            }
        } else {
            return self.skipped.push(format!("{} ({})", path.display(), special(kind)));
        };
        self.items.push(Item { path: bytes(path), mode, what });
    }

    fn finish(self) -> Manifest {
        Manifest { root: self.root.to_owned(), items: self.items, gone: self.gone, skipped: self.skipped, faults: self.faults.lines() }
    }
}

/// Time of the last modification, in nanoseconds since 1970.
pub(crate) fn nanoseconds(about: &Metadata) -> i64 {
    about.mtime().saturating_mul(1_000_000_000).saturating_add(about.mtime_nsec())
}

fn special(kind: FileType) -> &'static str {
    if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a FIFO"
    } else {
        "a device"
    }
}
