//! The host's side of a guest's connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

/// Buffer size in bytes for each direction between a dialled stream and its flow.
const PIPE: usize = 64 << 10;

/// A byte stream that can also be reset.
pub(crate) trait HostSide: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the following drop send a reset instead of closing in order.
    fn reset(&mut self);
}

impl HostSide for TcpStream {
    fn reset(&mut self) {
        // Fails only on a socket that is already broken.
        let _ = self.set_zero_linger();
    }
}

/// One end of an in-memory pipe; the other is a [`DialStream`].
#[derive(Debug)]
pub(crate) struct PipeEnd {
    stream: DuplexStream,
    broken: Arc<AtomicBool>,
}

/// A TCP connection from the gateway into a guest. Dropping it closes the connection in order.
#[derive(Debug)]
pub struct DialStream(PipeEnd);

/// An in-memory pipe.
pub(crate) fn pipe() -> (PipeEnd, DialStream) {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let broken = Arc::new(AtomicBool::new(false));
    (PipeEnd { stream: ours, broken: broken.clone() }, DialStream(PipeEnd { stream: theirs, broken }))
}

impl PipeEnd {
    /// A pipe reports only its end; a separate flag records whether that was a reset.
    fn checked<T>(&self, at_end: bool, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if at_end && self.broken.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        polled
    }
}

impl HostSide for PipeEnd {
    fn reset(&mut self) {
        self.broken.store(true, Ordering::Release);
    }
}

impl AsyncRead for PipeEnd {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let room = buffer.remaining() > 0;
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let at_end = room && matches!(polled, Poll::Ready(Ok(()))) && buffer.filled().len() == before;
        self.checked(at_end, polled)
    }
}

impl AsyncWrite for PipeEnd {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        let at_end = matches!(polled, Poll::Ready(Err(_)));
        self.checked(at_end, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for DialStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for DialStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
