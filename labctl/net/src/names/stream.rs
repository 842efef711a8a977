//! Queries over TCP (RFC 7766): each message has a 2-byte length prefix.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::{Answer, Names};

/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(10);

/// Answers the queries of one connection in turn until it ends or falls silent.
pub(crate) async fn serve_stream(names: Arc<Names>, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while let Ok(Ok(length)) = timeout(IDLE, stream.read_u16()).await {
        let mut question = vec![0; usize::from(length)];
        let Ok(Ok(_)) = timeout(IDLE, stream.read_exact(&mut question)).await else { return };
        let reply = match names.answer(&question) {
            Answer::Reply(reply) => Some(reply),
            Answer::Forward => names.forward_stream(&question).await,
            Answer::Nothing => None,
        };
        let Some(reply) = reply else { return };
        let Ok(length) = u16::try_from(reply.len()) else { return };
        if stream.write_all(&[&length.to_be_bytes(), &reply[..]].concat()).await.is_err() {
            return;
        }
    }
}
