//! What a guest does before it is saved as a template, so that its forks have little to do.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{hidden, network, services};

/// Hides the boot id, brings the NIC up without any address, and stops the journal if that does no harm.
pub fn prepare() -> io::Result<()> {
    hidden::hide()?;
    network::bring_up_bare()?;
    // A console login, for example, writes to the journal, which would start again; udev stops its workers after 3 s.
    come_to_rest(Duration::from_millis(3500));
    // Part of the saved memory: forks need not read the identity and compute its digest.
    super::digest();
    services::hush();
    if let Some(kept) = super::kept(Path::new("/")) {
        services::stop_journal(&kept.machine_id);
    }
    come_to_rest(Duration::from_millis(300));
    // Otherwise each fork would write these pages out.
    rustix::fs::sync();
    Ok(())
}

/// How often a guest that is settling is checked.
const LOOK: Duration = Duration::from_millis(100);

/// How long a guest may take to settle; one that never does is saved as it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until nothing has happened in the guest for `quiet`. Whatever is still in progress when a template is saved, such as a console
/// login or idle udev workers that exit, is repeated by each of its forks. The kernel has no event for this.
fn come_to_rest(quiet: Duration) {
    let begin = Instant::now();
    let (mut quiet_since, mut busy) = (begin, busy_ticks());
    while quiet_since.elapsed() < quiet && begin.elapsed() < PATIENCE {
        thread::sleep(LOOK);
        let now = busy_ticks();
        // The check itself costs one hundredth of a second now and then.
        if now > busy + 1 {
            quiet_since = Instant::now();
        }
        busy = now;
    }
}

/// Time since boot that the processors were not idle, in hundredths of a second (/proc/stat, proc_stat(5)).
fn busy_ticks() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user, nice, system, idle, iowait, irq, softirq
    fields.take(7).enumerate().filter(|(place, _)| !matches!(place, 3 | 4)).filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum()
}

/// Allows or prevents IPv6 on the NIC: a link-local address is derived from the MAC address, which a template must not have.
pub(super) fn allow_ipv6(nic: &str, allowed: bool) -> io::Result<()> {
    let switch = format!("/proc/sys/net/ipv6/conf/{nic}/disable_ipv6");
    let wanted = if allowed { "0" } else { "1" };
    match fs::read_to_string(&switch) {
        Ok(now) if now.trim() == wanted => Ok(()),
        Ok(_) => fs::write(&switch, wanted),
        // A kernel without IPv6.
        Err(_) => Ok(()),
    }
}
