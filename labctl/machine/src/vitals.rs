//! Vital signs of a process, seen from outside: its start time, and how much of the host's processors its threads got.

use std::fs;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A process, unique within this boot of the host: its id alone may be reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since the host booted (proc_pid_stat(5), `starttime`); 0 if the system does not report
    /// it.
    pub ticks: u64,
}

/// How much of the host's processors a thread got since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Time running.
    pub ran: Duration,
    /// Time runnable while something else ran.
    pub waited: Duration,
}

impl Process {
    /// The process that currently has the id, and its start time.
    pub fn of(pid: i32) -> (Self, Option<SystemTime>) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let uptime = fs::read_to_string("/proc/uptime").ok();
        let ticks = stat.as_deref().and_then(start_ticks);
        let age = ticks.zip(uptime.as_deref()).and_then(|(ticks, uptime)| age(ticks, rustix::param::clock_ticks_per_second(), uptime));
        (Self { pid, ticks: ticks.unwrap_or(0) }, age.and_then(|age| SystemTime::now().checked_sub(age)))
    }
}

/// The shares of these threads of a process, in order; `None` if the system does not report them, or if one has exited.
pub fn shares(pid: i32, threads: &[i32]) -> Option<Vec<Share>> {
    threads.iter().map(|thread| share(&fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?)).collect()
}

/// `starttime` in a stat file. The program's name, in parentheses, may itself contain blanks and parentheses.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    // The state is field 3, `starttime` is field 22.
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn age(ticks: u64, per_second: u64, uptime: &str) -> Option<Duration> {
    let up: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(up - ticks as f64 / per_second as f64).ok()
}

/// A schedstat file: nanoseconds on a processor, nanoseconds on a run queue, timeslices
/// (Documentation/scheduler/sched-stats.rst).
fn share(schedstat: &str) -> Option<Share> {
    let mut numbers = schedstat.split_ascii_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok().map(Duration::from_nanos);
    Some(Share { ran: next()?, waited: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_as_old_as_its_stat_file_says() {
        let stat = "4242 (qemu (x) 86) S 1 4242 4242 0 -1 4194560 9 0 0 0 11 22 0 0 20 0 4 0 123400 1 2 3\n";
        assert_eq!(start_ticks(stat), Some(123_400));
        assert_eq!(age(123_400, 100, "1300.50 2000.00\n"), Some(Duration::from_millis(66_500)));
        assert_eq!(age(123_400, 100, "1.0 1.0"), None, "younger than now");
        assert_eq!(start_ticks("4242 (qemu) S 1"), None);
    }

    #[test]
    fn a_threads_share_is_what_it_ran_and_what_it_waited() {
        let expected = Share { ran: Duration::from_nanos(1_500_000_000), waited: Duration::from_nanos(52_037) };
        assert_eq!(share("1500000000 52037 17\n"), Some(expected));
        assert_eq!(share("1500000000\n"), None);
        assert_eq!(share(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_kernel_tells_both() {
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(start_ticks(&own).unwrap() > 0, "{own}");
        let spins = std::time::Instant::now();
        while spins.elapsed() < Duration::from_millis(20) {}
        let Ok(schedstat) = fs::read_to_string("/proc/thread-self/schedstat") else {
            labctl_skip::skip!("schedstat", "this kernel has no schedstat");
            return;
        };
        assert!(share(&schedstat).unwrap().ran > Duration::ZERO, "{schedstat}");
    }
}
