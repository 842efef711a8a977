//! Services that started under a different identity and still hold it: the journal its machine-id, sshd its host key.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use labctl_wire::{Identity, Proxy};

use crate::systemd::Systemd;

const JOURNAL: &str = "systemd-journald.service";

/// Starts the journal when the kernel has an audit message.
const AUDIT: &str = "systemd-journald-audit.socket";

/// Services whose standard output is not needed: they log in other ways.
const SILENT: [&str; 4] = ["dbus.service", "labctl-agent.service", "serial-getty@ttyS0.service", "getty@tty1.service"];

/// Stops the journal and deletes its contents, so that each fork starts its own when something is first logged. If a service is running
/// whose output goes to the journal, the journal is left alone: forks then restart it, which keeps those streams open.
pub fn stop_journal(machine_id: &str) {
    let Ok(mut systemd) = Systemd::connect(Path::new("/"), None, None) else { return };
    let silent = |name: &str| SILENT.contains(&name) || name.starts_with("systemd-") || name.starts_with("user@");
    let Ok(running) = systemd.running_services() else { return };
    let all_silent = running.iter().all(|name| silent(name));
    if all_silent {
        // Setting the clock produces an audit message; the journal opens its own audit socket once it runs.
        let _ = systemd.job("StopUnit", AUDIT, true);
        if systemd.job("StopUnit", JOURNAL, true).is_ok() {
            forget_journal(machine_id);
        }
    }
}

/// Whether systemd was told to be quiet. Part of a template's memory, so its forks know it.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Whether this is a fork that has its identity; waiting threads are notified.
static AWAKE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// `SIGRTMIN+23` as systemd counts: the first free real-time signal is 34 in glibc, but 35 in musl, which the agent is built with.
const SPEAK: i32 = 34 + 23;

/// Longest time that systemd stays quiet about a fork's wake-up.
const SILENCE: Duration = Duration::from_secs(3);

/// Makes systemd log nothing unimportant: the first thing that a fork sees is a clock jump, and a log line about it would start the
/// journal in all of them at once. The thread that lifts this in a fork without any requests is started here: starting it in each fork
/// would cost more than letting it finish there.
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

/// Lets systemd log again if it was hushed. Must come before the first request to the guest.
pub fn speak() {
    if QUIET.swap(false, Ordering::SeqCst)
        && let Some(init) = rustix::process::Pid::from_raw(1)
    {
        // SAFETY: kill(2) with a process id and a signal number.
        unsafe { libc::kill(init.as_raw_nonzero().get(), SPEAK) };
    }
}

/// Whether a unit is active (systemd keeps a link for each active unit).
fn is_active(unit: &str) -> bool {
    fs::symlink_metadata(format!("/run/systemd/units/invocation:{unit}")).is_ok()
}

/// Gives systemd the proxy for everything that it starts from now on. A booting systemd finds it in its configuration.
pub fn change_environment(before: &Identity, now: &Identity) {
    if before.proxy == now.proxy {
        return;
    }
    let of = |identity: &Identity| -> Vec<(&'static str, String)> {
        let all = identity.proxy.iter().flat_map(Proxy::environment);
        all.map(|(name, value)| (name, value.to_owned())).collect()
    };
    let set: Vec<String> = of(now).iter().map(|(name, value)| format!("{name}={value}")).collect();
    let gone: Vec<&str> = of(before).iter().map(|(name, _)| *name).collect();
    let changed = Systemd::connect(Path::new("/"), None, None).and_then(|mut systemd| systemd.change_environment(&gone, &set));
    if let Err(why) = changed {
        eprintln!("labctl-agent: services do not know the proxy until the next boot: {why}");
    }
}

/// Restarts these services without waiting: a fork answers before that is done. systemd keeps their descriptors and sockets, so that no
/// client is cut off.
pub fn renew(before: &Identity, now: &Identity) {
    let mut units = Vec::new();
    let other_machine = before.machine_id != now.machine_id;
    if other_machine {
        units.push(JOURNAL);
    }
    if (&before.ssh_host_key, &before.more_host_keys) != (&now.ssh_host_key, &now.more_host_keys) {
        units.push("ssh.service");
    }
    *AWAKE.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    AWAKE.1.notify_all();
    // A service that is not running holds no identity.
    units.retain(|unit| is_active(unit));
    if units.is_empty() {
        return;
    }
    let old = before.machine_id.clone();
    let restart = move || {
        match Systemd::connect(Path::new("/"), None, None) {
            Ok(mut systemd) => {
                for unit in units {
                    // It may have stopped meanwhile.
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

/// Log entries that the template wrote while booting are not events of this machine.
fn forget_journal(machine_id: &str) {
    let journal = Path::new("/var/log/journal").join(machine_id);
    if let Err(why) = fs::remove_dir_all(&journal)
        && why.kind() != io::ErrorKind::NotFound
    {
        eprintln!("labctl-agent: {}: {why}", journal.display());
    }
}
