//! A guest's processor and memory, from its /proc. The agent reads the files; no process is started.

use labctl_guest::{Agent, GuestError};

use super::kib;

/// Processor time of all CPUs since the boot, in ticks (proc(5), /proc/stat).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    busy: u64,
    all: u64,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) times: Option<Times>,
    pub(super) used_mib: Option<u64>,
    pub(super) total_mib: Option<u64>,
}

pub(super) async fn read(agent: &Agent) -> Result<Read, GuestError> {
    let (mut stat, mut memory) = (Vec::new(), Vec::new());
    tokio::try_join!(agent.get("/proc/stat", &mut stat), agent.get("/proc/meminfo", &mut memory))?;
    let memory = String::from_utf8_lossy(&memory);
    let (total, available) = (kib(&memory, "MemTotal:"), kib(&memory, "MemAvailable:"));
    let used = total.zip(available).map(|(total, available)| total.saturating_sub(available) / 1024);
    Ok(Read { times: times(&String::from_utf8_lossy(&stat)), used_mib: used, total_mib: total.map(|total| total / 1024) })
}

/// The first line: user, nice, system, idle, iowait, irq, softirq, steal; then guest times, which are in user and nice already.
fn times(stat: &str) -> Option<Times> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks.try_into().ok()?;
    // Time that the host took away is not the guest's.
    let busy = user + nice + system + irq + softirq;
    Some(Times { busy, all: busy + idle + iowait + steal })
}

impl Times {
    /// Percent of the time since then that was busy; none if there was no such time, such as after a reboot.
    pub(super) fn busy_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        let busy = self.busy.checked_sub(before.busy)?;
        Some(busy as f64 / all as f64 * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_neither_idle_nor_taken_away() {
        let before = times("cpu  10 0 10 60 10 5 5 0 0 0\ncpu0 10 0 10 60 10 5 5 0 0 0\n").unwrap();
        let now = times("cpu  20 5 20 120 10 10 10 5 7 7\n").unwrap();
        assert_eq!(before, Times { busy: 30, all: 100 });
        assert_eq!(now.busy_since(before), Some(35.0));
        assert_eq!((before.busy_since(now), now.busy_since(now)), (None, None), "a reboot, and no time at all");
        assert_eq!(times("intr 1\ncpu  1 2 3\n"), None);
    }

    #[test]
    fn memory_is_found_by_name() {
        let memory = "MemTotal:         245760 kB\nMemFree:           1024 kB\nMemAvailable:     122880 kB\n";
        assert_eq!(
            (kib(memory, "MemTotal:"), kib(memory, "MemAvailable:"), kib(memory, "SwapFree:")),
            (Some(245_760), Some(122_880), None)
        );
    }
}
