//! Signs of life of a running QEMU, seen from outside: since when it runs, what its virtual CPUs got of the host's processors.

use std::fs;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Qemu;
use crate::MachineError;

/// A process, told from every other one of this host's boot: its id alone may be another's some day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// When it was started, in clock ticks since the host's boot (proc_pid_stat(5), `starttime`); 0 where the system does not tell.
    pub ticks: u64,
}

/// What a thread got of the host's processors since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Time for which it ran.
    pub ran: Duration,
    /// Time for which it wanted to run, and something else ran instead.
    pub waited: Duration,
}

impl Process {
    /// The process that has the id now, and when it was started.
    pub fn of(pid: i32) -> (Self, Option<SystemTime>) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let uptime = fs::read_to_string("/proc/uptime").ok();
        let ticks = stat.as_deref().and_then(start_ticks);
        let age = ticks.zip(uptime.as_deref()).and_then(|(ticks, uptime)| age(ticks, rustix::param::clock_ticks_per_second(), uptime));
        (Self { pid, ticks: ticks.unwrap_or(0) }, age.and_then(|age| SystemTime::now().checked_sub(age)))
    }
}

impl Qemu {
    /// The process, and when it was started.
    pub fn process(&self) -> (Process, Option<SystemTime>) {
        Process::of(self.pid())
    }

    /// Thread ids of its virtual CPUs.
    pub async fn vcpus(&self) -> Result<Vec<i32>, MachineError> {
        let cpus = self.qmp().execute("query-cpus-fast", Value::Null).await?;
        let ids = cpus.as_array().into_iter().flatten().filter_map(|cpu| i32::try_from(cpu["thread-id"].as_i64()?).ok());
        Ok(ids.collect())
    }

    /// What these of its threads got, in their order; none where the system does not tell, or if one has ended.
    pub fn shares(&self, threads: &[i32]) -> Option<Vec<Share>> {
        let pid = self.pid();
        threads.iter().map(|thread| share(&fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?)).collect()
    }
}

/// `starttime` of a stat file. The program's name, in parentheses, may hold blanks and parentheses itself.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    // The state is field 3, `starttime` field 22.
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn age(ticks: u64, per_second: u64, uptime: &str) -> Option<Duration> {
    let up: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(up - ticks as f64 / per_second as f64).ok()
}

/// A schedstat file: nanoseconds on a processor, nanoseconds on a run queue, turns (Documentation/scheduler/sched-stats.rst).
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
            println!("skipped: this kernel has no schedstat");
            return;
        };
        assert!(share(&schedstat).unwrap().ran > Duration::ZERO, "{schedstat}");
    }
}
