//! Faults of single items: the rest is copied, and all are reported together.

use std::io;
use std::path::Path;

use crate::TreeError;

/// How many are reported one by one.
const REPORTED: usize = 20;

/// The faults so far.
#[derive(Debug, Default)]
pub struct Faults {
    said: Vec<String>,
    more: usize,
}

impl Faults {
    /// Adds one.
    pub fn add(&mut self, path: &Path, why: impl std::fmt::Display) {
        if self.said.len() < REPORTED {
            self.said.push(format!("{}: {why}", path.display()));
        } else {
            self.more += 1;
        }
    }

    /// Adds what an operation failed with. A full disk ends the copy, because everything after it would fail too.
    pub fn take<T>(&mut self, path: &Path, done: io::Result<T>) -> Result<Option<T>, TreeError> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(why) if matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem) => {
                Err(TreeError::at(path, why))
            }
            Err(why) => {
                self.add(path, why);
                Ok(None)
            }
        }
    }

    /// All of them, as lines.
    pub fn lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.said.push(format!("... and {} more", self.more));
        }
        self.said
    }
}
