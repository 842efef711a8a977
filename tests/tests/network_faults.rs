//! Network faults on real virtual machines: in force, observed, healed, whatever dies.

use std::time::{Duration, Instant};

use labctl_tests::{Sandbox, can_boot, kill_supervisor, until};

/// Connects to the other node over and over, so that there are frames to lose.
const TALK: &str = "use IO::Socket::INET; while (1) { IO::Socket::INET->new(PeerAddr => 'b', PeerPort => 22, Timeout => 1); select(undef, undef, undef, 0.1) }";

fn scenario(method: &str) -> String {
    format!(
        "name: network\nsteady_state:\n  - name: alive\n    exec: {{node: a, command: 'true'}}\nmethod:\n{method}\nrecover_within: 120s\n"
    )
}

/// Whether the first node reaches the second one.
fn reaches(sandbox: &Sandbox, limit: u32) -> bool {
    let dial = format!("timeout {limit} bash -c 'exec 3<>/dev/tcp/b/22'");
    sandbox.run(&["exec", "a", "--", "sh", "-c", &dial]).status.success()
}

#[test]
fn edges_are_cut_slow_and_lossy_until_they_are_healed() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: edges\nnodes: [{name: a, memory: 256M}, {name: b, memory: 256M}]\n");
    sandbox.write("all.yml", &scenario("  - cut: {from: [a], to: [b], for: 6s}\n  - delay: {from: [a], to: [b], time: 200ms, for: 6s}\n  - loss: {from: [a], to: [b], percent: 50, one_way: true, for: 6s}"));
    sandbox.write("cut.yml", &scenario("  - cut: {from: [a], to: [b], for: 10m}"));
    sandbox.write("nothing.yml", &scenario("  - cut: {from: [outside], to: [b], one_way: true, for: 50ms}"));
    sandbox.write("wrong.yml", &scenario("  - cut: {from: [a], to: [c]}\n  - loss: {from: [a], to: [b], percent: 101}"));
    sandbox.good(&["up"]);
    sandbox.run_perl("a", TALK);

    // Each takes effect, and the report shows how many frames it affected.
    let report = sandbox.json(&["scenario", "run", "all.yml", "--seed", "1"]);
    assert_eq!(report["verdict"], "passed", "{report:#}");
    for (fault, effect) in ["dropped", "delayed", "dropped"].iter().enumerate() {
        let fault = &report["faults"][fault];
        assert!(fault["frames"][effect].as_u64().unwrap() > 0, "{fault:#}");
    }
    assert_eq!(report["faults"][0]["edges"], serde_json::json!(["a -> b", "b -> a"]));
    assert_eq!(report["faults"][2]["edges"], serde_json::json!(["a -> b"]));
    assert!(reaches(&sandbox, 60), "healed");
    // No frames are sent there, so the fault had no effect to show.
    let output = sandbox.run(&["scenario", "run", "nothing.yml", "--json"]);
    let report: serde_json::Value =
        serde_json::from_slice(output.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!((report["verdict"].as_str(), output.status.code()), (Some("no_effect"), Some(9)), "{report:#}");
    assert!(report["reason"].as_str().unwrap().contains("no frame tried to pass"), "{report:#}");
    // Faults that cannot work are refused with their line before anything is done.
    let (_, said) = sandbox.bad(&["scenario", "run", "wrong.yml"]);
    assert!(said.contains("wrong.yml:6") && said.contains("no node or group `c`") && said.contains("wrong.yml:7"), "{said}");

    // The command that made the cut is killed: the cut stays, because its lease has not expired, and `heal` undoes it at once.
    let mut run = sandbox.start(&["scenario", "run", "cut.yml"]);
    until("the network is cut", Duration::from_secs(60), || !reaches(&sandbox, 2));
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(!reaches(&sandbox, 3), "what is leased stays in force");
    // It also stays when the supervisor dies, and the switch with it.
    kill_supervisor(&sandbox);
    assert!(!reaches(&sandbox, 3), "the next supervisor puts it in force again");
    let begun = Instant::now();
    sandbox.good(&["scenario", "heal"]);
    until("healed", Duration::from_secs(60), || reaches(&sandbox, 10));
    println!("healed and reachable after {:?}", begun.elapsed());
    let journal = std::fs::read_to_string(sandbox.home().join("labs/edges/faults.json")).unwrap();
    assert_eq!(journal.trim(), "[]");
}
