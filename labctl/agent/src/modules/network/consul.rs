//! `consul_kv` and `nomad_job`, over the agents' HTTP interfaces.

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{flag, int, on, path, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::network::http::{Request, Response};

pub(crate) const KV: Module = Module {
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
    run: kv,
};

pub(crate) const JOB: Module = Module {
    names: &["nomad_job"],
    params: &[
        text("host").or("localhost"),
        int("port").or("4646"),
        text("state").must().of(&["absent", "present"]),
        flag("use_ssl"),
        int("timeout").or("5"),
        on("validate_certs"),
        path("client_cert"),
        path("client_key"),
        text("namespace"),
        text("name"),
        text("content_format").of(&["hcl", "json"]).or("hcl"),
        text("content"),
        flag("force_start"),
        text("token"),
    ],
    files: false,
    run: job,
};

fn talk(task: &Task<'_>, method: &str, url: &str, header: &str, body: Option<Vec<u8>>) -> Result<Response, Fault> {
    let mut request = Request::get(task, url);
    if let Some(token) = task.args.filled("token") {
        request = request.header(header, token);
    }
    request.method = method.to_owned();
    request.body = body;
    request.send()
}

fn read(response: &mut Response, url: &str) -> Result<String, Fault> {
    let bytes = response.bytes().attempt("read the answer of", url)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match response.status {
        200..300 => Ok(text),
        status => Err(format!("{url} answered {status}: {}", text.trim()).into()),
    }
}

fn quote(text: &str) -> String {
    text.bytes().fold(String::new(), |mut quoted, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'_' | b'.' | b'-' | b'~' => quoted.push(byte.into()),
            other => quoted.push_str(&format!("%{other:02X}")),
        }
        quoted
    })
}

fn kv(task: &Task<'_>) -> Outcome {
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
                // Without a value this only looks.
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

fn job(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.exclusive(&["name", "content"])?;
    args.one_of(&["name", "content"])?;
    let scheme = if args.flag("use_ssl") { "https" } else { "http" };
    let base = format!("{scheme}://{}:{}/v1", args.str("host"), args.int("port").unwrap_or(4646));
    let space = args.filled("namespace").map_or(String::new(), |space| format!("?namespace={}", quote(space)));
    let ask = |method: &str, path: &str, body: Option<Value>| -> Result<Value, Fault> {
        let url = format!("{base}{path}");
        let body = body.map(|body| body.to_string().into_bytes());
        let mut answer = talk(task, method, &url, "X-Nomad-Token", body)?;
        let text = read(&mut answer, &url)?;
        serde_json::from_str(&text).map_err(|err| format!("{url} answered no JSON: {err}").into())
    };
    let definition = match args.filled("content") {
        None => None,
        Some(text) if args.str("content_format") == "json" => {
            let value: Value = serde_json::from_str(text).map_err(|err| Fault::from(format!("content is no JSON: {err}")))?;
            Some(value.get("Job").cloned().unwrap_or(value))
        }
        Some(text) => Some(ask("POST", "/jobs/parse", Some(json!({"JobHCL": text, "Canonicalize": true})))?),
    };
    let name = match (&definition, args.filled("name")) {
        (Some(definition), _) => definition["ID"].as_str().map(str::to_owned),
        (None, name) => name.map(str::to_owned),
    };
    let name = name.ok_or_else(|| Fault::from("the job has no ID"))?;
    let path = format!("/job/{}", quote(&name));
    if args.str("state") == "absent" {
        let mut url_answer = talk(task, "GET", &format!("{base}{path}{space}"), "X-Nomad-Token", None)?;
        let running = if url_answer.status == 404 {
            false
        } else {
            let text = read(&mut url_answer, &path)?;
            !serde_json::from_str::<Value>(&text).is_ok_and(|job| job["Stop"] == true)
        };
        if running && !task.check {
            ask("DELETE", &format!("{path}{space}"), None)?;
        }
        return Ok(json!({"changed": running, "name": name}).into());
    }
    let definition = match definition {
        Some(definition) => definition,
        None => ask("GET", &format!("{path}{space}"), None)?,
    };
    // Nomad itself says what would differ.
    let plan = ask("POST", &format!("{path}/plan{space}"), Some(json!({"Job": definition, "Diff": true})))?;
    let changed = plan["Diff"]["Type"] != "None" || args.flag("force_start");
    if changed && !task.check {
        let mut job = definition.clone();
        if args.flag("force_start") {
            job["Stop"] = false.into();
        }
        ask("POST", &format!("/jobs{space}"), Some(json!({"Job": job})))?;
    }
    let mut result = json!({"changed": changed, "name": name});
    if task.diff {
        result["diff"] = json!({"before": "", "after": "", "prepared": plan["Diff"].to_string()});
    }
    Ok(result.into())
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
