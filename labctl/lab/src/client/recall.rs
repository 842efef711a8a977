//! Finding a supervisor whose socket is gone, by the lock that it holds.
//!
//! A supervisor that catches [`RECALL`] then listens at a new socket: it still has its connections to the machines, which nothing else could
//! open again if their sockets are gone too. One of another version, which may listen elsewhere, does not catch that signal.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

use crate::home::LabHome;

/// Tells a supervisor to look after its socket.
pub const RECALL: Signal = Signal::USR1;

/// How long it may take to listen again. It may be adopting machines first.
const DEADLINE: Duration = Duration::from_secs(3);

/// Pause between looks at the socket, which does not report that it exists.
const AGAIN: Duration = Duration::from_millis(20);

/// A process that is the lab's supervisor, whatever its version.
pub struct Holder {
    pub pid: Pid,
    pub process: AsyncFd<OwnedFd>,
}

impl Holder {
    /// The process that holds the lock of the lab's supervisor; none if there is none, or if the system does not show it.
    pub fn of(home: &LabHome) -> Option<Self> {
        let entries = fs::read_dir("/proc").ok()?.flatten();
        let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
        pids.filter(|pid| holds(*pid, home)).find_map(|pid| {
            // Opened before the second look: from then on the process id cannot be reused unnoticed.
            let process = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
            // SAFETY: the descriptor is owned, and nothing closes or replaces it while it is registered.
            let process = unsafe { AsyncFd::register_with_interest(process, tokio::io::Interest::READABLE) }.ok()?;
            holds(pid, home).then_some(Self { pid, process })
        })
    }

    /// Whether the recall is harmless to it.
    fn listens_to_recall(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero())).unwrap_or_default();
        catches(&status, RECALL)
    }
}

/// Whether the process was started as the lab's supervisor and has the lab's lock open.
fn holds(pid: Pid, home: &LabHome) -> bool {
    let Some(lab) = home.folder().file_name() else { return false };
    is_supervisor(pid, lab.as_encoded_bytes()) && has_open(pid, home)
}

/// Whether the process was started as `labctl supervisor LAB`.
pub fn is_supervisor(pid: Pid, lab: &[u8]) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    arguments.windows(2).any(|pair| pair == [&b"supervisor"[..], lab])
}

fn has_open(pid: Pid, home: &LabHome) -> bool {
    let Ok(lock) = fs::metadata(home.supervisor_lock()) else { return false };
    let open = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::metadata(entry.path()).ok()).any(|file| (file.dev(), file.ino()) == (lock.dev(), lock.ino()))
}

/// `SigCgt` of a status file (proc_pid_status(5)): a mask in hexadecimal, whose lowest bit is signal 1.
fn catches(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

/// Has a supervisor whose socket is gone listen at a new one; returns once it exists. False if there is no such supervisor.
pub async fn recall(home: &LabHome) -> bool {
    let Some(holder) = Holder::of(home).filter(Holder::listens_to_recall) else { return false };
    if pidfd_send_signal(holder.process.get_ref(), RECALL).is_err() {
        return false;
    }
    let listens = async {
        while !home.supervisor_socket().exists() {
            sleep(AGAIN).await;
        }
    };
    tokio::select! {
        came = timeout(DEADLINE, listens) => came.is_ok(),
        // It was shutting down.
        _ = holder.process.readable() => false,
    }
}

/// A supervisor that holds the lock and never listens at a socket that this version knows.
pub fn deaf(home: &LabHome) -> Option<Holder> {
    Holder::of(home).filter(|holder| !holder.listens_to_recall())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caught_signal_is_a_bit_in_the_status() {
        let status = "Name:\tlabctl\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000200\n";
        assert!(catches(status, Signal::USR1) && !catches(status, Signal::TERM));
        assert!(!catches("", Signal::USR1));
    }
}
