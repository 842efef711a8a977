//! `consul_kv`: keys in Consul's key/value store, over its HTTP interface.

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{flag, int, on, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::network::rest::{quote, read, talk};

pub(crate) const MODULE: Module = Module {
    names: &["consul_kv"],
    params: &[
        text("key").must(),
        text("value"),
        text("state").of(&["absent", "acquire", "present", "release"]).or("present"),
        text("host").or("localhost"),
        int("port").or("8500"),
        text("scheme").or("http"),
        on("validate_certs"),
        text("token"),
        text("datacenter").aka(&["dc"]),
        flag("recurse"),
        flag("retrieve"),
        text("session"),
        text("cas"),
        int("flags"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let key = args.str("key");
    let base = format!("{}://{}:{}/v1/kv/{}", args.str("scheme"), args.str("host"), args.int("port").unwrap_or(8500), quote(key));
    let datacenter = args.filled("datacenter").map(|dc| format!("dc={}", quote(dc)));
    let url = |more: &[String]| {
        let all: Vec<&str> = more.iter().chain(datacenter.as_ref()).map(String::as_str).collect();
        if all.is_empty() { base.clone() } else { format!("{base}?{}", all.join("&")) }
    };
    let state = args.str("state");
    let recurse = args.flag("recurse");
    let asked = url(&if recurse { vec!["recurse".to_owned()] } else { vec!["raw".to_owned()] });
    let mut there = talk(task, "GET", &asked, "X-Consul-Token", None)?;
    let old = if there.status == 404 { None } else { Some(read(&mut there, &asked)?) };
    let mut result = Map::new();
    result.insert("key".into(), key.into());
    result.insert("data".into(), old.clone().map_or(Value::Null, Value::from));
    let (method, address, body) = match state {
        "absent" if old.is_none() => {
            result.insert("changed".into(), false.into());
            return Ok(result.into());
        }
        "absent" => ("DELETE", url(&if recurse { vec!["recurse".to_owned()] } else { vec![] }), None),
        "present" => {
            let Some(value) = args.text("value") else {
                // Without a value this only reads.
                result.insert("changed".into(), false.into());
                return Ok(result.into());
            };
            if old.as_deref() == Some(value) {
                result.insert("changed".into(), false.into());
                return Ok(result.into());
            }
            let mut more = Vec::new();
            more.extend(args.filled("cas").map(|cas| format!("cas={cas}")));
            more.extend(args.int("flags").map(|flags| format!("flags={flags}")));
            ("PUT", url(&more), Some(value.as_bytes().to_vec()))
        }
        lock => {
            let session = args.filled("session").ok_or_else(|| Fault::from(format!("session is required with state={lock}")))?;
            let body = args.str("value").as_bytes().to_vec();
            ("PUT", url(&[format!("{lock}={}", quote(session))]), Some(body))
        }
    };
    let mut changed = true;
    if !task.check {
        let mut answer = talk(task, method, &address, "X-Consul-Token", body)?;
        changed = read(&mut answer, &address)?.trim() == "true";
    }
    result.insert("changed".into(), changed.into());
    task.put_diff(&mut result, || {
        let after = if state == "absent" { "" } else { args.str("value") };
        json!({"before_header": key, "after_header": key, "before": old.unwrap_or_default(), "after": after})
    });
    Ok(Done::from(result))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn a_key_is_put_once_and_removed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stored: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
        let shared = stored.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
                let find = |line: &str| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok();
                let mut body = vec![0; head.lines().find_map(find).unwrap_or(0)];
                let _ = reader.read_exact(&mut body);
                let mut stored = shared.lock().unwrap();
                let (status, answer) = match head.split(' ').next() {
                    Some("PUT") => {
                        *stored = Some(body);
                        ("200 OK", b"true".to_vec())
                    }
                    Some("DELETE") => {
                        *stored = None;
                        ("200 OK", b"true".to_vec())
                    }
                    _ => stored.clone().map_or(("404 Not Found", vec![]), |value| ("200 OK", value)),
                };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
                let _ = reader.get_mut().write_all(&[head.as_bytes(), &answer].concat());
            }
        });
        let bench = Bench::new();
        bench.converges("consul_kv", json!({"key": "a/b", "value": "v", "host": "127.0.0.1", "port": port}), true);
        assert_eq!(stored.lock().unwrap().as_deref(), Some(&b"v"[..]));
        bench.converges("consul_kv", json!({"key": "a/b", "state": "absent", "host": "127.0.0.1", "port": port}), true);
    }
}
