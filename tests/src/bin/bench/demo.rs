//! `labctl provision` of the demo lab when nothing has changed: five nodes, the shipped roles, one job.

use std::time::{Duration, Instant};

use labctl_tests::Sandbox;
use serde_json::Value;

use crate::measure::{ROUNDS, line, median};

/// How many of the slowest tasks are listed.
const SLOWEST: usize = 5;

/// Measures and prints.
pub fn run() {
    let file = labctl_tests::repository().join("hosts/demo.yml");
    let file = file.to_str().expect("a path");
    let sandbox = Sandbox::new();
    sandbox.good(&["--lab", file, "up", "--no-cache"]);
    let (mut times, mut tasks) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let last: Value = sandbox.json(&["--lab", file, "provision"]);
        times.push(start.elapsed());
        let recap = &last["recap"];
        for (host, counts) in recap["hosts"].as_object().expect("a recap") {
            assert_eq!(counts["changed"], 0, "{host}: the lab was to be unchanged: {recap:#}");
        }
        tasks = recap["timings"].as_array().expect("timings").clone();
    }
    let (first, unchanged) = (times[0], median(&mut times));
    println!("\nprovision of the unchanged demo lab, five nodes; medians of {ROUNDS}");
    line("labctl provision (goal: 1.2 s)", unchanged);
    line("the first of them", first);
    tasks.sort_by_key(|task| std::cmp::Reverse(duration(task)));
    for task in tasks.iter().take(SLOWEST) {
        line(&format!("  {}", task["name"].as_str().unwrap_or_default()), duration(task));
    }
}

/// A task's time; it is written in seconds.
fn duration(task: &Value) -> Duration {
    Duration::from_secs_f64(task["duration"].as_f64().expect("a duration"))
}
