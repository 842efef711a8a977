//! Files under temporary names beside their final ones.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

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
