//! From a root folder (or its archive) to an ext4 disk, without a loop device.

use std::io;
use std::path::Path;
use std::process::Command;

use labctl_spec::size::Size;

use crate::child::{self, Ended};
use crate::entry::EntryLock;
use crate::error::{StoreError, at};

/// What is made from what.
pub(super) struct Making<'a> {
    /// The root folder; made from the archive if there is one.
    pub root: &'a Path,
    /// The archive of the root folder.
    pub archive: Option<&'a Path>,
    /// The disk to be made.
    pub disk: &'a Path,
    /// Its size.
    pub size: Size,
}

/// `$1` root folder, `$2` its archive or nothing, `$3` disk, `$4` its size in KiB.
///
/// No blocks reserved for root, nothing left for the guest's kernel to initialise in the background, and a small
/// journal: a killed guest must find its file system whole, but a lab's disk is not worth 64 MiB of log.
const SCRIPT: &str = r#"
set -eu
PATH=$PATH:/usr/sbin:/sbin
if [ -n "$2" ]; then
    mkdir "$1"
    tar --extract --file "$2" --directory "$1" --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*'
fi
exec mke2fs -q -F -t ext4 -L root -m 0 -J size=16 -E lazy_itable_init=0,lazy_journal_init=0 -d "$1" "$3" "$4"k
"#;

/// Makes the disk.
pub(super) fn make(making: &Making<'_>, lock: &EntryLock, log: &Path) -> Result<Ended, StoreError> {
    let mut command = match making.archive {
        None => Command::new("sh"),
        Some(_) => in_namespace("sh"),
    };
    command
        .args(["-c", SCRIPT, "sh"])
        .arg(making.root)
        .arg(making.archive.unwrap_or(Path::new("")))
        .arg(making.disk)
        .arg((making.size.0 >> 10).to_string());
    child::run(command, lock, log)
}

/// A program in a user namespace in which the caller is root and the sub-ids of `/etc/subuid` are the other users.
fn in_namespace(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--map-auto", "--", program]);
    command
}

/// Removes a folder of a build, files of the namespace's users included; absent is fine.
pub(crate) fn remove_tree(folder: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
            return Err(at("remove", folder)(error));
        }
        Err(_) => {}
    }
    let _ = in_namespace("rm")
        .arg("-rf")
        .arg(folder)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    crate::files::remove_folder(folder)
}
