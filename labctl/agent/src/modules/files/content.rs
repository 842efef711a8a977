//! The wanted contents of a file: a text from the task, or a file that the controller puts into the spool.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use labctl_wire::ModuleCall;

use crate::modules::call::outcome::{Attempt, Fault};
use crate::modules::call::task::Task;
use crate::modules::files::atomic_write::{Attributes, must_overwrite, overwrite, replace, replace_with, replace_with_copy};
use crate::modules::files::digest::{self, Sums};

/// Contents for a file.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// In memory.
    Bytes(Vec<u8>),
    /// Sent by the controller, named by SHA-256; in the spool once it has arrived.
    Spool { sha256: String, size: u64, path: PathBuf },
    /// An existing file of the guest, which is kept.
    Local(PathBuf),
}

impl Content {
    /// The contents announced by the arguments `content` or `_sha256` and `_size`; none if those are missing.
    pub(crate) fn announced(task: &Task<'_>) -> Result<Option<Self>, Fault> {
        if let Some(text) = task.args.text("content") {
            return Ok(Some(Self::Bytes(text.as_bytes().to_vec())));
        }
        let Some(sha256) = task.args.text("_sha256") else {
            return Ok(None);
        };
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("_sha256 is not a SHA-256 in hex: {sha256}").into());
        }
        let size = task.args.get("_size").and_then(|size| size.as_u64());
        let size = size.ok_or_else(|| Fault::from("_sha256 requires _size"))?;
        let sha256 = sha256.to_lowercase();
        let path = task.root.join(ModuleCall::spool_path(&sha256));
        Ok(Some(Self::Spool { sha256, size, path }))
    }

    /// Whether the contents are available now.
    pub(crate) fn here(&self) -> bool {
        match self {
            Self::Spool { size, path, .. } => fs::metadata(path).is_ok_and(|meta| meta.len() == *size),
            _ => true,
        }
    }

    /// Length in bytes.
    pub(crate) fn size(&self) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::Spool { size, .. } => Ok(*size),
            Self::Local(path) => Ok(fs::metadata(path)?.len()),
        }
    }

    /// Whether the file at `path` has exactly these contents; sizes are compared first.
    pub(crate) fn is_at(&self, path: &Path) -> io::Result<bool> {
        let meta = match fs::metadata(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        if !meta.is_file() || meta.len() != self.size()? {
            return Ok(false);
        }
        match self {
            Self::Bytes(bytes) => Ok(fs::read(path)? == *bytes),
            Self::Spool { sha256, .. } => Ok(digest::sums(path)?.sha256 == *sha256),
            Self::Local(source) => Ok(digest::sums(path)? == digest::sums(source)?),
        }
    }

    /// The bytes, if available and no more than `most`.
    pub(crate) fn bytes(&self, most: usize) -> Option<Vec<u8>> {
        if self.size().ok()? > most as u64 {
            return None;
        }
        match self {
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::Spool { path, .. } | Self::Local(path) => fs::read(path).ok(),
        }
    }

    /// The checksums, if the contents are available.
    pub(crate) fn sums(&self) -> io::Result<Sums> {
        match self {
            Self::Bytes(bytes) => Ok(digest::sums_of(bytes)),
            Self::Spool { path, .. } | Self::Local(path) => digest::sums(path),
        }
    }

    /// A file with the contents, for programs that check them; a new one beside `target` if they are in memory.
    pub(crate) fn as_file(&self, target: &Path) -> io::Result<PathBuf> {
        match self {
            Self::Bytes(bytes) => {
                let path = crate::modules::files::atomic_write::beside(target);
                replace(&path, bytes, &Attributes { mode: 0o600, uid: None, gid: None })?;
                Ok(path)
            }
            Self::Spool { path, .. } | Self::Local(path) => Ok(path.clone()),
        }
    }

    /// Puts the contents at `path`; those in the spool are moved out of it.
    pub(crate) fn put(&self, path: &Path, attributes: &Attributes, in_place: bool) -> Result<(), Fault> {
        let put = match self {
            Self::Bytes(bytes) => replace(path, bytes, attributes),
            Self::Spool { path: spool, .. } => replace_with(path, spool, attributes),
            Self::Local(source) => replace_with_copy(path, source, attributes),
        };
        match put {
            Err(err) if must_overwrite(&err) && in_place => {
                let bytes = self.bytes(usize::MAX).unwrap_or_default();
                overwrite(path, &bytes).attempt("write into", path)?;
                self.discard();
                Ok(())
            }
            other => other.attempt("write", path),
        }
    }

    /// Removes the contents from the spool.
    pub(crate) fn discard(&self) {
        if let Self::Spool { path, .. } = self {
            let _ = fs::remove_file(path);
        }
    }
}

/// Copies `path` to a name with a timestamp, as Ansible's `backup` does; returns the new name.
pub(crate) fn back_up(path: &Path) -> Result<PathBuf, Fault> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(path).attempt("inspect", path)?;
    let now = crate::modules::system::clock::moment(std::time::SystemTime::now(), false);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.{}", std::process::id(), now.backup()));
    let backup = PathBuf::from(name);
    let attributes = Attributes { mode: meta.mode() & 0o7777, uid: Some(meta.uid()), gid: Some(meta.gid()) };
    replace_with_copy(&backup, path, &attributes).attempt("back up", path)?;
    Ok(backup)
}
