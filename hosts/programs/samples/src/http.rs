//! As much of HTTP/1.1 (RFC 9112) as a service behind a proxy needs: a request line, headers, no bodies.

use std::io::{self, BufRead, Read, Write};

/// Longest request line with headers, in bytes; what is longer is refused.
const LARGEST_HEAD: u64 = 8 << 10;

/// A request's head.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Method as written.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query without the question mark; empty if there is none.
    pub query: String,
    /// Whether the connection may serve another request.
    pub keep_alive: bool,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Response {
    /// A plain text.
    pub fn text(body: &str) -> Self {
        Self { status: 200, content_type: "text/plain; charset=utf-8", body: body.to_owned() }
    }

    /// A page.
    pub fn html(body: String) -> Self {
        Self { status: 200, content_type: "text/html; charset=utf-8", body }
    }

    /// JSON.
    pub fn json(body: String) -> Self {
        Self { status: 200, content_type: "application/json", body }
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

/// Reads one request. None if the client closed the connection between requests.
///
/// # Errors
/// `InvalidData` if it is not a request that this server understands; otherwise what reading said.
pub fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = reader.take(LARGEST_HEAD);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let bad = |reason| io::Error::new(io::ErrorKind::InvalidData, reason);
    let mut words = line.trim_end().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(bad("the request line wants method, target and version"));
    };
    let mut keep_alive = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return Err(bad("HTTP/1.0 and HTTP/1.1 only")),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Err(bad("the headers are too long or do not end"));
        }
        let header = line.trim_end();
        if header.is_empty() {
            return Ok(Some(Request { method, path, query, keep_alive }));
        }
        let Some((name, value)) = header.split_once(':') else {
            return Err(bad("a header wants a colon"));
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("connection") {
            keep_alive = value.eq_ignore_ascii_case("keep-alive") || (keep_alive && !value.eq_ignore_ascii_case("close"));
        } else if name.eq_ignore_ascii_case("transfer-encoding") || (name.eq_ignore_ascii_case("content-length") && value != "0") {
            // A body would be taken for the next request.
            return Err(bad("requests with a body are not understood"));
        }
    }
}

/// Writes one answer; without its body if `head_only`.
///
/// # Errors
/// What writing said.
pub fn write_response(writer: &mut impl Write, response: &Response, keep_alive: bool, head_only: bool) -> io::Result<()> {
    let reason = match response.status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        502 => "Bad Gateway",
        _ => "Service Unavailable",
    };
    // Pages of one instance ask others. One write, so that one packet carries a whole answer.
    let mut message = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {}\r\nAccess-Control-Allow-Origin: *\r\n\r\n",
        response.status,
        response.content_type,
        response.body.len(),
        if keep_alive { "keep-alive" } else { "close" }
    );
    if !head_only {
        message.push_str(&response.body);
    }
    writer.write_all(message.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<Option<Request>> {
        read_request(&mut text.as_bytes())
    }

    #[test]
    fn reads_requests_one_after_the_other() {
        let mut both = "GET /fib?n=20 HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.0\r\n\r\n".as_bytes();
        let first = read_request(&mut both).unwrap().unwrap();
        assert_eq!((first.path.as_str(), first.query.as_str(), first.keep_alive), ("/fib", "n=20", true));
        let second = read_request(&mut both).unwrap().unwrap();
        assert_eq!((second.path.as_str(), second.query.as_str(), second.keep_alive), ("/", "", false));
        assert_eq!(read_request(&mut both).unwrap(), None);
    }

    #[test]
    fn the_client_decides_about_the_connection() {
        assert!(!read("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap().unwrap().keep_alive);
        assert!(read("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n").unwrap().unwrap().keep_alive);
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000));
        for bad in [
            "GET /\r\n\r\n",
            "GET / HTTP/2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "\u{0}\u{1}\r\n\r\n",
            &long,
        ] {
            let kind = read(bad).map_err(|error| error.kind());
            assert_eq!(kind, Err(io::ErrorKind::InvalidData), "{}", &bad[..bad.len().min(40)]);
        }
    }

    #[test]
    fn a_head_request_gets_no_body() {
        let response = Response::text("ok\n");
        let mut out = Vec::new();
        write_response(&mut out, &response, true, true).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("Content-Length: 3\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }
}
