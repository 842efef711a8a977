//! As much of an HTTP client as a service needs to ask another one.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Largest answer that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Asks `ADDRESS:PORT` for a path; returns the body of an answer with status 200.
///
/// # Errors
/// It cannot be reached or is silent for that long, or has another status.
pub fn get(server: &str, path: &str, patience: Duration) -> io::Result<String> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("{server} has no address"));
    let address = server.to_socket_addrs()?.next().ok_or_else(unknown)?;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(LARGEST).read_to_string(&mut answer)?;
    let bad = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{server}: {reason}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| bad("no HTTP answer"))?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        status => Err(bad(&format!("status {}", status.unwrap_or("-")))),
    }
}
