//! Whether the process that is responsible for a fault still runs. One that has exited and was not reaped does not.

use std::os::fd::OwnedFd;

use labctl_chaos::Owner;
use labctl_machine::vitals::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The process, held; none if it is gone.
fn hold(owner: Owner) -> Option<Result<OwnedFd, Errno>> {
    let process = match pidfd_open(Pid::from_raw(owner.pid)?, PidfdFlags::NONBLOCK) {
        Err(Errno::SRCH) => return None,
        held => held,
    };
    // Another process may have the id by now; if not, it cannot get it unnoticed from here on.
    (Process::of(owner.pid).0.ticks == owner.ticks).then_some(process)
}

/// Whether it is gone. False if that cannot be found out.
pub fn is_gone(owner: Owner) -> bool {
    match hold(owner) {
        None => true,
        // A pidfd is readable once its process has exited (pidfd_open(2)).
        Some(Ok(process)) => poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1),
        Some(Err(_)) => false,
    }
}

/// Waits until it is gone; forever if that cannot be found out.
pub async fn gone(owner: Owner) {
    let Some(held) = hold(owner) else { return };
    let watch = |process| -> std::io::Result<AsyncFd<OwnedFd>> {
        // SAFETY: the descriptor is owned, and nothing closes or replaces it while it is registered.
        Ok(unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) }?)
    };
    match held.map_err(std::io::Error::from).and_then(watch) {
        Ok(process) => drop(process.readable().await),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn a_process_is_gone_once_it_has_exited_even_if_nobody_reaps_it() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id() as i32;
        let owner = Owner { pid, ticks: Process::of(pid).0.ticks };
        assert!(!is_gone(owner));
        assert!(is_gone(Owner { ticks: owner.ticks + 1, ..owner }), "another process had that id");
        drop(child.stdin.take());
        gone(owner).await;
        assert!(is_gone(owner));
        child.wait().unwrap();
        assert!(is_gone(owner));
        gone(owner).await;
    }
}
