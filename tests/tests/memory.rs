//! Whether saved memory matches what the nodes had, while they are busy with it and while the host is busy with other work.
//!
//! `LABCTL_MEMORY_ROUNDS` is the number of rounds; `make soak` takes 500.

use std::process::{Child, Command, Stdio};

use labctl_tests::writers::Writers;
use labctl_tests::{Sandbox, can_boot};
use serde_json::Value;

/// Four nodes, one of which takes longer to save than the others.
const LAB: &str = "name: memory\nnodes:\n  - {name: 'small{index}', count: 3, memory: 256M}\n  - {name: large, memory: 768M}\n";
const NODES: [&str; 4] = ["small1", "small2", "small3", "large"];

/// Number of rounds by default.
const ROUNDS: usize = 20;

/// Processes that use up the host's processors, until this is dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn start(count: usize) -> Self {
        let endless = || Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().expect("a shell");
        Self((0..count).map(|_| endless()).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It runs until it is killed.
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

#[test]
fn no_page_is_lost() {
    if !can_boot() {
        return;
    }
    let rounds = std::env::var("LABCTL_MEMORY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", LAB);
    sandbox.good(&["up"]);
    sandbox.good(&["exec", "large", "--", "sh", "-c", "head -c 300M /dev/urandom >/dev/shm/full"]);
    let writers = Writers::start(&sandbox, "memory", &NODES, 16);
    let mut pauses = Vec::new();
    for round in 1..=rounds {
        // The second half with a busy host: then some nodes are much further along than others.
        let _busy = (round > rounds / 2).then(|| Busy::start(2));
        let saved: Value = sandbox.json(&["snapshot", "save", "now", "--replace", "--verify"]);
        pauses.push(saved["pause_ms"].as_u64().expect("a pause"));
        sandbox.good(&["snapshot", "restore", "now"]);
        writers.assert_whole();
    }
    pauses.sort_unstable();
    println!("{rounds} rounds; the nodes were paused for {} to {} ms (with the comparison)", pauses[0], pauses[rounds - 1]);
}
