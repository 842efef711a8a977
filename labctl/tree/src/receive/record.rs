//! What was brought to a place, so that it can be removed again when the sender no longer has it. One file per place: fields that end with
//! a zero byte, first the token of a copy that has not finished (empty if there is none), then the paths. The path `.` says that a copy made
//! the tree's own folder; any other one belongs to the node, and keeps its mode and owner.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::temporary::Names;
use super::{Listed, Work, path_of};
use crate::{TreeError, digest};

/// The tree's own folder.
const ROOT: &[u8] = b".";

/// The record of one place.
#[derive(Debug, Default)]
pub struct Record {
    /// None if no record is kept.
    file: Option<PathBuf>,
    /// The copy that did not finish.
    pub unfinished: Option<String>,
    paths: BTreeSet<Vec<u8>>,
    /// What it will hold when this copy has finished.
    next: BTreeSet<Vec<u8>>,
    /// Whether the file differs from what it must be in the end.
    open: bool,
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
        let mut fields = text.split(|byte| *byte == 0);
        let unfinished = fields.next().filter(|token| !token.is_empty()).map(|token| String::from_utf8_lossy(token).into_owned());
        let paths = fields.filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect();
        Ok(Self { file: Some(file), unfinished, paths, ..Self::default() })
    }

    /// Whether a path was brought by an earlier copy.
    pub fn has(&self, path: &Path) -> bool {
        self.paths.contains(path.as_os_str().as_bytes())
    }

    /// Whether a copy made the tree's own folder.
    pub fn has_root(&self) -> bool {
        self.paths.contains(ROOT)
    }

    /// What earlier copies brought and the record will no longer hold; what is in a folder precedes the folder.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut gone: Vec<PathBuf> = self.paths.difference(&self.next).map(|path| path_of(path).to_owned()).collect();
        gone.reverse();
        gone
    }

    fn write(&self, token: &str, paths: &BTreeSet<Vec<u8>>) -> Result<(), TreeError> {
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

    /// Writes down that the copy has finished.
    pub fn close(&mut self) -> Result<(), TreeError> {
        if std::mem::take(&mut self.open) { self.write("", &self.next) } else { Ok(()) }
    }
}

impl Work<'_> {
    /// Writes down what is going to be brought, unless that is known already.
    pub fn note(&mut self, listed: &Listed) -> Result<(), TreeError> {
        let record = &mut self.record;
        if record.file.is_none() {
            return Ok(());
        }
        record.next = listed.items.iter().filter(|item| !item.path.is_empty()).map(|item| item.path.to_vec()).collect();
        if self.how.partial {
            let kept = record.paths.iter().filter(|path| !listed.gone.iter().any(|gone| path_of(path).starts_with(gone)));
            record.next.extend(kept.cloned());
        }
        if record.has_root() || fs::symlink_metadata(&self.base).is_err() {
            record.next.insert(ROOT.to_vec());
        }
        if record.next == record.paths && record.unfinished.is_none() {
            return Ok(());
        }
        record.open = true;
        let both = record.paths.union(&record.next).cloned().collect();
        record.write(self.names.token(), &both)
    }
}
