//! `wait_for`: waits until a port answers, or until a file exists and contains a text.

use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::modules::call::arguments::{int, list, path, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::ownership::state_of;
use crate::modules::text::python_regex::Pattern;

pub(crate) const MODULE: Module = Module {
    names: &["wait_for"],
    params: &[
        text("host").or("127.0.0.1"),
        int("timeout").or("300"),
        int("connect_timeout").or("5"),
        int("delay").or("0"),
        int("port"),
        list("active_connection_states"),
        path("path"),
        text("search_regex"),
        text("state").of(&["absent", "drained", "present", "started", "stopped"]).or("started"),
        list("exclude_hosts"),
        int("sleep").or("1"),
        text("msg"),
    ],
    files: false,
    run,
};

/// Pause between two checks: neither a port nor a line in a growing file produces an event.
const PAUSE: Duration = Duration::from_millis(100);

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let begin = Instant::now();
    let (port, file) = (args.int("port"), args.filled("path"));
    if port.is_some() && file.is_some() {
        return Err("port and path parameter can not both be passed to wait_for".into());
    }
    if file.is_some() && matches!(args.str("state"), "stopped" | "drained") {
        return Err("state=stopped should only be used for checking a port in the wait_for module".into());
    }
    let regex = args.filled("search_regex").map(Pattern::multiline).transpose()?;
    let limit = Duration::from_secs(args.int("timeout").unwrap_or(300).max(0) as u64);
    std::thread::sleep(Duration::from_secs(args.int("delay").unwrap_or(0).max(0) as u64));
    let state = args.str("state");
    let wants = matches!(state, "started" | "present");
    if port.is_none() && file.is_none() {
        std::thread::sleep(limit.saturating_sub(begin.elapsed()));
        return Ok(done(task, begin, Value::Null));
    }
    loop {
        let there = match (port, file) {
            (Some(port), _) => on_port(task, port, state, regex.as_ref()),
            (None, file) => in_file(Path::new(file.unwrap_or_default()), regex.as_ref()),
        };
        match there {
            Some(groups) if wants => return Ok(done(task, begin, groups)),
            None if !wants => return Ok(done(task, begin, Value::Null)),
            _ => {}
        }
        if begin.elapsed() >= limit {
            return Err(late(task, begin));
        }
        std::thread::sleep(PAUSE.min(limit));
    }
}

fn done(task: &Task<'_>, begin: Instant, groups: Value) -> crate::modules::call::outcome::Done {
    let args = &task.args;
    // A file that exists is reported by its kind, as in the results of `file`.
    let state = match (args.filled("path"), args.str("state")) {
        (Some(path), "started" | "present") => match state_of(Path::new(path)) {
            "absent" => args.str("state"),
            kind => kind,
        },
        (_, state) => state,
    };
    let mut result = json!({
        "changed": false, "elapsed": begin.elapsed().as_secs(), "state": state,
        "port": args.int("port"), "path": args.text("path"), "search_regex": args.text("search_regex"),
    });
    result["match_groups"] = groups.get("groups").cloned().unwrap_or(json!([]));
    result["match_groupdict"] = json!({});
    result.into()
}

fn late(task: &Task<'_>, begin: Instant) -> Fault {
    let args = &task.args;
    let what = match (args.int("port"), args.filled("path"), args.filled("search_regex")) {
        (Some(port), _, Some(regex)) => format!("Timeout when waiting for search string {regex} in {}:{port}", args.str("host")),
        (Some(port), _, None) if args.str("state") == "drained" => {
            format!("Timeout when waiting for {}:{port} to drain", args.str("host"))
        }
        (Some(port), ..) if matches!(args.str("state"), "stopped" | "absent") => {
            format!("Timeout when waiting for {}:{port} to stop.", args.str("host"))
        }
        (Some(port), ..) => format!("Timeout when waiting for {}:{port}", args.str("host")),
        (None, Some(path), Some(regex)) => {
            format!("Timeout when waiting for search string {regex} in {path}")
        }
        (None, Some(path), None) if args.str("state") == "absent" => {
            format!("Timeout when waiting for {path} to be absent.")
        }
        (None, path, _) => format!("Timeout when waiting for file {}", path.unwrap_or_default()),
    };
    let msg = args.filled("msg").map_or(what, str::to_owned);
    Fault::from(msg).with("elapsed", begin.elapsed().as_secs())
}

fn in_file(path: &Path, regex: Option<&Pattern>) -> Option<Value> {
    let Some(regex) = regex else {
        return path.exists().then_some(Value::Null);
    };
    let bytes = fs::read(path).ok()?;
    groups(regex, &String::from_utf8_lossy(&bytes))
}

fn groups(regex: &Pattern, text: &str) -> Option<Value> {
    let captures = regex.captures(text)?;
    let groups: Vec<Value> = (1..captures.len()).map(|n| captures.get(n).map_or(Value::Null, |found| found.as_str().into())).collect();
    Some(json!({"groups": groups}))
}

fn on_port(task: &Task<'_>, port: i64, state: &str, regex: Option<&Pattern>) -> Option<Value> {
    use std::io::Read;
    let args = &task.args;
    let port = u16::try_from(port).ok()?;
    if state == "drained" {
        return connections(task, port).then_some(Value::Null);
    }
    let patience = Duration::from_secs(args.int("connect_timeout").unwrap_or(5).max(1) as u64);
    let addresses = (args.str("host"), port).to_socket_addrs().ok()?;
    let mut stream = addresses.into_iter().find_map(|address| TcpStream::connect_timeout(&address, patience).ok())?;
    let Some(regex) = regex else {
        return Some(Value::Null);
    };
    stream.set_read_timeout(Some(patience)).ok()?;
    let (mut seen, mut block) = (Vec::new(), [0; 1024]);
    while seen.len() < 1 << 20 {
        match stream.read(&mut block) {
            Ok(0) | Err(_) => break,
            Ok(length) => seen.extend_from_slice(&block[..length]),
        }
        if let Some(found) = groups(regex, &String::from_utf8_lossy(&seen)) {
            return Some(found);
        }
    }
    None
}

/// Whether there is a connection to the port (any state in /proc/net/tcp except listening, closed and TIME_WAIT).
fn connections(task: &Task<'_>, port: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|file| {
        let table = fs::read_to_string(task.root.join(file)).unwrap_or_default();
        table.lines().skip(1).any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local = fields.get(1).and_then(|f| f.rsplit(':').next());
            let state = fields.get(3).copied().unwrap_or_default();
            local.and_then(|p| u16::from_str_radix(p, 16).ok()) == Some(port) && !matches!(state, "0A" | "07" | "06")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn ports_files_and_lateness() {
        let bench = Bench::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        bench.run("wait_for", json!({"port": port}));
        drop(listener);
        bench.run("wait_for", json!({"port": port, "state": "stopped"}));
        bench.write("log", "a\nready 42\n");
        let result = bench.run("wait_for", json!({"path": bench.text_path("log"), "search_regex": "^ready (\\d+)"}));
        assert_eq!(result["match_groups"], json!(["42"]));
        bench.run("wait_for", json!({"path": bench.text_path("gone"), "state": "absent"}));
        let msg = bench.fault("wait_for", json!({"path": bench.text_path("gone"), "timeout": 0}));
        assert!(msg.starts_with("Timeout when waiting for file"), "{msg}");
    }
}
