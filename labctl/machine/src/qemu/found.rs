//! QEMU processes as /proc shows them (proc(5)): for machines that nothing else leads to. Where there is no /proc, none are found.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use crate::MachineError;

/// How long a QEMU may take to close its disks once it was told to exit.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// A process that runs one of labctl's machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Process id.
    pub pid: i32,
    /// `labctl:LAB/NODE`.
    pub label: String,
    /// The machine's UUID.
    pub uuid: String,
}

/// This user's machines that have a file below one of these folders.
pub fn below(folders: &[PathBuf]) -> Vec<Found> {
    // Commas are doubled in QEMU's options.
    let starts: Vec<String> = folders.iter().map(|folder| format!("={}/", folder.to_string_lossy().replace(',', ",,"))).collect();
    all().filter(|(_, words)| words.iter().any(|word| starts.iter().any(|start| word.contains(start)))).map(|(found, _)| found).collect()
}

/// This user's machine with that UUID.
pub fn of(uuid: &str) -> Option<Found> {
    all().map(|(found, _)| found).find(|found| found.uuid == uuid)
}

/// This user's machines with their command lines.
fn all() -> impl Iterator<Item = (Found, Vec<String>)> {
    let me = rustix::process::getuid().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    // A process may exit at any time; then it is no machine.
    let mine = entries.filter(move |entry| entry.metadata().is_ok_and(|about| about.uid() == me));
    mine.filter_map(|entry| machine(entry.file_name().to_str()?.parse().ok()?))
}

fn machine(pid: i32) -> Option<(Found, Vec<String>)> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<String> = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let after = |option: &str| words.iter().position(|word| word == option).and_then(|at| words.get(at + 1)).cloned();
    let label = after("-name")?.strip_prefix("guest=")?.to_owned();
    let uuid = after("-uuid")?;
    label.starts_with("labctl:").then_some((Found { pid, label, uuid }, words))
}

impl Found {
    /// Ends the process if it is still that machine, and waits for it to exit. It may close its disks first.
    pub async fn end(&self) -> Result<(), MachineError> {
        let failed = |source: io::Error| MachineError::Io { what: format!("end process {}", self.pid), source };
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        // Opened before the second look: from then on the process id cannot be reused unnoticed.
        let process = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Err(Errno::SRCH) => return Ok(()),
            opened => opened.map_err(|why| failed(why.into()))?,
        };
        if !machine(self.pid).is_some_and(|(found, _)| found == *self) {
            return Ok(());
        }
        // SAFETY: the descriptor is owned, and nothing closes or replaces it while it is registered.
        let process = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) }.map_err(|why| failed(why.into()))?;
        for signal in [Signal::TERM, Signal::KILL] {
            match pidfd_send_signal(process.get_ref(), signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(why) => return Err(failed(why.into())),
            }
            // Readable once it has exited (pidfd_open(2)).
            if let Ok(exited) = timeout(END_DEADLINE, process.readable()).await {
                return exited.map(drop).map_err(failed);
            }
        }
        Err(failed(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn machines_are_found_by_their_files_and_uuid_and_ended() {
        let home = tempfile::tempdir().unwrap();
        let uuid = format!("00000000-0000-4000-8000-{:012x}", std::process::id());
        let disk = format!("file={}/x,,y/disk", home.path().display());
        // A process with a machine's command line. It waits for input, which stays open until the process is ended. Its first line is
        // awaited: for a moment after exec(2) a process has no command line in /proc.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo; read line", "-name", "guest=labctl:x/a", "-uuid", &uuid, "-drive", &disk])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let wanted = Found { pid: child.id() as i32, label: "labctl:x/a".into(), uuid: uuid.clone() };
        assert_eq!(below(&[home.path().join("x,y")]), std::slice::from_ref(&wanted));
        assert_eq!(below(&[home.path().join("x")]), [], "only whole names");
        assert_eq!(of(&uuid), Some(wanted.clone()));
        Found { label: "labctl:x/b".into(), ..wanted.clone() }.end().await.unwrap();
        assert!(child.try_wait().unwrap().is_none(), "another machine must not be ended");
        wanted.end().await.unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(of(&uuid), None);
        wanted.end().await.unwrap();
    }
}
