//! Snapshot and restore of the provisioned demo lab, until "Consul has a leader, all services pass, the load balancer answers".

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use labctl_tests::Sandbox;
use serde_json::Value;

use crate::measure::{ROUNDS, line, median, middle};

/// Longest wait for a healthy cluster.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures and prints.
pub fn run() {
    let file = labctl_tests::repository().join("hosts/demo.yml");
    let file = file.to_str().expect("a path");
    let sandbox = Sandbox::new();
    let labctl = |args: &[&str]| sandbox.good(&[&["--lab", file], args].concat());
    let start = Instant::now();
    labctl(&["up", "--no-cache"]);
    healthy(&sandbox, file);
    let first = start.elapsed();

    let (mut saves, mut pauses, mut restores, mut answers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let saved: Value = sandbox.json(&["--lab", file, "snapshot", "save", "one", "--replace"]);
        saves.push(start.elapsed());
        pauses.push(saved["pause_ms"].as_u64().expect("a pause"));
        let start = Instant::now();
        labctl(&["snapshot", "restore", "one"]);
        restores.push(start.elapsed());
        healthy(&sandbox, file);
        answers.push(start.elapsed());
    }
    labctl(&["destroy", "--force"]);
    let start = Instant::now();
    labctl(&["up"]);
    let second = start.elapsed();
    healthy(&sandbox, file);
    let second_healthy = start.elapsed();

    println!("\nthe demo lab (Consul, Nomad, load balancer; five nodes); medians of {ROUNDS}");
    line("snapshot save", median(&mut saves));
    println!("  {:<44} {:>8} ms    (goal: under 2000)", "of which the nodes were paused", middle(&mut pauses));
    line("snapshot restore, agents answering", median(&mut restores));
    println!("  {:<44} {:>8.2} s    (goal: under 10)", "snapshot restore, cluster healthy", median(&mut answers).as_secs_f64());
    line("first up, to a healthy cluster (once)", first);
    line("up after destroy, agents answering (once)", second);
    line("up after destroy, cluster healthy (once)", second_healthy);
}

/// Waits until Consul has a leader, nothing in it is critical, and the load balancer answers.
fn healthy(sandbox: &Sandbox, file: &str) {
    let status: Value = sandbox.json(&["--lab", file, "status"]);
    let address = |name: &str| {
        let node = status["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["name"] == name)).expect("a node");
        node["loopback"].as_str().expect("an address").to_owned()
    };
    let (server, lb) = (format!("{}:8500", address("root-server")), format!("{}:80", address("lb-server")));
    let start = Instant::now();
    let well = || {
        get(&server, "/v1/status/leader").is_some_and(|text| text.contains(":8300"))
            && get(&server, "/v1/health/state/critical").is_some_and(|text| text.trim() == "[]")
            && get(&lb, "/fib?n=20").is_some_and(|text| text.contains("6765"))
    };
    while !well() {
        assert!(start.elapsed() < PATIENCE, "the cluster is not healthy within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The body of a response with status 200.
fn get(address: &str, path: &str) -> Option<String> {
    let address = address.parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: bench\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}
