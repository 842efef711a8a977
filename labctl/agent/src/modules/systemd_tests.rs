//! `systemd` against a manager that is played by a thread.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::super::dbus::{Arg, Body, marshal, read_message};
use super::super::testing::Bench;

/// What the manager knows of its only unit, and what it was asked to do.
#[derive(Debug, Default)]
struct Unit {
    active: &'static str,
    file: &'static str,
    asked: Vec<String>,
}

fn serve(mut stream: UnixStream, unit: &Mutex<Unit>) -> std::io::Result<()> {
    let mut line = Vec::new();
    while !line.ends_with(b"BEGIN\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
        if line.ends_with(b"AUTH EXTERNAL 30\r\n") {
            stream.write_all(b"OK 0123456789abcdef\r\n")?;
        }
    }
    let mut serial = 100;
    loop {
        let call = read_message(&mut stream)?;
        let mut unit = unit.lock().unwrap();
        let name = call.body.first().map_or("", Arg::text).to_owned();
        let (mut reply, mut after) = (Body::default(), None);
        match call.member.as_str() {
            "LoadUnit" => {
                let path = if name == "web.service" { "/unit/web" } else { "/unit/missing" };
                reply = Body::default().text(path);
            }
            "GetAll" => {
                let load = if call.path.ends_with("web") { "loaded" } else { "not-found" };
                let bytes = properties(serial, call.serial, &[("LoadState", load), ("ActiveState", unit.active)]);
                stream.write_all(&bytes)?;
                continue;
            }
            "GetUnitFileState" => reply = Body::default().text(unit.file),
            "StartUnit" | "RestartUnit" => {
                unit.asked.push(call.member.clone());
                let result = if unit.active == "failed" { "failed" } else { "done" };
                reply = Body::default().text("/job/1");
                after = Some(result);
                if result == "done" {
                    unit.active = "active";
                }
            }
            "EnableUnitFiles" => {
                unit.asked.push("enable".into());
                unit.file = "enabled";
            }
            "Get" => reply = Body::default().text("17"),
            other => unit.asked.push(other.to_owned()),
        }
        serial += 1;
        stream.write_all(&marshal(2, serial, call.serial, &[], &reply))?;
        if let Some(result) = after {
            for (job, result) in [("/job/0", "canceled"), ("/job/1", result)] {
                let body = Body::default().text("1").text(job).text("web.service").text(result);
                stream.write_all(&marshal(4, serial, 0, &[(3, 's', "JobRemoved")], &body))?;
            }
        }
    }
}

/// A reply of type `a{sv}`, which the marshaller itself has no need for.
fn properties(serial: u32, reply_to: u32, entries: &[(&str, &str)]) -> Vec<u8> {
    let mut array = Vec::new();
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    };
    for (key, value) in entries {
        array.resize(array.len().next_multiple_of(8), 0);
        text(&mut array, key);
        array.extend_from_slice(&[1, b's', 0]);
        text(&mut array, value);
    }
    let mut body = (array.len() as u32).to_le_bytes().to_vec();
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&array);
    let mut bytes = vec![b'l', 2, 0, 1];
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&serial.to_le_bytes());
    let mut fields = vec![5, 1, b'u', 0];
    fields.extend_from_slice(&reply_to.to_le_bytes());
    fields.extend_from_slice(&[8, 1, b'g', 0, 5]);
    fields.extend_from_slice(b"a{sv}\0");
    bytes.extend_from_slice(&(fields.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&fields);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(&body);
    bytes
}

fn bench(active: &'static str, file: &'static str) -> (Bench, Arc<Mutex<Unit>>) {
    let bench = Bench::new();
    let path = bench.path("run/systemd/private");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(path).unwrap();
    let unit = Arc::new(Mutex::new(Unit { active, file, asked: vec![] }));
    let shared = unit.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = serve(stream, &shared);
        }
    });
    (bench, unit)
}

#[test]
fn starts_and_enables_once() {
    let (bench, unit) = bench("inactive", "disabled");
    let args = json!({"name": "web", "state": "started", "enabled": true});
    assert_eq!(bench.call("systemd", args.clone(), true).result["changed"], true);
    assert!(unit.lock().unwrap().asked.is_empty(), "a check must ask for nothing");
    let result = bench.run("systemd", args.clone());
    assert_eq!((result["changed"].as_bool(), result["state"].as_str()), (Some(true), Some("started")));
    assert_eq!(unit.lock().unwrap().asked, ["enable", "Reload", "StartUnit"]);
    let again = bench.run("service", args);
    assert_eq!((again["changed"].as_bool(), again["status"]["MainPID"].as_str()), (Some(false), Some("17")));
}

#[test]
fn restarts_and_reloads_the_manager() {
    let (bench, unit) = bench("active", "enabled");
    bench.run("systemd", json!({"name": "web.service", "state": "restarted", "daemon_reload": true}));
    assert_eq!(unit.lock().unwrap().asked, ["Reload", "RestartUnit"]);
    let result = bench.run("systemd", json!({"daemon_reload": "yes"}));
    assert_eq!(result["changed"], false);
}

#[test]
fn failures_are_told() {
    let (bench, _unit) = bench("failed", "enabled");
    let msg = bench.fault("systemd", json!({"name": "web", "state": "started"}));
    assert!(msg.starts_with("Unable to start service web: Job for web.service failed"), "{msg}");
    let msg = bench.fault("service", json!({"name": "nope", "state": "started"}));
    assert_eq!(msg, "Could not find the requested service nope: host");
    let check = bench.call("service", json!({"name": "nope", "state": "started"}), true);
    assert_eq!(check.result["changed"], true);
    assert!(bench.fault("systemd", json!({"state": "started"})).contains("name"));
}
