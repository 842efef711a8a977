//! Services that started under another identity and remember it: the journal its machine-id, sshd its host key.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use labctl_wire::Identity;

use crate::systemd::Systemd;

const JOURNAL: &str = "systemd-journald.service";

/// Starts the journal when the kernel has something for auditors.
const AUDIT: &str = "systemd-journald-audit.socket";

/// Services whose standard output nobody misses: they log by other ways.
const SILENT: [&str; 4] = ["dbus.service", "labctl-agent.service", "serial-getty@ttyS0.service", "getty@tty1.service"];

/// Stops the journal and forgets what is in it, so that each fork starts its own when something is logged first. Where a service
/// runs whose output the journal takes, it is left alone: forks start it anew instead, which keeps those streams.
pub fn stop_journal(machine_id: &str) {
    let Ok(mut systemd) = Systemd::connect(Path::new("/"), None, None) else { return };
    let silent = |name: &str| SILENT.contains(&name) || name.starts_with("systemd-") || name.starts_with("user@");
    let Ok(running) = systemd.running_services() else { return };
    let all_silent = running.iter().all(|name| silent(name));
    if all_silent {
        // The kernel tells auditors when the clock is set; the journal opens an audit socket of its own once it runs.
        let _ = systemd.job("StopUnit", AUDIT, true);
        if systemd.job("StopUnit", JOURNAL, true).is_ok() {
            forget_journal(machine_id);
        }
    }
}

/// Whether systemd was told to be quiet. Part of a template's memory, so its forks know.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Whether this is a fork that has its identity; who waits for that is told.
static AWAKE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// `SIGRTMIN+23` as systemd counts: glibc's first free real-time signal is 34, musl's, with which the agent is built, is 35.
const SPEAK: i32 = 34 + 23;

/// For how long systemd says nothing about a fork's waking, at most.
const SILENCE: Duration = Duration::from_secs(3);

/// Has systemd say nothing of little importance: the first thing that a fork sees is a clock that jumps, and a line about it would start
/// the journal in all of them at once. Who has it speak again in a fork of which nobody wants anything is started here, for that would
/// cost each fork more than its end.
pub fn hush() {
    *AWAKE.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    let speak_later = || {
        let mut awake = AWAKE.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*awake {
            awake = AWAKE.1.wait(awake).unwrap_or_else(PoisonError::into_inner);
        }
        drop(awake);
        thread::sleep(SILENCE);
        speak();
    };
    if thread::Builder::new().name("speak".into()).spawn(speak_later).is_err() {
        return;
    }
    let hushed = Systemd::connect(Path::new("/"), None, None).is_ok_and(|mut systemd| systemd.set_log_level("notice").is_ok());
    QUIET.store(hushed, Ordering::SeqCst);
}

/// Lets systemd speak again, if it was hushed: before the first thing that anybody wants of the guest.
pub fn speak() {
    if QUIET.swap(false, Ordering::SeqCst)
        && let Some(init) = rustix::process::Pid::from_raw(1)
    {
        // SAFETY: kill(2) with a process id and a signal number.
        unsafe { libc::kill(init.as_raw_nonzero().get(), SPEAK) };
    }
}

/// Whether a unit is active (systemd keeps a link for each that is).
fn is_active(unit: &str) -> bool {
    fs::symlink_metadata(format!("/run/systemd/units/invocation:{unit}")).is_ok()
}

/// Has them start anew, without waiting for it: a fork answers before that is done. Their descriptors and sockets stay with
/// systemd, so that nobody who talks to them is cut off.
pub fn renew(before: &Identity, now: &Identity) {
    let mut units = Vec::new();
    let other_machine = before.machine_id != now.machine_id;
    if other_machine {
        units.push(JOURNAL);
    }
    if before.ssh_host_key != now.ssh_host_key {
        units.push("ssh.service");
    }
    *AWAKE.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    AWAKE.1.notify_all();
    // One that does not run remembers nothing.
    units.retain(|unit| is_active(unit));
    if units.is_empty() {
        return;
    }
    let old = before.machine_id.clone();
    let restart = move || {
        match Systemd::connect(Path::new("/"), None, None) {
            Ok(mut systemd) => {
                for unit in units {
                    // It may have ended meanwhile.
                    let _ = systemd.job("TryRestartUnit", unit, true);
                }
            }
            Err(why) => eprintln!("labctl-agent: services keep the old identity: {why}"),
        }
        if other_machine && !old.is_empty() {
            forget_journal(&old);
        }
    };
    if let Err(why) = thread::Builder::new().name("renew".into()).spawn(restart) {
        eprintln!("labctl-agent: services keep the old identity: {why}");
    }
}

/// What the template wrote while it booted is no event of this machine's.
fn forget_journal(machine_id: &str) {
    let journal = Path::new("/var/log/journal").join(machine_id);
    if let Err(why) = fs::remove_dir_all(&journal)
        && why.kind() != io::ErrorKind::NotFound
    {
        eprintln!("labctl-agent: {}: {why}", journal.display());
    }
}
