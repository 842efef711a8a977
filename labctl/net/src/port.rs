//! The task of one port: keeps a connection to QEMU's socket and moves frames both ways.
//!
//! ```text
//!   connect ──fails──▶ wait (5 ms, doubled up to 100 ms) ──▶ connect
//!      │
//!      ▼
//!   serve ──end of stream, error──▶ wait 5 ms ──▶ connect
//! ```
//! It ends only when aborted.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::frame::{self, Frame};
use crate::place::{Place, Run};
use crate::queue::PortQueue;

const SHORTEST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Size of one read: forty full frames, or the longest single frame that QEMU sends.
const READ: usize = 128 << 10;

/// Limit on frames in one write.
const BATCH: usize = 128;

/// Serves the port forever.
pub(crate) async fn run(socket: Arc<Path>, place: Place, queue: Arc<PortQueue>, ingress: mpsc::Sender<Run>) {
    let mut wait = SHORTEST_WAIT;
    loop {
        match UnixStream::connect(&socket).await {
            Ok(mut stream) => {
                wait = SHORTEST_WAIT;
                queue.set_connected(true);
                let (from_guest, to_guest) = stream.split();
                // Whichever ends first ends the connection.
                let ended = tokio::select! {
                    ended = read(from_guest, place, &ingress) => ended,
                    ended = write(to_guest, &queue) => ended,
                };
                queue.set_connected(false);
                tracing::debug!(socket = %socket.display(), ?ended, "port disconnected");
            }
            // No socket yet, nothing listening, or QEMU busy with another connection: all temporary.
            Err(error) => tracing::trace!(socket = %socket.display(), %error, "port not connected"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn read(mut from: impl AsyncRead + Unpin, place: Place, ingress: &mpsc::Sender<Run>) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ);
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        if let Some(bytes) = frame::take_run(&mut buffer).map_err(std::io::Error::other)? {
            // A full channel holds back this guest's frames in QEMU, and no other guest's.
            if ingress.send(Run { from: place, bytes }).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn write(mut to: impl AsyncWrite + Unpin, queue: &PortQueue) -> std::io::Result<()> {
    let mut batch: VecDeque<Frame> = VecDeque::with_capacity(BATCH);
    loop {
        queue.pop(&mut batch, BATCH).await;
        let mut skip = 0;
        while !batch.is_empty() {
            let mut slices = [IoSlice::new(&[]); BATCH];
            let mut count = 0;
            for (slice, frame) in slices.iter_mut().zip(&batch) {
                *slice = IoSlice::new(&frame.wire()[if count == 0 { skip } else { 0 }..]);
                count += 1;
            }
            let mut written = skip + to.write_vectored(&slices[..count]).await?;
            if written == skip {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            while let Some(first) = batch.front() {
                if written < first.wire().len() {
                    break;
                }
                written -= first.wire().len();
                queue.count_sent(first.len());
                batch.pop_front();
            }
            skip = written;
        }
    }
}
