//! A tiny HTTP server on 127.0.0.1 for tests: serves byte strings, ranges included, and misbehaves on request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The content and behaviour of one path.
#[derive(Clone, Default)]
pub(crate) struct Served {
    pub content: Vec<u8>,
    pub etag: Option<String>,
    /// Body lengths after which responses are cut off, one entry per request; later requests are answered in full.
    pub cuts: Vec<usize>,
    /// Ignores `Range`.
    pub no_ranges: bool,
}

/// The server; stops when dropped.
pub(crate) struct TestServer {
    pub base: String,
    files: Arc<Mutex<BTreeMap<String, Served>>>,
    /// `PATH` or `PATH RANGE` of every request, in order.
    requests: Arc<Mutex<Vec<String>>>,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let files: Arc<Mutex<BTreeMap<String, Served>>> = Arc::default();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (shared, log) = (files.clone(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &shared, &log);
                if Arc::strong_count(&shared) == 1 {
                    return;
                }
            }
        });
        Self { base, files, requests }
    }

    pub(crate) fn put(&self, path: &str, served: Served) {
        self.files.lock().unwrap().insert(path.to_string(), served);
    }

    pub(crate) fn content(&self, path: &str, content: &[u8]) {
        self.put(path, Served { content: content.to_vec(), etag: Some("\"1\"".into()), ..Served::default() });
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, files: &Mutex<BTreeMap<String, Served>>, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or("").to_string();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    let range = headers.get("range").cloned();
    log.lock().unwrap().push(range.as_ref().map_or(path.clone(), |range| format!("{path} {range}")));
    let (served, cut) = match files.lock().unwrap().get_mut(&path) {
        None => {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
        Some(served) => {
            let cut = (!served.cuts.is_empty()).then(|| served.cuts.remove(0));
            (served.clone(), cut)
        }
    };
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let same = headers.get("if-range").is_none_or(|wanted| Some(wanted) == served.etag.as_ref());
    let total = served.content.len();
    let (status, body) = match start {
        Some(start) if same && !served.no_ranges && start >= total => {
            let head = format!("HTTP/1.1 416 No\r\ncontent-range: bytes */{total}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return stream.write_all(head.as_bytes());
        }
        Some(start) if same && !served.no_ranges => {
            (format!("206 Partial\r\ncontent-range: bytes {start}-{}/{total}", total - 1), &served.content[start..])
        }
        _ => ("200 OK".to_string(), &served.content[..]),
    };
    let etag = served.etag.map_or(String::new(), |tag| format!("etag: {tag}\r\n"));
    let head = format!("HTTP/1.1 {status}\r\n{etag}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())])
}
