//! Services that started under another identity and remember it: the journal its machine-id, sshd its host key.

use std::fs;
use std::io;
use std::path::Path;

use labctl_wire::Identity;

use crate::systemd::Systemd;

const JOURNAL: &str = "systemd-journald.service";

/// Services whose standard output nobody misses: they log by other ways.
const SILENT: [&str; 4] = ["dbus.service", "labctl-agent.service", "serial-getty@ttyS0.service", "getty@tty1.service"];

/// Stops the journal and forgets what is in it, so that each fork starts its own when something is logged first. Where a service
/// runs whose output the journal takes, it is left alone: forks start it anew instead, which keeps those streams.
pub fn stop_journal(machine_id: &str) {
    let Ok(mut systemd) = Systemd::connect(Path::new("/"), None, None) else { return };
    let silent = |name: &str| SILENT.contains(&name) || name.starts_with("systemd-") || name.starts_with("user@");
    let Ok(running) = systemd.running_services() else { return };
    let all_silent = running.iter().all(|name| silent(name));
    if all_silent && systemd.job("StopUnit", JOURNAL, true).is_ok() {
        forget_journal(machine_id);
    }
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
    if units.is_empty() {
        return;
    }
    let old = before.machine_id.clone();
    let restart = move || {
        match Systemd::connect(Path::new("/"), None, None) {
            Ok(mut systemd) => {
                for unit in units {
                    // Not there, or not active: then it remembers nothing.
                    let _ = systemd.job("TryRestartUnit", unit, true);
                }
            }
            Err(why) => eprintln!("labctl-agent: services keep the old identity: {why}"),
        }
        if other_machine && !old.is_empty() {
            forget_journal(&old);
        }
    };
    if let Err(why) = std::thread::Builder::new().name("renew".into()).spawn(restart) {
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
