//! A machine's console log, followed as it grows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use labctl_lab::follow::Changes;

use crate::kernel::{Listener, Said};

/// The log of one machine.
pub struct Console {
    path: PathBuf,
    /// None if the host does not report changes; then the log is read when something else happens.
    changes: Option<Changes>,
    read: u64,
    listener: Listener,
}

/// The length of a file; 0 if it does not exist.
pub fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |about| about.len())
}

impl Console {
    /// Opens the log; the first `heard` bytes have already been processed.
    pub fn open(path: &Path, heard: u64) -> Self {
        let changes = Changes::watch(path);
        if let Err(why) = &changes {
            tracing::warn!("{}: cannot watch it for changes: {why}", path.display());
        }
        Self { path: path.to_owned(), changes: changes.ok(), read: heard, listener: Listener::default() }
    }

    /// How many bytes have been processed, in whole lines.
    pub fn heard(&self) -> u64 {
        self.read.saturating_sub(self.listener.pending())
    }

    /// What the kernel has reported since the last call.
    pub fn hear(&mut self) -> Vec<Said> {
        match self.rest() {
            Ok(bytes) => self.listener.hear(&bytes),
            Err(why) => {
                tracing::warn!("{}: {why}", self.path.display());
                Vec::new()
            }
        }
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        if file.metadata()?.len() < self.read {
            // The file has been truncated.
            (self.read, self.listener) = (0, Listener::default());
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        self.read += file.read_to_end(&mut bytes)? as u64;
        Ok(bytes)
    }

    /// Waits until the kernel reports something. May be dropped while it waits.
    pub async fn next(&mut self) -> Vec<Said> {
        loop {
            match &mut self.changes {
                Some(changes) => {
                    if let Err(why) = changes.next().await {
                        tracing::warn!("{}: can no longer watch it for changes: {why}", self.path.display());
                        self.changes = None;
                    }
                }
                None => std::future::pending().await,
            }
            let said = self.hear();
            if !said.is_empty() {
                return said;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use labctl_lab::event::Trouble;
    use labctl_lab::life::Complaint;

    fn panic() -> Said {
        Said::Complaint(Complaint { trouble: Trouble::Panic, line: "Kernel panic - not syncing: x".into() })
    }

    #[tokio::test]
    async fn what_is_printed_is_heard_as_it_comes() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        log.write_all(b"[    1.000000] Kernel panic - not syncing: of an earlier machine\n").unwrap();
        let mut console = Console::open(log.path(), length(log.path()));
        let path = log.path().to_owned();
        let printing = async {
            for piece in ["[    2.000000] Kernel pa", "nic - not syncing: x\r", "\nmore"] {
                log.write_all(piece.as_bytes()).unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (said, ()) = tokio::join!(console.next(), printing);
        assert_eq!(said, [panic()]);
        assert_eq!(console.hear(), []);
        assert_eq!(console.heard(), length(&path) - 4, "the line that has begun is heard again");
        log.as_file().set_len(0).unwrap();
        log.as_file_mut().seek(SeekFrom::Start(0)).unwrap();
        log.write_all(b"Kernel panic - not syncing: x\n").unwrap();
        assert_eq!(console.hear(), [panic()], "a log that was emptied begins anew");
    }
}
