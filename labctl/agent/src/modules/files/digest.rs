//! Checksums of files, cached while a file's times and size stay the same.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{LazyLock, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::modules::text::hex;

/// SHA-256 and SHA-1 of a file, hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) sha256: String,
    /// What Ansible returns as `checksum`.
    pub(crate) sha1: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Maximum number of files whose sums are cached; the agent lives as long as its guest.
const REMEMBERED: usize = 4096;

/// A file changed again within one tick of the file system's clock would look the same, so sums of files changed less than this many
/// seconds ago are not cached.
const SETTLED: i64 = 2;

static KNOWN: LazyLock<Mutex<HashMap<Identity, Sums>>> = LazyLock::new(Mutex::default);

fn identity(meta: &Metadata) -> Identity {
    Identity {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    }
}

/// Sums of the file at `path`; read only once while it does not change.
pub(crate) fn sums(path: &Path) -> io::Result<Sums> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    let key = identity(&meta);
    if let Ok(known) = KNOWN.lock()
        && let Some(sums) = known.get(&key)
    {
        return Ok(sums.clone());
    }
    let (mut sha256, mut sha1) = (Sha256::new(), Sha1::new());
    each_block(&mut file, |block| {
        sha256.update(block);
        sha1.update(block);
    })?;
    let sums = Sums { sha256: hex(&sha256.finalize()), sha1: hex(&sha1.finalize()) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    if (now - meta.ctime()).abs() > SETTLED
        && let Ok(mut known) = KNOWN.lock()
    {
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, sums.clone());
    }
    Ok(sums)
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
