//! Frames that an impaired edge delivers later.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::time::Instant;

use crate::frame::Frame;
use crate::place::Place;

/// Limit on the bytes of waiting frames. Beyond it a delay becomes a loss, which is counted.
const MOST_BYTES: usize = 128 << 20;

/// Frames ordered by due time; frames due at the same time keep their order.
#[derive(Debug, Default)]
pub(crate) struct Delayed {
    heap: BinaryHeap<Reverse<Entry>>,
    bytes: usize,
    next: u64,
    dropped: u64,
}

#[derive(Debug)]
struct Entry {
    due: Instant,
    number: u64,
    from: Place,
    to: Place,
    frame: Frame,
}

impl Delayed {
    pub(crate) fn push(&mut self, due: Instant, from: Place, to: Place, frame: &Frame) {
        if self.bytes + frame.len() > MOST_BYTES {
            self.dropped += 1;
            return;
        }
        self.bytes += frame.len();
        self.heap.push(Reverse(Entry { due, number: self.next, from, to, frame: frame.detached() }));
        self.next += 1;
    }

    /// When the next frame is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.due)
    }

    /// The next frame that is due by `now`: sender, receiver, frame.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Place, Place, Frame)> {
        self.due().filter(|due| *due <= now)?;
        let Reverse(entry) = self.heap.pop()?;
        self.bytes -= entry.frame.len();
        Some((entry.from, entry.to, entry.frame))
    }

    /// Frames dropped because there was no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}
