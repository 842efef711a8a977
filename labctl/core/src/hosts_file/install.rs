//! Replacing a file's text, with the same mode, owner and extended attributes.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::io::Errno;

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// The new text is in place and on disk.
    Done,
    /// This user lacks the permission. Nothing was changed.
    NotAllowed,
}

/// Replaces `target` (open as `old`, not a symbolic link) by `text`: a temporary file beside it, synced, renamed. A file that cannot be
/// replaced by a rename, such as a bind mount in a container, is written in place.
pub fn install(target: &Path, old: &File, text: &[u8]) -> io::Result<Installed> {
    match rename_over(target, old, text) {
        Ok(()) => Ok(Installed::Done),
        // EBUSY: the file is a mount point; EXDEV: it is on a different file system than its folder; EROFS: only the file is mounted
        // writable; EACCES, EPERM: we may not change the folder or the owner, but perhaps the file.
        Err(why) => match Errno::from_io_error(&why) {
            Some(Errno::BUSY | Errno::XDEV | Errno::ROFS) => in_place(target, text).or_else(not_allowed),
            Some(Errno::ACCESS | Errno::PERM) if is_mount_point(target) => in_place(target, text).or_else(not_allowed),
            _ => not_allowed(why),
        },
    }
}

fn not_allowed(why: io::Error) -> io::Result<Installed> {
    match why.kind() {
        ErrorKind::PermissionDenied => Ok(Installed::NotAllowed),
        _ => Err(why),
    }
}

fn is_mount_point(target: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|about| about.dev()).ok();
    target.parent().is_some_and(|folder| device(folder) != device(target))
}

fn rename_over(target: &Path, old: &File, text: &[u8]) -> io::Result<()> {
    let folder = target.parent().unwrap_or(Path::new("/"));
    let mut new = tempfile::Builder::new().prefix(".labctl-hosts-").tempfile_in(folder)?;
    new.write_all(text)?;
    let (about, made) = (old.metadata()?, new.as_file().metadata()?);
    if (about.uid(), about.gid()) != (made.uid(), made.gid()) {
        std::os::unix::fs::fchown(new.as_file(), Some(about.uid()), Some(about.gid()))?;
    }
    #[cfg(target_os = "linux")]
    copy_attributes(old, new.as_file());
    // After the owner: chown clears mode bits.
    new.as_file().set_permissions(Permissions::from_mode(about.mode() & 0o7777))?;
    new.as_file().sync_all()?;
    new.persist(target).map_err(|why| why.error)?;
    File::open(folder)?.sync_all()
}

/// Extended attributes: SELinux's label of `/etc/hosts`, without which confined programs cannot read it, and access lists. Those that the
/// file system or the policy refuses are skipped; the kernel has then chosen its own value.
#[cfg(target_os = "linux")]
fn copy_attributes(old: &File, new: &File) {
    let mut names = vec![0_u8; 4096];
    let Ok(length) = rustix::fs::flistxattr(old, &mut names[..]) else {
        return;
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; 4096];
        if let Ok(length) = rustix::fs::fgetxattr(old, name, &mut value[..]) {
            let _ = rustix::fs::fsetxattr(new, name, &value[..length], rustix::fs::XattrFlags::empty());
        }
    }
}

/// Overwrites the file. Written before it is truncated, in one call: the shortest window in which it is neither old nor new.
fn in_place(target: &Path, text: &[u8]) -> io::Result<Installed> {
    let mut file = OpenOptions::new().write(true).open(target)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)?;
    file.sync_all()?;
    Ok(Installed::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_place_shortens_and_lengthens() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hosts");
        for text in ["long text\n", "short\n", "", "long again\n"] {
            fs::write(&file, "some text\n").unwrap();
            let inode = fs::metadata(&file).unwrap().ino();
            assert_eq!(in_place(&file, text.as_bytes()).unwrap(), Installed::Done);
            assert_eq!((fs::read_to_string(&file).unwrap().as_str(), fs::metadata(&file).unwrap().ino()), (text, inode));
        }
    }
}
