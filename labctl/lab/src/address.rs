//! Paths of folders that hold sockets. A socket's address holds 108 bytes, with a zero at the end (unix(7); 104 on macOS), so a folder with a
//! long path gets a short link:
//!
//! ```text
//! labs/NAME/run/0.qmp                                  if that fits
//! /tmp/labctl-UID/DIGEST/0.qmp, a link to the folder   otherwise
//! ```
//!
//! The link depends on nothing but the user and the folder: any command, in whatever session, finds it, and makes it again if it is gone.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Failure, Kind};

/// Longest path of a folder, in bytes, for sockets with names of up to 22 bytes.
const LONGEST: usize = 80;

/// The path under which sockets in `folder`, or `deeper` bytes below it, are reached.
pub fn short(folder: &Path, deeper: usize) -> PathBuf {
    if folder.as_os_str().len() + deeper <= LONGEST {
        return folder.to_owned();
    }
    let digest = hex::encode(Sha256::digest(folder.as_os_str().as_encoded_bytes()));
    links().join(&digest[..8])
}

/// The folder of this user's links.
fn links() -> PathBuf {
    PathBuf::from(format!("/tmp/labctl-{}", rustix::process::getuid().as_raw()))
}

/// Makes the short path lead to the folder; does nothing if it already does, or if it is the folder's own.
pub fn link(folder: &Path, short: &Path) -> Result<(), Failure> {
    match folder == short {
        true => Ok(()),
        false => link_in(&links(), folder, short),
    }
}

fn link_in(links: &Path, folder: &Path, short: &Path) -> Result<(), Failure> {
    let failed = || Failure::io(short.display());
    match DirBuilder::new().mode(0o700).create(links) {
        Err(why) if why.kind() != io::ErrorKind::AlreadyExists => return Err(failed()(why)),
        _ => {}
    }
    // Everybody can write to /tmp: a link in somebody else's folder could lead anywhere.
    let about = fs::symlink_metadata(links).map_err(failed())?;
    if !about.is_dir() || about.uid() != rustix::process::getuid().as_raw() || about.mode() & 0o077 != 0 {
        let message =
            format!("{} is not a folder that only you can enter; labctl needs it for the sockets of {}", links.display(), folder.display());
        return Err(Failure::new(Kind::Host, message).hint("remove it, or set LABCTL_HOME to a shorter path"));
    }
    if fs::read_link(short).is_ok_and(|to| to == folder) {
        return Ok(());
    }
    let new = short.with_extension(std::process::id().to_string());
    let _ = fs::remove_file(&new);
    symlink(folder, &new).and_then(|()| fs::rename(&new, short)).map_err(failed())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_folder_with_a_long_path_is_reached_by_a_link() {
        let short_one = Path::new("/home/me/.local/share/labctl/labs/demo/run");
        assert_eq!(short(short_one, 0), short_one);
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("x".repeat(100)).join("run");
        fs::create_dir_all(&folder).unwrap();
        let address = short(&folder, 0);
        assert!(address.starts_with("/tmp") && address.as_os_str().len() <= LONGEST, "{}", address.display());
        let (links, name) = (scratch.path().join("links"), address.file_name().unwrap());
        let address = links.join(name);
        link_in(&links, &folder, &address).unwrap();
        let _listener = UnixListener::bind(address.join("0.console")).unwrap();
        assert!(folder.join("0.console").exists());
        // Something has tidied up /tmp.
        fs::remove_dir_all(&links).unwrap();
        link_in(&links, &folder, &address).unwrap();
        link_in(&links, &folder, &address).unwrap();
        UnixStream::connect(address.join("0.console")).unwrap();
    }

    #[test]
    fn links_that_others_could_change_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let links = scratch.path().join("links");
        fs::create_dir(&links).unwrap();
        fs::set_permissions(&links, fs::Permissions::from_mode(0o777)).unwrap();
        let why = link_in(&links, Path::new("/a"), &links.join("b")).unwrap_err();
        assert!(why.message.contains("only you can enter"), "{why}");
        fs::remove_dir(&links).unwrap();
        symlink(scratch.path(), &links).unwrap();
        assert!(link_in(&links, Path::new("/a"), &links.join("b")).is_err());
    }
}
