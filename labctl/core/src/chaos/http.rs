//! One HTTP request over an already open stream.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use labctl_chaos::HttpAnswer;
use tokio::net::UnixStream;

/// Longest body that is read.
const BODY: usize = 4 << 20;

/// `GET path` on `stream`; `host` goes into the request's header.
pub async fn get(stream: UnixStream, host: &str, path: &str) -> Result<HttpAnswer, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|why| why.to_string())?;
    let request = Request::get(path)
        .header("host", host)
        .header("user-agent", "labctl")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|why| why.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|why| why.to_string())?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), BODY).collect().await.map_err(|why| why.to_string())?;
        Ok(HttpAnswer { status, body: body.to_bytes().to_vec() })
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
