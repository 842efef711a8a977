//! A node's folder: its machine's description, its disk, and the template that both are based on.

pub mod disk;

use std::path::{Path, PathBuf};

use labctl_spec::ident::NodeName;

use crate::home::LabHome;
use crate::{Failure, persist};

/// The description of a node's machine in its folder.
pub fn machine(folder: &Path) -> PathBuf {
    folder.join("machine.json")
}

/// The file that names the template of a node's disk.
fn template(folder: &Path) -> PathBuf {
    folder.join("template")
}

/// Key of the template that a node's disk and memory are based on.
pub fn template_of(folder: &Path) -> Option<String> {
    std::fs::read_to_string(template(folder)).ok().map(|key| key.trim().to_owned())
}

/// Records the template's key so that the template is not removed.
pub fn note_template(folder: &Path, key: &str) -> Result<(), Failure> {
    persist::write(&template(folder), key.as_bytes())
}

/// Records that a fork is about to get its disk. Until it runs, what an interrupted start has left is discarded.
pub fn mark_unborn(folder: &Path) -> Result<(), Failure> {
    persist::write(&unborn(folder), b"")
}

/// This file exists from before a fork gets its disk until it runs. While it exists, what an interrupted start has left is discarded.
fn unborn(folder: &Path) -> PathBuf {
    folder.join("unborn")
}

/// Records that a fork is running: from now on its disk is valid.
pub fn born(folder: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(unborn(folder)) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(unborn(folder).display())(why)),
        _ => Ok(()),
    }
}

/// Whether a start was interrupted before the machine ran.
pub fn is_unborn(folder: &Path) -> bool {
    unborn(folder).exists()
}

/// Whether a node has no disk of its own yet.
pub fn is_new(home: &LabHome, name: &NodeName) -> bool {
    let folder = home.node(name);
    !disk::link(&folder).exists() || is_unborn(&folder)
}
