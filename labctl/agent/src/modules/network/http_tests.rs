//! `get_url` and `uri` against a server on the loopback interface.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use serde_json::json;

use crate::modules::call::testing::Bench;

/// Serves `/file` (with a body), `/sums`, `/json`, `/echo`, `/moved`; anything else is not found. Returns its address.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
            let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            let path = head.split(' ').nth(1).unwrap_or_default();
            let (status, extra, body) = match path {
                "/file" => ("200 OK", "", b"contents".to_vec()),
                "/sums" => {
                    ("200 OK", "", b"0000  other\nd1b2a59fbea7e20077af9f91b27e95e865061b270be03ff539ab3b73587882e8  ./file\n".to_vec())
                }
                "/json" => ("200 OK", "Content-Type: application/json\r\n", b"{\"a\": [1]}".to_vec()),
                "/echo" => ("201 Created", "Content-Type: text/plain\r\n", [head.as_bytes(), &body].concat()),
                "/moved" => ("302 Found", "Location: /file\r\n", vec![]),
                _ => ("404 Not Found", "", b"no".to_vec()),
            };
            let head = format!("HTTP/1.1 {status}\r\n{extra}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = reader.get_mut().write_all(&[head.as_bytes(), &body].concat());
        }
    });
    address
}

#[test]
fn files_are_fetched_once() {
    let (bench, server) = (Bench::new(), serve());
    let sum = "sha256:d1b2a59fbea7e20077af9f91b27e95e865061b270be03ff539ab3b73587882e8";
    let args = json!({"url": format!("{server}/moved"), "dest": bench.text_path("f"), "checksum": sum, "mode": "0600"});
    let result = bench.converges("get_url", args, true);
    assert_eq!((bench.read("f").as_str(), result["mode"].as_str()), ("contents", Some("0600")));
    let again = bench.run("get_url", json!({"url": "http://127.0.0.1:1/", "dest": bench.text_path("f")}));
    assert_eq!((again["changed"].as_bool(), again["msg"].as_str()), (Some(false), Some("file already exists")));
    let force = json!({"url": format!("{server}/file"), "dest": bench.text_path("f"), "force": true});
    assert_eq!(bench.run("get_url", force)["changed"], false);
}

#[test]
fn wrong_sums_and_missing_files_leave_nothing() {
    let (bench, server) = (Bench::new(), serve());
    std::fs::create_dir(bench.path("d")).unwrap();
    let args = json!({"url": format!("{server}/file"), "dest": bench.text_path("d/f"), "checksum": "md5:00"});
    assert!(bench.fault("get_url", args).contains("did not match"));
    let msg = bench.fault("get_url", json!({"url": format!("{server}/none"), "dest": bench.text_path("d")}));
    assert_eq!(msg, "Request failed: HTTP Error 404: Not Found");
    assert_eq!(std::fs::read_dir(bench.path("d")).unwrap().count(), 0);
    let listed = json!({"url": format!("{server}/file"), "dest": bench.text_path("d"), "checksum": format!("sha256:{server}/sums")});
    bench.converges("get_url", listed, true);
    assert_eq!(bench.read("d/file"), "contents");
}

#[test]
fn uri_talks() {
    let (bench, server) = (Bench::new(), serve());
    let result = bench.run("uri", json!({"url": format!("{server}/json"), "return_content": true}));
    assert_eq!((&result["json"], &result["status"]), (&json!({"a": [1]}), &json!(200)));
    assert_eq!(result["content"], "{\"a\": [1]}");
    let post = json!({"url": format!("{server}/echo"), "method": "POST", "body": {"k": "v"}, "body_format": "json",
        "status_code": [200, 201], "return_content": true, "headers": {"X-Token": "t"}, "user": "u", "password": "p", "force_basic_auth": true});
    let content = bench.run("uri", post)["content"].as_str().unwrap().to_lowercase();
    assert!(content.starts_with("post /echo") && content.ends_with("{\"k\": \"v\"}"), "{content}");
    assert!(content.contains("x-token: t") && content.contains("authorization: basic dtpw"), "{content}");
    let msg = bench.fault("uri", json!({"url": format!("{server}/none")}));
    assert!(msg.starts_with("Status code was 404 and not [200]"), "{msg}");
}
