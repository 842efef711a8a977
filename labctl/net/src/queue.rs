//! Frames waiting to be written to a guest. Bounded, so that a slow guest costs limited memory and delays no other
//! guest.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::frame::Frame;

/// Limit on the bytes waiting for one guest. At 1 Gbit/s that is 16 ms: more only adds delay.
const MOST_BYTES: usize = 2 << 20;

/// Limit on the frames waiting for one guest, because small frames cost more than their bytes.
const MOST_FRAMES: usize = 4096;

/// The queue of one port. Filled by the switch's task, emptied by the port's.
#[derive(Debug, Default)]
pub(crate) struct PortQueue {
    // A plain mutex, because it is held only briefly and never across an await.
    waiting: Mutex<Waiting>,
    filled: Notify,
    dropped: AtomicU64,
    sent_frames: AtomicU64,
    sent_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
    connected: bool,
}

impl PortQueue {
    /// Queues `frames` in order, leaving `frames` empty. Frames that do not fit are dropped and counted, and so is
    /// everything while there is no connection.
    pub(crate) fn push(&self, frames: &mut Vec<Frame>) {
        let mut waiting = self.lock();
        for frame in frames.drain(..) {
            let fits = waiting.bytes + frame.len() <= MOST_BYTES && waiting.frames.len() < MOST_FRAMES;
            if waiting.connected && fits {
                waiting.bytes += frame.len();
                waiting.frames.push_back(frame);
            } else {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        let some = !waiting.frames.is_empty();
        drop(waiting);
        if some {
            self.filled.notify_one();
        }
    }

    /// Waits for frames and moves up to `most` of them to `batch`.
    pub(crate) async fn pop(&self, batch: &mut VecDeque<Frame>, most: usize) {
        loop {
            {
                let mut waiting = self.lock();
                let count = waiting.frames.len().min(most);
                if count > 0 {
                    for frame in waiting.frames.drain(..count).collect::<Vec<_>>() {
                        waiting.bytes -= frame.len();
                        batch.push_back(frame);
                    }
                    return;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Sets whether the guest is connected. Waiting frames belong to the old connection and are dropped.
    pub(crate) fn set_connected(&self, connected: bool) {
        let mut waiting = self.lock();
        self.dropped.fetch_add(waiting.frames.len() as u64, Ordering::Relaxed);
        *waiting = Waiting { connected, ..Waiting::default() };
    }

    /// Whether QEMU is connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.lock().connected
    }

    /// Counts a written frame of that many bytes.
    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent_frames.fetch_add(1, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Frames written, their bytes, frames dropped.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.sent_frames), read(&self.sent_bytes), read(&self.dropped))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held, and the queue would remain consistent even then.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use bytes::BytesMut;

    fn frame_of(payload: usize) -> Frame {
        let mut run = BytesMut::new();
        frame::append(&mut run, [1; 6], [2; 6], 0x0800, payload, |_| ());
        frame::frames(run.freeze()).next().unwrap()
    }

    #[tokio::test]
    async fn a_full_queue_drops_the_newest() {
        let queue = PortQueue::default();
        queue.set_connected(true);
        let mut frames: Vec<Frame> = (0..MOST_FRAMES + 5).map(|n| frame_of(n % 50)).collect();
        let first = frames[0].clone();
        queue.push(&mut frames);
        assert_eq!(queue.counts().2, 5);
        let mut batch = VecDeque::new();
        queue.pop(&mut batch, 3).await;
        assert_eq!((batch.len(), &batch[0]), (3, &first));
        queue.push(&mut vec![frame_of(MOST_BYTES)]);
        assert_eq!(queue.counts().2, 6, "a queue is bounded in bytes as well");
    }

    #[test]
    fn nothing_waits_without_a_connection() {
        let queue = PortQueue::default();
        queue.push(&mut vec![frame_of(1)]);
        queue.set_connected(true);
        queue.push(&mut vec![frame_of(1)]);
        queue.set_connected(false);
        assert_eq!(queue.counts().2, 2);
        assert!(!queue.is_connected());
    }
}
