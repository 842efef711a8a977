//! Files are replaced whole: a temporary file beside the target gets contents, owner and mode, and is then renamed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Timespec, Timestamps};

/// What a file is given before it becomes visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Permission bits.
    pub(crate) mode: u32,
    /// Owner; unchanged if none.
    pub(crate) uid: Option<u32>,
    /// Group; unchanged if none.
    pub(crate) gid: Option<u32>,
}

/// Removes the temporary file unless it was renamed.
struct Temporary {
    path: PathBuf,
    done: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// An unused name beside `path`.
pub(crate) fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = OsString::from(".labctl-");
    name.push(format!("{}-{}-", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    // Long names must not exceed the file system's 255 bytes.
    let own = path.file_name().unwrap_or_default();
    name.push(if own.len() > 150 { OsStr::new("long") } else { own });
    path.with_file_name(name)
}

fn create(path: &Path, attributes: &Attributes) -> io::Result<(Temporary, File)> {
    let temporary = beside(path);
    let _ = fs::remove_file(&temporary);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let temporary = Temporary { path: temporary, done: false };
    fchown(&file, attributes.uid, attributes.gid)?;
    Ok((temporary, file))
}

fn finish(mut temporary: Temporary, file: File, path: &Path, mode: u32) -> io::Result<()> {
    // After the owner: chown clears the set-id bits.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_data()?;
    drop(file);
    fs::rename(&temporary.path, path)?;
    temporary.done = true;
    Ok(())
}

/// Replaces the file at `path` with `bytes`.
pub(crate) fn replace(path: &Path, bytes: &[u8], attributes: &Attributes) -> io::Result<()> {
    let (temporary, mut file) = create(path, attributes)?;
    file.write_all(bytes)?;
    finish(temporary, file, path, attributes.mode)
}

/// Replaces the file at `path` with a copy of `source`.
pub(crate) fn replace_with_copy(path: &Path, source: &Path, attributes: &Attributes) -> io::Result<()> {
    let (temporary, mut file) = create(path, attributes)?;
    io::copy(&mut File::open(source)?, &mut file)?;
    finish(temporary, file, path, attributes.mode)
}

/// Replaces the file at `path` with what `source` yields, and sets its modification time. Fewer than `size` bytes are an error.
pub(crate) fn replace_from(
    path: &Path,
    source: &mut impl io::Read,
    size: u64,
    attributes: &Attributes,
    modified: Option<Timespec>,
) -> io::Result<()> {
    let (temporary, mut file) = create(path, attributes)?;
    if io::copy(source, &mut file)? != size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its contents are truncated"));
    }
    if let Some(modified) = modified {
        rustix::fs::futimens(&file, &Timestamps { last_access: modified, last_modification: modified })?;
    }
    finish(temporary, file, path, attributes.mode)
}

/// Replaces the file at `path` with `source` itself, by a rename if both are on one file system; `source` no longer exists afterwards.
pub(crate) fn replace_with(path: &Path, source: &Path, attributes: &Attributes) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if fs::metadata(parent)?.dev() == fs::metadata(source)?.dev() {
        let file = File::open(source)?;
        fchown(&file, attributes.uid, attributes.gid)?;
        file.set_permissions(fs::Permissions::from_mode(attributes.mode))?;
        file.sync_data()?;
        return fs::rename(source, path);
    }
    replace_with_copy(path, source, attributes)?;
    fs::remove_file(source)
}

/// Writes into the file in place: what `unsafe_writes` asks for, and the only way for a file that is a mount point.
pub(crate) fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// Whether a rename failed because the target is a mount point or on a different file system.
pub(crate) fn must_overwrite(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::EBUSY | libc::EXDEV | libc::ETXTBSY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_and_mode_appear_together_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        replace(&path, b"one", &Attributes { mode: 0o4711, uid: None, gid: None }).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o4711);
        let source = folder.path().join("s");
        fs::write(&source, "two").unwrap();
        replace_with(&path, &source, &Attributes { mode: 0o600, uid: None, gid: None }).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn long_names_of_any_letters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ä".repeat(127));
        replace(&path, b"one", &Attributes { mode: 0o600, uid: None, gid: None }).unwrap();
        assert_eq!(fs::read(path).unwrap(), b"one");
    }

    /// Runs itself again in its own namespace, where it may mount a file system of 256 KiB.
    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_else() {
        const NAME: &str = "modules::files::atomic_write::tests::a_full_disk_leaves_the_old_file_and_nothing_else";
        if let Some(folder) = std::env::var_os("LABCTL_TEST_TINY_DISK").map(PathBuf::from) {
            let path = folder.join("f");
            let attributes = Attributes { mode: 0o600, uid: None, gid: None };
            replace(&path, b"old", &attributes).unwrap();
            let source = folder.with_extension("source");
            fs::write(&source, vec![b'x'; 1 << 20]).unwrap();
            let fault = replace(&path, &vec![b'x'; 1 << 20], &attributes).unwrap_err();
            assert_eq!(fault.raw_os_error(), Some(libc::ENOSPC));
            assert_eq!(replace_with_copy(&path, &source, &attributes).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
            assert_eq!(fs::read(&path).unwrap(), b"old");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
            println!("the disk was full");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let tiny = folder.path().join("tiny");
        fs::create_dir(&tiny).unwrap();
        let script = "mount -t tmpfs -o size=256k tiny \"$LABCTL_TEST_TINY_DISK\" && exec \"$0\" --exact \"$1\" --nocapture || exit 99";
        let output = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg(NAME)
            .env("LABCTL_TEST_TINY_DISK", &tiny)
            .output();
        match output {
            Ok(output) if output.status.success() => {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(said.contains("the disk was full"), "{said}");
            }
            Ok(output) if output.status.code() == Some(101) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
            other => labctl_skip::skip!("namespaces", "no namespace to mount a small file system in: {other:?}"),
        }
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), "").unwrap();
        assert!(replace(&path, b"one", &Attributes { mode: 0o600, uid: None, gid: None }).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
