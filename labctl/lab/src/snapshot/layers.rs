//! Disks that no longer change: what nodes wrote up to a snapshot. Each is based on the previous one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use labctl_machine::disk;
use rand::Rng;

use super::Snapshot;
use crate::Failure;
use crate::home::{Home, make_closed};

/// A name for a new layer.
pub fn new(home: &Home) -> Result<PathBuf, Failure> {
    let folder = home.layers();
    make_closed(&folder)?;
    let mut bytes = [0; 8];
    rand::rng().fill_bytes(&mut bytes);
    Ok(folder.join(format!("{}.qcow2", hex::encode(bytes))))
}

/// Removes the layers that no node and no snapshot of any lab is based on. Only called by commands that hold a lab. A layer that another
/// lab's supervisor is currently creating is linked to that node's disk from the start.
pub fn sweep(home: &Home) -> Result<(), Failure> {
    let mut used = BTreeSet::new();
    let mut inodes = BTreeSet::new();
    for lab in home.lab_names() {
        let lab = home.lab(&lab);
        for entry in fs::read_dir(lab.folder().join("nodes")).into_iter().flatten().flatten() {
            let disk = entry.path().join("disk.qcow2");
            inodes.extend(inode(&disk));
            follow(&disk, &mut used);
        }
        keep_snapshots(&super::folder(&lab), &mut used);
    }
    keep_snapshots(&home.provisioned(), &mut used);
    for entry in fs::read_dir(home.layers()).into_iter().flatten().flatten() {
        let path = entry.path();
        if !used.contains(&path) && inode(&path).is_none_or(|inode| !inodes.contains(&inode)) {
            fs::remove_file(&path).map_err(Failure::io(path.display()))?;
        }
    }
    Ok(())
}

/// Marks the layers of all snapshots in a folder as used, including those being made.
fn keep_snapshots(folder: &Path, used: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let removed = entry.file_name().as_encoded_bytes().starts_with(b".removed-");
        if !removed && let Ok(Some(snapshot)) = Snapshot::load(&entry.path()) {
            for node in snapshot.nodes.values() {
                used.insert(node.layer.clone());
                follow(&node.layer, used);
            }
        }
    }
}

/// Adds everything that a disk is based on. Stops where the chain cannot be read: those files are elsewhere.
fn follow(disk: &Path, used: &mut BTreeSet<PathBuf>) {
    let mut next = disk.to_owned();
    while let Ok(Some(below)) = disk::backing(&next) {
        if !used.insert(below.clone()) {
            return;
        }
        next = below;
    }
}

fn inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|about| about.ino())
}
