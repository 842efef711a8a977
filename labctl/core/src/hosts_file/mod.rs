//! The lab's names on the host: one marked block of `/etc/hosts`, and nothing else in that file.
//!
//! ```text
//! # labctl LAB begin
//! 127.77.0.11 root-server.demo root.server.demo root-server
//! # labctl LAB end
//! ```

mod block;
mod install;
mod sudo;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use install::Installed;
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::LabName;
use serde::Serialize;

/// The result of an edit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edited {
    /// Whether the file was written. False if it was already correct.
    pub changed: bool,
    /// The lab's names that other lines of the file map to a different address.
    pub shadowed: Vec<Shadowed>,
}

/// A name of the lab that a line outside the lab's block maps to a different address. Of two lines for one name, the first wins (hosts(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shadowed {
    /// The file.
    pub file: PathBuf,
    /// Number of the other line, from 1.
    pub line: usize,
    /// The name.
    pub name: String,
    /// The other line's address.
    pub address: String,
    /// The lab's address.
    pub wanted: String,
}

impl fmt::Display for Shadowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, name, address, wanted } = self;
        write!(f, "{}:{line}: `{name}` is {address} here, but {wanted} in the lab", file.display())
    }
}

/// The lines for the lab's nodes, one each: loopback address, names with the domain, the node's own name. A clone's names all end with the
/// clone's own name, because names without it belong to the lab that it was cloned from.
pub fn lines(record: &Record) -> String {
    // A name belongs to the first node that has it; `localhost` must not change.
    let mut seen = BTreeSet::from(["localhost".to_owned()]);
    let mut text = String::new();
    let ending = record.clone_of.as_ref().map_or(String::new(), |_| format!(".{}", record.lab.name));
    for node in &record.lab.nodes {
        let all = node.hostnames.iter().cloned().chain([node.name.to_string()]).map(|name| name + &ending);
        let names: Vec<String> = all.filter(|name| seen.insert(name.to_ascii_lowercase())).collect();
        if !names.is_empty() {
            text += &format!("{} {}\n", record.loopback(node), names.join(" "));
        }
    }
    text
}

/// Writes the lab's block into `file` (`Some`), or removes it (`None`). All other bytes of the file stay as they are. The file is replaced
/// atomically; if only the administrator may do that, `sudo` is run for this one step. A file that is already correct is not touched.
pub fn edit(file: &Path, lab: &LabName, lines: Option<&str>) -> Result<Edited, Failure> {
    // Twice at most per change by another program; one that changes the file more often than this is a different problem.
    for _ in 0..8 {
        if let Some(edited) = attempt(file, lab, lines)? {
            return Ok(edited);
        }
    }
    let message = format!("another program keeps changing {}", file.display());
    Err(Failure::new(Kind::Conflict, message).hint("repeat the command"))
}

/// One attempt; none if another program changed the file meanwhile.
fn attempt(file: &Path, lab: &LabName, lines: Option<&str>) -> Result<Option<Edited>, Failure> {
    let Some(target) = target(file)? else {
        return match lines {
            Some(_) => Err(Failure::new(Kind::Input, format!("there is no file {}", file.display()))
                .hint("create an empty file, or name a different one with --file")),
            None => Ok(Some(Edited { changed: false, shadowed: Vec::new() })),
        };
    };
    let mut open = File::open(&target).map_err(Failure::io(target.display()))?;
    // One labctl at a time: without this, two labs that are brought up together could lose a block.
    open.lock().map_err(Failure::io(format!("cannot lock {}", target.display())))?;
    if !is_still(&open, &target) {
        return Ok(None);
    }
    let mut before = Vec::new();
    open.read_to_end(&mut before).map_err(Failure::io(target.display()))?;
    let found = block::find(&before, lab).map_err(|why| why.at(file))?;
    let after = block::replace(&before, lab, found.clone(), lines);
    let shadowed = match lines {
        Some(lines) => block::shadowed(file, &before, found, lines),
        None => Vec::new(),
    };
    if after == before {
        return Ok(Some(Edited { changed: false, shadowed }));
    }
    let edited = Edited { changed: true, shadowed };
    match install::install(&target, &open, &after) {
        Ok(Installed::Done) => Ok(Some(edited)),
        Ok(Installed::NotAllowed) => {
            let done = sudo::install(file, &target, &before, &after, lab, lines.is_some())?;
            Ok(done.then_some(edited))
        }
        Err(why) => Err(Failure::io(format!("cannot write {}", target.display()))(why)),
    }
}

/// The file itself, with all symbolic links resolved; none if it does not exist.
fn target(file: &Path) -> Result<Option<PathBuf>, Failure> {
    match fs::canonicalize(file) {
        Ok(target) if target.is_file() => Ok(Some(target)),
        Ok(_) => Err(Failure::new(Kind::Input, format!("{} is not a regular file", file.display()))),
        Err(why) if why.kind() == ErrorKind::NotFound && !file.is_symlink() => Ok(None),
        Err(why) => Err(Failure::io(file.display())(why)),
    }
}

/// Whether the path still leads to the open file.
fn is_still(open: &File, target: &Path) -> bool {
    match (open.metadata(), fs::metadata(target)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
