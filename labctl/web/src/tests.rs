//! The dashboard over real connections, with a fake lab.

use std::sync::Arc;

use labctl_lab::control::{LabStatus, Stamped};
use labctl_lab::event::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Dashboard, Feed, Source, Update};

#[derive(Default)]
struct Fake {
    feed: Feed,
}

impl Source for Fake {
    fn feed(&self) -> &Feed {
        &self.feed
    }

    fn report(&self, name: &str) -> Option<String> {
        (name == "kill-1").then(|| "kill: passed\n".to_owned())
    }
}

fn status(nodes: &str) -> LabStatus {
    serde_json::from_str(&format!(r#"{{"lab": "tiny", "supervisor": 7, "accel": null, "nodes": [{nodes}]}}"#)).unwrap()
}

const NODE: &str = r#"{"name": "vm1", "state": "running", "address": "10.70.0.10", "loopback": "127.70.0.10", "hostnames": ["vm1.tiny"],
    "groups": [], "published": [[8080, 80]], "pid": 9, "memory_mib": 512, "cpus": 1}"#;

/// A dashboard of a lab with one node.
struct Served {
    source: Arc<Fake>,
    host: String,
    token: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn served() -> Served {
    let source = Arc::new(Fake::default());
    source.feed.publish(Update::Status(status(NODE)));
    let dashboard = Dashboard::bind(0).await.unwrap();
    let host = dashboard.address().to_string();
    let (_, token) = dashboard.url().split_once("token=").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let shown = source.clone();
    let task = tokio::spawn(async move { dashboard.serve(shown).await.unwrap() });
    Served { source, host, token, task }
}

impl Served {
    async fn send(&self, path: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.host).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
        stream
    }

    async fn get_with(&self, path: &str, headers: &str) -> String {
        let mut text = String::new();
        self.send(path, headers).await.read_to_string(&mut text).await.unwrap();
        text
    }

    /// The headers of a browser that was given the token before.
    fn headers(&self) -> String {
        let port = self.host.rsplit(':').next().unwrap();
        format!("Host: {}\r\nCookie: labctl-{port}={}\r\n", self.host, self.token)
    }

    async fn get(&self, path: &str) -> String {
        self.get_with(path, &self.headers()).await
    }
}

#[track_caller]
fn assert_status(answer: &str, code: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
}

#[tokio::test]
async fn nothing_is_served_without_the_token() {
    let served = served().await;
    let host = format!("Host: {}\r\n", served.host);
    for path in ["/", "/dashboard.js", "/api/status", "/api/stream", "/api/reports/kill-1", "/nowhere", "/?token=", "/?token=0", "/?x=1"] {
        let answer = served.get_with(path, &host).await;
        assert_status(&answer, 401);
        assert!(!answer.to_lowercase().contains("set-cookie"), "{answer}");
        assert!(!answer.contains("vm1"), "{answer}");
    }
    let wrong = format!("{host}Cookie: labctl-1={}\r\n", served.token);
    assert_status(&served.get_with("/", &wrong).await, 401);
}

#[tokio::test]
async fn the_token_becomes_a_cookie() {
    let served = served().await;
    let answer = served.get_with(&format!("/?token={}", served.token), &format!("Host: {}\r\n", served.host)).await;
    assert_status(&answer, 200);
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    let (pair, _) = cookie.split_once(';').unwrap();
    assert_status(&served.get_with("/api/status", &format!("Host: {}\r\nCookie: {pair}\r\n", served.host)).await, 200);
}

#[tokio::test]
async fn another_host_name_is_refused_even_with_the_token() {
    let served = served().await;
    let token = &served.token;
    for hosts in ["Host: evil.example\r\n", "Host: evil.example:80\r\n", "", "Host: localhost\r\nHost: evil.example\r\n"] {
        let answer = served.get_with(&format!("/api/status?token={token}"), hosts).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") || (hosts.is_empty() && answer.starts_with("HTTP/1.1 400 ")), "{hosts}{answer}");
        assert!(!answer.contains("vm1"), "{answer}");
    }
    let answer = served.get_with(&format!("/api/status?token={token}"), "Host: localhost:1234\r\n").await;
    assert_status(&answer, 200);
}

#[tokio::test]
async fn the_page_asks_no_other_server() {
    let served = served().await;
    let page = served.get("/").await;
    assert_status(&page, 200);
    let policy = page.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(page.contains("<title>labctl</title>"), "{page}");
    for (path, kind) in
        [("/", "text/html"), ("/dashboard.js", "text/javascript"), ("/dashboard.css", "text/css"), ("/icon.svg", "image/svg+xml")]
    {
        let answer = served.get(path).await;
        assert_status(&answer, 200);
        assert!(answer.contains(&format!("content-type: {kind}")), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        // The policy forbids inline code too, so there must be none.
        for forbidden in ["src=\"http", "href=\"http", "url(", "@import", "<style", "onclick", "innerHTML", "eval("] {
            assert!(!body.contains(forbidden), "{path} contains {forbidden}");
        }
    }
}

#[tokio::test]
async fn the_state_is_json() {
    let served = served().await;
    let answer = served.get("/api/status").await;
    assert_status(&answer, 200);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(serde_json::from_str::<LabStatus>(body).unwrap(), status(NODE));
}

#[tokio::test]
async fn reports_are_found_by_name_only() {
    let served = served().await;
    assert!(served.get("/api/reports/kill-1").await.ends_with("kill: passed\n"));
    for name in ["kill-2", "..%2Flab", "%2e%2e"] {
        assert_status(&served.get(&format!("/api/reports/{name}")).await, 404);
    }
}

#[tokio::test]
async fn nothing_can_be_changed() {
    let served = served().await;
    let mut stream = TcpStream::connect(&served.host).await.unwrap();
    let request = format!("POST /api/status HTTP/1.1\r\n{}Content-Length: 0\r\nConnection: close\r\n\r\n", served.headers());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_status(&answer, 405);
}

/// Reads until the text appears.
async fn read_until(stream: &mut TcpStream, seen: &mut String, wanted: &str) {
    let mut buffer = [0; 4096];
    while !seen.contains(wanted) {
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "the stream ended after: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
}

#[tokio::test]
async fn changes_reach_the_page() {
    let served = served().await;
    let before = Stamped { at_unix_ms: 1, event: Event::Note { text: "before".into() } };
    served.source.feed.publish(Update::Happened(before.clone()));
    let mut stream = served.send("/api/stream", &served.headers()).await;
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, r#""text":"before""#).await;
    assert!(seen.contains("event: begin") && seen.contains("event: status") && seen.contains("vm1"), "{seen}");
    // What is already known is not sent again.
    served.source.feed.publish(Update::Happened(before));
    served.source.feed.publish(Update::Status(status(NODE)));
    let after = Event::Warning { text: "line one\nline two".into() };
    served.source.feed.publish(Update::Happened(Stamped { at_unix_ms: 2, event: after }));
    served.source.feed.publish(Update::Status(status("")));
    read_until(&mut stream, &mut seen, r#""nodes":[]"#).await;
    assert_eq!(seen.matches(r#""text":"before""#).count(), 1, "{seen}");
    assert_eq!(seen.matches("event: status").count(), 2, "{seen}");
    assert!(seen.contains(r#"data: {"at_unix_ms":2,"event":"warning","text":"line one\nline two"}"#), "{seen}");
}

#[tokio::test]
async fn a_taken_port_is_said_plainly() {
    let first = Dashboard::bind(0).await.unwrap();
    let why = Dashboard::bind(first.address().port()).await.err().unwrap();
    assert!(why.message.contains(&first.address().to_string()), "{why}");
    assert!(why.hint.unwrap().contains("--port"));
}
