//! Files under temporary names beside their final ones.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

/// How all temporary names begin.
const PREFIX: &str = ".labctl-";

/// Tokens of the copies that this process is making.
static IN_USE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Names that no other copy uses.
pub struct Names {
    token: String,
    next: u32,
}

impl Names {
    pub fn new() -> Self {
        static COPIES: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let copy = COPIES.fetch_add(1, Ordering::Relaxed);
        let token = format!("{:x}-{now:x}-{copy:x}", std::process::id());
        IN_USE.lock().unwrap_or_else(PoisonError::into_inner).insert(token.clone());
        Self { token, next: 0 }
    }

    /// What the names have in common.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A new file beside a path, which only its owner can read. It is locked until it is closed: one without a lock is of a copy that was killed
    /// ([`sweep_dead`]).
    pub fn file_beside(&mut self, path: &Path) -> io::Result<(File, Temporary)> {
        loop {
            let temporary = self.beside(path);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary.path)?;
            // Another copy may look at it before it is locked, and even remove it. Where there are no locks, nobody removes anything.
            let taken = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            if !taken && file.metadata()?.nlink() > 0 {
                return Ok((file, temporary));
            }
        }
    }

    /// A new name beside a path.
    pub fn beside(&mut self, path: &Path) -> Temporary {
        self.next += 1;
        Temporary { path: path.with_file_name(format!("{PREFIX}{}-{}", self.token, self.next)), kept: false }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        IN_USE.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.token);
    }
}

/// Whether a copy with that token is being made by this process: two commands may copy to one place at a time.
pub fn is_in_use(token: &str) -> bool {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner).contains(token)
}

/// Whether a name is a temporary one, of any copy.
pub fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// Removes what the copy with that token left in a folder.
pub fn sweep(folder: &Path, token: &str) {
    let begin = format!("{PREFIX}{token}-");
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(begin.as_bytes()) {
            // What cannot be removed only takes space.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a name is one that [`Names`] gives: three hexadecimal numbers and a decimal one. Somebody's own file is hardly called so.
fn is_given(name: &std::ffi::OsStr) -> bool {
    let numbers = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).map(|numbers| numbers.split('-').collect::<Vec<_>>());
    match numbers.as_deref() {
        Some([token @ .., last]) if token.len() == 3 => {
            let all = |number: &str, radix: u32| !number.is_empty() && number.chars().all(|digit| digit.is_digit(radix));
            token.iter().all(|number| all(number, 16)) && all(last, 10)
        }
        _ => false,
    }
}

/// Removes what copies that were killed left in a folder, whoever made them.
pub fn sweep_dead(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !is_given(&entry.file_name()) || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(entry.path()) else { continue };
        if file.try_lock().is_ok() {
            // What cannot be removed only takes space.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Something under a temporary name; removed unless it gets its final one.
pub struct Temporary {
    pub path: PathBuf,
    kept: bool,
}

impl Temporary {
    /// Gives it its final name, in place of what has that name.
    pub fn keep(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_copy_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut names = Names::new();
        let (file, kept) = names.file_beside(&path("x")).unwrap();
        // A copy by another process, in a container or on another host, has a number that says nothing here.
        for name in [".labctl-1-2f-0-12", ".labctl-notes", ".labctl-1-2-3", ".labctl-1-2-3-4x", "labctl-1-2-3-4"] {
            fs::write(path(name), "half").unwrap();
        }
        sweep_dead(folder.path());
        assert!(kept.path.exists(), "it is being written");
        assert!(!path(".labctl-1-2f-0-12").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
        // Its process is killed.
        let left = kept.path.clone();
        std::mem::forget(kept);
        drop(file);
        sweep_dead(folder.path());
        assert!(!left.exists());
    }
}
