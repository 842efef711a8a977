//! One HTTP request over an already open stream.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Longest body that is read.
const BODY: usize = 16 << 20;

/// What to ask.
#[derive(Debug, Default)]
pub struct Ask<'a> {
    /// The method.
    pub method: Method,
    /// The path with its query.
    pub path: &'a str,
    /// Headers besides those that every request has.
    pub headers: Vec<(&'static str, &'a str)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Nomad's and Consul's index of the data (`X-Nomad-Index`), if it is given.
    pub index: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

/// Asks on `stream`; `host` goes into the request's header.
pub async fn ask(stream: UnixStream, host: &str, ask: Ask<'_>) -> Result<Answer, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|why| why.to_string())?;
    let request = Request::builder().method(ask.method).uri(ask.path).header("host", host).header("user-agent", "labctl");
    let request = ask.headers.into_iter().fold(request.header("connection", "close"), |request, (name, value)| request.header(name, value));
    let request = request.body(Full::new(Bytes::from(ask.body))).map_err(|why| why.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|why| why.to_string())?;
        let status = answer.status().as_u16();
        let index = answer.headers().get("x-nomad-index").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(answer.into_body(), BODY).collect().await.map_err(|why| why.to_string())?;
        Ok(Answer { status, index, body: body.to_bytes().to_vec() })
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => {
            // The other side may close right after its answer, which has then been read already.
            match (futures_now(&mut answer).await, ended) {
                (Some(answer), _) => answer,
                (None, Err(why)) => Err(why.to_string()),
                (None, Ok(())) => answer.await,
            }
        }
    }
}

/// The future's result if it is ready now.
async fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::time::timeout(std::time::Duration::ZERO, future).await.ok()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_sent_and_what_comes_back() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let server = tokio::spawn(async move {
            let mut got = vec![0; 4096];
            let mut length = 0;
            while !got[..length].ends_with(b"{}") {
                length += there.read(&mut got[length..]).await.unwrap();
            }
            there.write_all(b"HTTP/1.1 404 Not Found\r\nX-Nomad-Index: 7\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
            String::from_utf8(got[..length].to_vec()).unwrap()
        });
        let asked = Ask { method: Method::POST, path: "/v1/jobs?a=b", headers: vec![("x-nomad-token", "t")], body: b"{}".to_vec() };
        let answer = ask(here, "s:4646", asked).await.unwrap();
        assert_eq!((answer.status, answer.index, answer.body.as_slice()), (404, Some(7), &b"no"[..]));
        let request = server.await.unwrap();
        assert!(request.starts_with("POST /v1/jobs?a=b HTTP/1.1\r\n"), "{request}");
        for header in ["host: s:4646", "x-nomad-token: t", "content-length: 2"] {
            assert!(request.contains(header), "{request}");
        }
    }
}
