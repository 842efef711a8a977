//! Copies of folders: the first one against tar through ssh, an unchanged one against rsync over ssh, a watched file's way.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use labctl_tests::Sandbox;

use crate::measure::{ROUNDS, line, median, ratio};

/// What is copied: a source folder's size.
const FILES: usize = 3000;

/// The peer in the node; on the host, the Makefile installs it.
const INSTALL: &str =
    "command -v rsync || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rsync; }";

/// Longest wait for a watched file.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures and prints.
pub fn run() {
    let sandbox = Sandbox::new();
    let lab = "name: benchsync\nnodes: [{name: a, memory: 384M, sync: [{from: src, to: /srv/src}]}]\n";
    sandbox.write("lab.yml", lab);
    let bytes = fill(&sandbox);
    // A comparison without its peer is useless: better to know before anything is measured.
    shell("command -v rsync").expect("rsync on this host; `make bench BENCH=sync` installs it");
    sandbox.good(&["up", "--no-provision"]);
    sandbox.good(&["exec", "a", "--", "sh", "-c", INSTALL]);
    let config = sandbox.good(&["ssh-config"]);
    let config = sandbox.write("ssh", &config);
    let ssh = format!("ssh -F {}", config.display());
    let source = sandbox.folder().join("src");
    let empty = || drop(sandbox.good(&["exec", "a", "--", "rm", "-rf", "/srv/src", "/srv/tar", "/var/lib/labctl/sync"]));

    let (mut first, mut tar, mut unchanged, mut rsync) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        empty();
        first.push(timed(|| drop(sandbox.good(&["sync", "-q"]))));
        unchanged.push(timed(|| drop(sandbox.good(&["sync", "-q"]))));
        let through = format!("tar -C {} -c . | {ssh} a 'mkdir -p /srv/tar && tar -C /srv/tar -x'", source.display());
        tar.push(timed(|| shell(&through).expect("tar through ssh")));
    }
    let compare = format!("rsync -a -e '{ssh}' {}/ a:/srv/src/", source.display());
    shell(&compare).expect("rsync");
    rsync.extend((0..ROUNDS).map(|_| timed(|| shell(&compare).expect("rsync"))));

    println!("\ncopies of {FILES} files, {:.1} MB; medians of {ROUNDS}", bytes as f64 / 1e6);
    let (first, unchanged) = (median(&mut first), median(&mut unchanged));
    let tar = median(&mut tar);
    line("first copy", first);
    line("first copy, tar through ssh", tar);
    ratio("first copy / tar", first, tar, "goal: at most 1");
    line("unchanged", unchanged);
    let rsync = median(&mut rsync);
    line("unchanged, rsync over ssh", rsync);
    ratio("unchanged / rsync", unchanged, rsync, "goal: at most 1");
    let mut ways = watched(&sandbox, &source);
    println!("  {:<44} {:>8} ms    (goal: under 300)", "a saved file's way, all files watched", median(&mut ways).as_millis());
}

/// Makes the folder; returns its size.
fn fill(sandbox: &Sandbox) -> usize {
    let mut bytes = 0;
    for number in 0..FILES {
        let text = format!("file {number}\n").repeat(20 + number * 7 % 90);
        bytes += text.len();
        sandbox.write(&format!("src/part{}/deep{}/file{number}", number % 30, number % 7), &text);
    }
    bytes
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

fn shell(line: &str) -> Result<(), String> {
    let done = Command::new("sh").args(["-c", line]).stdin(Stdio::null()).output().map_err(|why| why.to_string())?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

/// How long after a file was saved the watcher says that it is in the node.
fn watched(sandbox: &Sandbox, source: &Path) -> Vec<Duration> {
    let mut watcher = sandbox.command(&["sync", "--watch", "--json"]).stdout(Stdio::piped()).spawn().expect("labctl sync starts");
    let (said, heard) = std::sync::mpsc::channel();
    let output = BufReader::new(watcher.stdout.take().expect("its output"));
    std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(said.send(line))));
    let synced = || loop {
        let line = heard.recv_timeout(PATIENCE).expect("the watcher says something");
        if line.contains("\"event\":\"synced\"") {
            break;
        }
    };
    synced();
    let ways = (0..ROUNDS).map(|round| {
        let begin = Instant::now();
        fs::write(source.join("part1/deep1/file1"), format!("round {round}\n")).expect("a file");
        synced();
        begin.elapsed()
    });
    let ways = ways.collect();
    let there = sandbox.good(&["exec", "a", "--", "cat", "/srv/src/part1/deep1/file1"]);
    assert_eq!(there, format!("round {}\n", ROUNDS - 1));
    let _ = watcher.kill();
    let _ = watcher.wait();
    ways
}
