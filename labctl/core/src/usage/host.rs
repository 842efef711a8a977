//! What a machine's process takes of the host.

use std::fs;

use super::kib;

/// Processor seconds that a process has used so far (proc(5), /proc/PID/stat).
pub(super) fn seconds(pid: i32) -> Option<f64> {
    let ticks = ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// User and system time. The name in parentheses may contain anything; the fields after it are counted from the state on.
fn ticks(stat: &str) -> Option<u64> {
    let mut after = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || after.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Memory that a process takes, in MiB: its share of what it has in common with others, or, if the host does not tell that, all it maps.
pub(super) fn memory_mib(pid: i32) -> Option<u64> {
    let share = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok().and_then(|text| kib(&text, "Pss:"));
    let all = || kib(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:");
    share.or_else(all).map(|kib| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_after_whatever_name_a_process_has() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn a_process_of_our_own_has_used_something() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(memory_mib(pid).unwrap() > 0);
        assert!(seconds(pid).unwrap() >= 0.0);
        assert_eq!((seconds(-1), memory_mib(-1)), (None, None));
    }
}
