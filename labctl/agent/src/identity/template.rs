//! What a guest does before it is saved as a template, so that its forks have little to do.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{hidden, network, services};

/// Hides the boot id, brings the NIC up without any address, and stops the journal if that harms nobody.
pub fn prepare() -> io::Result<()> {
    hidden::hide()?;
    network::bring_up_bare()?;
    // A login on the console, for one, writes to the journal, which would start again; udev ends its workers after 3 s.
    come_to_rest(Duration::from_millis(3500));
    // Part of the memory that is saved: forks need not read and reckon it.
    super::digest();
    services::hush();
    if let Some(kept) = super::kept(Path::new("/")) {
        services::stop_journal(&kept.machine_id);
    }
    come_to_rest(Duration::from_millis(300));
    // What the forks would otherwise write out once each.
    rustix::fs::sync();
    Ok(())
}

/// How often a guest that comes to rest is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long a guest may take to come to rest; one that never does is saved as it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until nothing has happened in the guest for `quiet`: what is still under way when a template is saved, such as a login on the console or
/// idle workers of udev that end, is done again by each of its forks. The kernel has no event for that.
fn come_to_rest(quiet: Duration) {
    let begin = Instant::now();
    let (mut quiet_since, mut busy) = (begin, busy_ticks());
    while quiet_since.elapsed() < quiet && begin.elapsed() < PATIENCE {
        thread::sleep(LOOK);
        let now = busy_ticks();
        // One hundredth of a second is what looking itself costs now and then.
        if now > busy + 1 {
            quiet_since = Instant::now();
        }
        busy = now;
    }
}

/// Time that the processors were not idle since the boot, in hundredths of a second (/proc/stat, proc_stat(5)).
fn busy_ticks() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user, nice, system, idle, iowait, irq, softirq
    fields.take(7).enumerate().filter(|(place, _)| !matches!(place, 3 | 4)).filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum()
}

/// Lets IPv6 have the NIC, or keeps it away: a link-local address is made of the Ethernet address, which a template must not have.
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
