//! Medians, tables, memory.

use std::fs;
use std::time::Duration;

use labctl_tests::Sandbox;

/// How often each measurement is repeated. A median needs an odd number.
pub const ROUNDS: usize = 5;

/// The median.
pub fn median(times: &mut [Duration]) -> Duration {
    middle(times)
}

/// The middle value.
pub fn middle<T: Ord + Copy>(values: &mut [T]) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

/// Prints a line of the table.
pub fn line(what: &str, time: Duration) {
    println!("  {what:<44} {:>8.2} s", time.as_secs_f64());
}

/// Prints the ratio of `more` to `less`.
pub fn ratio(what: &str, more: Duration, less: Duration, goal: &str) {
    println!("  {what:<44} {:>8.2}     ({goal})", more.as_secs_f64() / less.as_secs_f64());
}

/// Proportional set size of all processes of the sandbox, in MiB (/proc/PID/smaps_rollup).
pub fn memory(sandbox: &Sandbox) -> u64 {
    let mut pids = sandbox.machines();
    pids.extend(sandbox.status()["supervisor"].as_i64().and_then(|pid| i32::try_from(pid).ok()));
    let kib = |pid: i32| -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
    };
    pids.into_iter().map(kib).sum::<u64>() >> 10
}
