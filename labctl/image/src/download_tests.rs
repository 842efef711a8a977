use sha2::{Digest, Sha256};

use super::*;
use crate::progress::Silent;
use crate::test_server::{Served, TestServer};

fn content() -> Vec<u8> {
    (0..300_000u32).flat_map(|n| n.to_le_bytes()).collect()
}

fn sum(content: &[u8]) -> Checksum {
    Checksum::Sha256(hex::encode(Sha256::digest(content)))
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn fetch(&self, url: &str, checksum: &Checksum) -> Result<Vec<u8>, DownloadError> {
        let to = self.folder.path().join("result");
        let download = Download { url, checksum, root: self.folder.path(), key: "k", outside: &Outside::default() };
        download.fetch(&to, &Silent)?;
        Ok(fs::read(to).unwrap())
    }

    fn partial(&self) -> u64 {
        length(&self.folder.path().join("downloads/k.partial"))
    }
}

#[test]
fn a_whole_file_arrives_and_leaves_nothing_beside_it() {
    let (server, place) = (TestServer::start(), Place::new());
    server.content("/a", &content());
    assert_eq!(place.fetch(&server.url("/a"), &sum(&content())).unwrap(), content());
    assert_eq!(fs::read_dir(place.folder.path().join("downloads")).unwrap().count(), 0);
}

#[test]
fn a_connection_cut_at_half_is_resumed_there_at_once() {
    let (server, place) = (TestServer::start(), Place::new());
    let cuts = vec![600_000];
    server.put("/a", Served { content: content(), etag: Some("\"1\"".into()), cuts, ..Served::default() });
    assert_eq!(place.fetch(&server.url("/a"), &sum(&content())).unwrap(), content());
    assert_eq!(server.requests(), ["/a", "/a bytes=600000-"]);
}

#[test]
fn what_arrived_is_kept_for_the_next_command() {
    let (server, place) = (TestServer::start(), Place::new());
    let cuts = vec![600_000, 0, 0, 0];
    server.put("/a", Served { content: content(), etag: Some("\"1\"".into()), cuts, ..Served::default() });
    let error = place.fetch(&server.url("/a"), &sum(&content())).unwrap_err();
    assert!(matches!(error, DownloadError::Broken { got: 600_000, total: Some(1_200_000), .. }), "{error}");
    assert!(error.hint().contains("where it broke off"));
    assert_eq!(place.partial(), 600_000);
    assert_eq!(place.fetch(&server.url("/a"), &sum(&content())).unwrap(), content());
    assert_eq!(server.requests().last().unwrap(), "/a bytes=600000-");
}

#[test]
fn a_file_that_changed_meanwhile_is_begun_again() {
    let (server, place) = (TestServer::start(), Place::new());
    let cuts = vec![600_000, 0, 0, 0];
    server.put("/a", Served { content: vec![7; 1_200_000], etag: Some("\"1\"".into()), cuts, ..Served::default() });
    place.fetch(&server.url("/a"), &sum(&content())).unwrap_err();
    server.put("/a", Served { content: content(), etag: Some("\"2\"".into()), ..Served::default() });
    assert_eq!(place.fetch(&server.url("/a"), &sum(&content())).unwrap(), content());
}

#[test]
fn a_changed_file_without_a_version_is_noticed_by_its_checksum_and_begun_again() {
    let (server, place) = (TestServer::start(), Place::new());
    server.put("/a", Served { content: vec![7; 1_200_000], cuts: vec![600_000, 0, 0, 0], ..Served::default() });
    place.fetch(&server.url("/a"), &sum(&content())).unwrap_err();
    server.put("/a", Served { content: content(), ..Served::default() });
    assert_eq!(place.fetch(&server.url("/a"), &sum(&content())).unwrap(), content());
    assert_eq!(server.requests()[server.requests().len() - 2..], ["/a bytes=600000-", "/a"]);
}

#[test]
fn a_server_that_cannot_resume_sends_all_of_it() {
    let (server, place) = (TestServer::start(), Place::new());
    server.put("/a", Served { content: content(), cuts: vec![600_000], no_ranges: true, ..Served::default() });
    assert_eq!(place.fetch(&server.url("/a"), &sum(&content())).unwrap(), content());
}

#[test]
fn a_wrong_checksum_publishes_nothing_and_keeps_nothing() {
    let (server, place) = (TestServer::start(), Place::new());
    server.content("/a", b"evil");
    let error = place.fetch(&server.url("/a"), &sum(b"good")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("wrong checksum") && text.contains(&hex::encode(Sha256::digest(b"evil"))), "{text}");
    assert!(!place.folder.path().join("result").exists());
    assert_eq!(fs::read_dir(place.folder.path().join("downloads")).unwrap().count(), 0);
    assert_eq!(server.requests(), ["/a"], "a wrong file is not asked for twice");
}

#[test]
fn a_part_that_is_the_whole_is_not_asked_for_again() {
    let (server, place) = (TestServer::start(), Place::new());
    server.content("/a", &content());
    let downloads = place.folder.path().join("downloads");
    fs::create_dir(&downloads).unwrap();
    fs::write(downloads.join("k.partial"), content()).unwrap();
    fs::write(downloads.join("k.json"), serde_json::json!({"url": server.url("/a"), "version": "\"1\""}).to_string()).unwrap();
    assert_eq!(place.fetch(&server.url("/a"), &sum(&content())).unwrap(), content());
}

#[test]
fn absent_files_and_absent_servers_are_told_apart() {
    let (server, place) = (TestServer::start(), Place::new());
    let error = place.fetch(&server.url("/none"), &sum(b"")).unwrap_err();
    assert!(matches!(error, DownloadError::Status { status: 404, .. }), "{error}");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = place.fetch(&format!("http://127.0.0.1:{port}/a"), &sum(b"")).unwrap_err();
    assert!(matches!(error, DownloadError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&format!("http://127.0.0.1:{port}/a")), "{error}");
}

#[test]
fn small_files_have_a_limit() {
    let server = TestServer::start();
    server.content("/small", b"x");
    server.content("/large", &vec![0; SMALL as usize + 1]);
    assert_eq!(fetch_small(&server.url("/small"), &Outside::default()).unwrap(), b"x");
    assert!(matches!(fetch_small(&server.url("/large"), &Outside::default()), Err(DownloadError::TooLarge { .. })));
    assert!(matches!(fetch_small(&server.url("/none"), &Outside::default()), Err(DownloadError::Status { status: 404, .. })));
}
