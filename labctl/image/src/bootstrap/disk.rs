//! Turns a root folder (or its archive) into an ext4 disk, without a loop device.

use std::path::Path;
use std::process::Command;

use labctl_spec::size::Size;

use crate::child::{self, Ended};
use crate::entry::EntryLock;
use crate::store_error::StoreError;
use crate::tree;

/// Inputs and output.
pub(super) struct Making<'a> {
    /// The root folder; created from the archive if there is one.
    pub root: &'a Path,
    /// The archive of the root folder.
    pub archive: Option<&'a Path>,
    /// The disk to create.
    pub disk: &'a Path,
    /// Its size.
    pub size: Size,
}

/// `$1` root folder, `$2` its archive or empty, `$3` disk, `$4` its size in KiB.
///
/// No blocks reserved for root, nothing left for the guest's kernel to initialise in the background, and a small
/// journal: the file system of a killed guest must stay intact, but a lab's disk is not worth a 64 MiB journal.
const SCRIPT: &str = r#"
set -eu
PATH=$PATH:/usr/sbin:/sbin
if [ -n "$2" ]; then
    mkdir "$1"
    tar --extract --file "$2" --directory "$1" --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*'
fi
exec mke2fs -q -F -t ext4 -L root -m 0 -J size=16 -E lazy_itable_init=0,lazy_journal_init=0 -d "$1" "$3" "$4"k
"#;

/// Creates the disk.
pub(super) fn make(making: &Making<'_>, lock: &EntryLock, log: &Path) -> Result<Ended, StoreError> {
    let mut command = match making.archive {
        None => Command::new("sh"),
        Some(_) => tree::in_namespace("sh"),
    };
    command
        .args(["-c", SCRIPT, "sh"])
        .arg(making.root)
        .arg(making.archive.unwrap_or(Path::new("")))
        .arg(making.disk)
        .arg((making.size.0 >> 10).to_string());
    child::run(command, lock, log)
}
