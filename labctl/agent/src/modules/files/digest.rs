//! Checksums of files, which are read again only if a file's size, times or inode differ.
//!
//! What was computed is kept in memory, and for large files also on disk ([`digest_notes`](super::digest_notes)), so that a node that was
//! forked from a layer does not read programs again that the layer's builder has checked.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::digest_notes::Notes;
use crate::modules::text::hex;

/// SHA-256 and SHA-1 of a file, hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub(crate) sha256: String,
    /// What Ansible returns as `checksum`.
    pub(crate) sha1: String,
}

/// What differs after any change of a file's contents. The device is not part of it: a clone of a disk may have another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    /// Seconds, nanoseconds.
    modified: (i64, i64),
    /// Set by the kernel at every change of contents or attributes; no program can set it back.
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// Maximum number of files whose sums are kept in memory; the agent lives as long as its guest.
const REMEMBERED: usize = 4096;

/// A file changed again within one tick of the file system's clock would look the same, so sums of files changed less than this many
/// seconds ago are not kept. The coarsest clock is FAT's.
const SETTLED: i64 = 2;

/// Two ticks of the coarsest clock by which a kernel stamps files (HZ=100), in nanoseconds.
const TICKS: i64 = 20_000_000;

/// Reading a smaller file costs less than a note on disk.
const LARGE: u64 = 1 << 20;

/// Sums that are known.
struct Known {
    memory: HashMap<(u64, Stamp), Sums>,
    notes: Notes,
}

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(|| Mutex::new(Known::new(Notes::of_this_machine())));

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    fn new(notes: Notes) -> Self {
        Self { memory: HashMap::new(), notes }
    }

    fn find(&mut self, path: &Path, meta: &Metadata) -> Option<Sums> {
        let stamp = Stamp::of(meta);
        if let Some(sums) = self.memory.get(&(meta.dev(), stamp)) {
            return Some(sums.clone());
        }
        if meta.size() < LARGE { None } else { self.notes.find(path, &stamp) }
    }

    fn keep(&mut self, path: &Path, meta: &Metadata, sums: &Sums) {
        if self.memory.len() >= REMEMBERED {
            self.memory.clear();
        }
        self.memory.insert((meta.dev(), Stamp::of(meta)), sums.clone());
        if meta.size() >= LARGE {
            self.notes.keep(path, Stamp::of(meta), sums);
        }
    }
}

/// Sums of the file at `path`; read only once while it does not change.
pub(crate) fn sums(path: &Path) -> io::Result<Sums> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    if let Some(sums) = known().find(path, &meta) {
        return Ok(sums);
    }
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let sums = read(&mut file)?;
    if (begun - meta.ctime()).abs() > SETTLED {
        known().keep(path, &meta, &sums);
    }
    Ok(sums)
}

fn read(file: &mut File) -> io::Result<Sums> {
    let (mut sha256, mut sha1) = (Sha256::new(), Sha1::new());
    each_block(file, |block| {
        sha256.update(block);
        sha1.update(block);
    })?;
    Ok(Sums { sha256: hex(&sha256.finalize()), sha1: hex(&sha1.finalize()) })
}

/// Keeps the sums of a file that this agent wrote, and has only renamed, linked or given other attributes since: that changes its stamp, but
/// not its contents. A file that was written to at the same tick of the clock is left out, because then the time of the next write might be
/// the same; it is read once more when its sums are asked for.
pub(crate) fn keep(path: &Path, sums: &Sums) {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return };
    let between = (meta.ctime() - meta.mtime()).saturating_mul(1_000_000_000).saturating_add(meta.ctime_nsec() - meta.mtime_nsec());
    if meta.is_file() && meta.size() >= LARGE && between > TICKS {
        known().keep(path, &meta, sums);
    }
}

/// Sums of bytes in memory.
pub(crate) fn sums_of(bytes: &[u8]) -> Sums {
    Sums { sha256: hex(&Sha256::digest(bytes)), sha1: hex(&Sha1::digest(bytes)) }
}

fn each_block(file: &mut File, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut block = vec![0; 128 << 10];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(length) => each(&block[..length]),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}

fn stream<D: Digest>(path: &Path) -> io::Result<String> {
    let mut digest = D::new();
    each_block(&mut File::open(path)?, |block| digest.update(block))?;
    Ok(hex(&digest.finalize()))
}

/// Sum of a file by algorithm name (`md5`, `sha1`, `sha224`, `sha256`, `sha384`, `sha512`); none if the name is unknown.
pub(crate) fn by_name(path: &Path, algorithm: &str) -> Option<io::Result<String>> {
    Some(match algorithm {
        "md5" => stream::<Md5>(path),
        "sha" | "sha1" => sums(path).map(|sums| sums.sha1),
        "sha224" => stream::<Sha224>(path),
        "sha256" => sums(path).map(|sums| sums.sha256),
        "sha384" => stream::<Sha384>(path),
        "sha512" => stream::<Sha512>(path),
        _ => return None,
    })
}

/// MD5 of bytes, hex.
pub(crate) fn md5_of(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of the file as `known` finds or computes them; `None` if it had to read it.
    fn found(known: &mut Known, path: &Path) -> Option<Sums> {
        known.find(path, &std::fs::metadata(path).unwrap())
    }

    /// What a guest finds on its disk after its agent has started anew.
    fn restarted(folder: &Path) -> Known {
        Known::new(Notes::at(&folder.join("digests.json")))
    }

    #[test]
    fn large_files_are_known_after_a_restart_until_anything_about_them_differs() {
        let folder = tempfile::tempdir().unwrap();
        let (path, small) = (folder.path().join("program"), folder.path().join("small"));
        let contents = vec![7; LARGE as usize];
        std::fs::write(&path, &contents).unwrap();
        std::fs::write(&small, "x").unwrap();
        let sums = sums_of(&contents);
        let meta = |path: &Path| std::fs::metadata(path).unwrap();
        let mut known = restarted(folder.path());
        known.keep(&path, &meta(&path), &sums);
        known.keep(&small, &meta(&small), &sums_of(b"x"));
        assert_eq!(found(&mut restarted(folder.path()), &path), Some(sums.clone()));
        assert_eq!(found(&mut restarted(folder.path()), &small), None, "only large files are noted");

        // Other contents of the same size, with the old modification time: only the change time tells.
        let modified = meta(&path).modified().unwrap();
        let mut other = contents.clone();
        other[0] = 8;
        let before = Stamp::of(&meta(&path));
        // Until the clock has gone on.
        while Stamp::of(&meta(&path)) == before {
            std::fs::write(&path, &other).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        }
        assert_eq!((meta(&path).modified().unwrap(), meta(&path).len()), (modified, LARGE));
        assert_eq!(found(&mut known, &path), None);
        assert_eq!(found(&mut restarted(folder.path()), &path), None);
        assert_eq!(super::sums(&path).unwrap(), sums_of(&other));
    }

    #[test]
    fn another_file_of_the_same_name_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("program"), folder.path().join("aside"));
        std::fs::write(&path, vec![7; LARGE as usize]).unwrap();
        let mut known = restarted(folder.path());
        known.keep(&path, &std::fs::metadata(&path).unwrap(), &sums_of(b"old"));
        std::fs::rename(&path, aside).unwrap();
        std::fs::write(&path, vec![7; LARGE as usize]).unwrap();
        assert_eq!(found(&mut restarted(folder.path()), &path), None);
    }

    #[test]
    fn what_was_just_written_is_not_trusted_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let wrong = sums_of(b"other");
        std::fs::write(&path, vec![7; LARGE as usize]).unwrap();
        // Written and renamed in one tick: the next write might get the same times.
        keep(&path, &wrong);
        let right = super::sums(&path).unwrap();
        assert_ne!(right, wrong);
        std::fs::write(&path, vec![8; LARGE as usize]).unwrap();
        assert_ne!(super::sums(&path).unwrap(), right, "it was read less than a tick after its last change");
        // Where time has passed between the last write and the new attributes, they are kept.
        let earlier = SystemTime::now() - std::time::Duration::from_secs(1);
        File::options().write(true).open(&path).unwrap().set_modified(earlier).unwrap();
        keep(&path, &wrong);
        assert_eq!(super::sums(&path).unwrap(), wrong);
    }

    #[test]
    fn sums_follow_the_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "hello").unwrap();
        let first = sums(&path).unwrap();
        assert_eq!(first.sha1, "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
        assert_eq!(first, sums_of(b"hello"));
        std::fs::write(&path, "jello").unwrap();
        assert_ne!(sums(&path).unwrap(), first);
        assert_eq!(by_name(&path, "md5").unwrap().unwrap(), md5_of(b"jello"));
        assert!(by_name(&path, "crc").is_none());
    }
}
