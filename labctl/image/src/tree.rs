//! Folders with files of other users, made in a user namespace (user_namespaces(7)).

use std::io;
use std::path::Path;
use std::process::Command;

use crate::files;
use crate::store_error::{StoreError, at};

/// A program in a user namespace in which the caller is root and the sub-ids of `/etc/subuid` are the other users.
pub(crate) fn in_namespace(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--map-auto", "--", program]);
    command
}

/// Removes a build folder, including files owned by the namespace's users. Succeeds if the folder does not exist.
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
    files::remove_folder(folder)
}
