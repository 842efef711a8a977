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

use labctl_spec::ident::LabName;
use serde::Serialize;

use crate::record::Record;
use crate::{Failure, Kind};
use install::Installed;

/// What an edit did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edited {
    /// Whether the file was written. False if it was as it should be.
    pub changed: bool,
    /// The lab's names that other lines of the file give to another address.
    pub shadowed: Vec<Shadowed>,
}

/// A name of the lab's that a line outside of the lab's block gives to another address. Of two lines for one name, the
/// first wins (hosts(5)).
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
        write!(f, "{}:{line}: `{name}` is {address} there and {wanted} in the lab", file.display())
    }
}

/// The lines for the lab's nodes, one each: loopback address, names with the domain, the node's own name. A clone's names end in the
/// clone's own, for those without belong to the lab that it is a clone of.
pub fn lines(record: &Record) -> String {
    // A name belongs to the first node that has it; `localhost` must stay what it is.
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

/// Writes the lab's block into `file` (`Some`), or takes it out (`None`). All other bytes of the file stay as they are. The
/// file is replaced at once, or not at all; if only the administrator may do that, `sudo` is asked for this one step. A
/// file that is as it should be is not touched.
pub fn edit(file: &Path, lab: &LabName, lines: Option<&str>) -> Result<Edited, Failure> {
    // Twice at most per change by somebody else; who changes the file more often than this has another problem.
    for _ in 0..8 {
        if let Some(edited) = attempt(file, lab, lines)? {
            return Ok(edited);
        }
    }
    let message = format!("{} is being changed all the time by another program", file.display());
    Err(Failure::new(Kind::Conflict, message).hint("repeat the command"))
}

/// One attempt; none if the file was changed by another program meanwhile.
fn attempt(file: &Path, lab: &LabName, lines: Option<&str>) -> Result<Option<Edited>, Failure> {
    let Some(target) = target(file)? else {
        return match lines {
            Some(_) => Err(Failure::new(Kind::Input, format!("there is no file {}", file.display()))
                .hint("make an empty one, or give another with --file")),
            None => Ok(Some(Edited { changed: false, shadowed: Vec::new() })),
        };
    };
    let mut open = File::open(&target).map_err(Failure::io(target.display()))?;
    // One labctl at a time: without this, two labs that are brought up together could lose a block.
    open.lock().map_err(Failure::io(format!("lock {}", target.display())))?;
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
        Err(why) => Err(Failure::io(format!("write {}", target.display()))(why)),
    }
}

/// The file itself, behind all symbolic links; none if there is none.
fn target(file: &Path) -> Result<Option<PathBuf>, Failure> {
    match fs::canonicalize(file) {
        Ok(target) if target.is_file() => Ok(Some(target)),
        Ok(_) => Err(Failure::new(Kind::Input, format!("{} is not a regular file", file.display()))),
        Err(why) if why.kind() == ErrorKind::NotFound && !file.is_symlink() => Ok(None),
        Err(why) => Err(Failure::io(file.display())(why)),
    }
}

/// Whether the open file is still the one of that name.
fn is_still(open: &File, target: &Path) -> bool {
    match (open.metadata(), fs::metadata(target)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
