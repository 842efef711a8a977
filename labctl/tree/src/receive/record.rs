//! What was brought to a place, so that it can be removed again when the sender no longer has it. One file per place: fields that end with
//! a zero byte, first the token of a copy that has not finished (empty if there is none), then the paths. The path `.` says that a copy made
//! the tree's own folder; any other one belongs to the node, and keeps its mode and owner.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::temporary::Names;
use super::{Listed, Work, path_of};
use crate::{TreeError, digest};

/// The tree's own folder.
const ROOT: &[u8] = b".";

/// The record of one place. It is read for each copy, and rarely changes: so its paths are looked up in the text itself.
#[derive(Debug, Default)]
pub struct Record {
    /// None if no record is kept.
    file: Option<PathBuf>,
    /// The copy that did not finish.
    pub unfinished: Option<String>,
    text: Vec<u8>,
    /// Where the paths are in the text, which has them in order.
    paths: Vec<Range<usize>>,
    /// What the file must hold in the end, if that is something else.
    next: Option<BTreeSet<Vec<u8>>>,
    /// Whether it claims something that turned out to be somebody else's.
    wrong: bool,
}

impl Record {
    /// The record of a place, from the folder of records.
    pub fn load(folder: Option<&Path>, base: &Path) -> Result<Self, TreeError> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let name = digest::sha256(base.as_os_str().as_bytes()).map_err(|why| TreeError::at(base, why))?;
        let name: String = name.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let file = folder.join(name);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(why) => return Err(TreeError::at(&file, why)),
        };
        let mut record = Self { file: Some(file), ..Self::default() };
        let mut at = 0;
        for (position, field) in text.split(|byte| *byte == 0).enumerate() {
            if position == 0 {
                record.unfinished = Some(String::from_utf8_lossy(field).into_owned()).filter(|token| !token.is_empty());
            } else if !field.is_empty() {
                record.paths.push(at..at + field.len());
            }
            at += field.len() + 1;
        }
        record.text = text;
        Ok(record)
    }

    fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.paths.iter().map(|at| &self.text[at.clone()])
    }

    fn holds(&self, path: &[u8]) -> bool {
        self.paths.binary_search_by(|at| self.text[at.clone()].cmp(path)).is_ok()
    }

    /// Whether a path was brought by an earlier copy.
    pub fn has(&self, path: &Path) -> bool {
        self.holds(path.as_os_str().as_bytes())
    }

    /// Whether a copy made the tree's own folder.
    pub fn has_root(&self) -> bool {
        self.holds(ROOT)
    }

    /// What earlier copies brought and the record will no longer hold; what is in a folder precedes the folder.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let Some(next) = &self.next else { return Vec::new() };
        let mut gone: Vec<PathBuf> = self.paths().filter(|path| !next.contains(*path)).map(|path| path_of(path).to_owned()).collect();
        gone.reverse();
        gone
    }

    fn write<'a>(&self, token: &str, paths: impl IntoIterator<Item = &'a [u8]>) -> Result<(), TreeError> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut text = token.as_bytes().to_vec();
        text.push(0);
        for path in paths {
            text.extend_from_slice(path);
            text.push(0);
        }
        let folder = file.parent().unwrap_or(Path::new("/"));
        let written = fs::create_dir_all(folder).and_then(|()| {
            let temporary = Names::new().beside(file);
            fs::write(&temporary.path, text)?;
            temporary.keep(file)
        });
        written.map_err(|why| TreeError::at(file, why))
    }

    /// Whether it holds a path, or anything below it.
    fn holds_within(&self, path: &Path) -> bool {
        let below = [path.as_os_str().as_bytes(), b"/"].concat();
        let next = self.paths.partition_point(|at| self.text[at.clone()] < below[..]);
        self.has(path) || self.paths.get(next).is_some_and(|at| self.text[at.clone()].starts_with(&below))
    }

    /// Forgets a path that could not be brought because something is there that no copy made: it must not be taken for a copy's the next
    /// time.
    pub fn disown(&mut self, path: &Path) {
        let Some(mut next) = self.next.take() else { return };
        next.retain(|brought| self.holds(brought) || !path_of(brought).starts_with(path));
        self.next = Some(next);
        self.wrong = true;
    }

    /// Corrects the file if something was disowned.
    pub fn correct(&mut self, names: &Names) -> Result<(), TreeError> {
        if std::mem::take(&mut self.wrong) { self.write_open(names) } else { Ok(()) }
    }

    /// Writes down what there will be of the former copies and this one while it is not finished.
    fn write_open(&self, names: &Names) -> Result<(), TreeError> {
        let both: BTreeSet<&[u8]> = self.paths().chain(self.next.iter().flatten().map(Vec::as_slice)).collect();
        self.write(names.token(), both)
    }

    /// Paths of copies, those of one that did not finish included.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        self.paths().filter(|path| *path != ROOT).map(path_of)
    }

    /// Writes down that the copy has finished.
    pub fn close(&mut self) -> Result<(), TreeError> {
        match self.next.take() {
            Some(next) => self.write("", next.iter().map(Vec::as_slice)),
            None => Ok(()),
        }
    }
}

impl Work<'_> {
    /// Writes down what is going to be brought, unless that is known already.
    pub fn note(&mut self, listed: &Listed) -> Result<(), TreeError> {
        let record = &mut self.record;
        let root = record.has_root() || fs::symlink_metadata(&self.base).is_err();
        let items = || listed.items.iter().filter(|item| !item.path.is_empty()).map(|item| item.path.as_slice());
        let all_known = items().all(|path| record.holds(path)) && (!root || record.has_root());
        let none_gone = match self.how.partial {
            true => !listed.gone.iter().any(|gone| record.holds_within(gone)),
            false => items().count() + usize::from(record.has_root()) == record.paths.len(),
        };
        if record.file.is_none() || all_known && none_gone && record.unfinished.is_none() {
            return Ok(());
        }
        let mut next: BTreeSet<Vec<u8>> = items().map(<[u8]>::to_vec).collect();
        if self.how.partial {
            let gone: HashSet<&Path> = listed.gone.iter().map(PathBuf::as_path).collect();
            let kept = record.paths().filter(|path| !path_of(path).ancestors().any(|above| gone.contains(above)));
            next.extend(kept.map(<[u8]>::to_vec));
        }
        if root {
            next.insert(ROOT.to_vec());
        }
        record.next = Some(next);
        record.write_open(&self.names)
    }
}
