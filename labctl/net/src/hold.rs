//! Frames that are held back: from the first signal of a kill to the last confirmed death, no guest receives frames
//! from another.

use std::collections::VecDeque;

use labctl_spec::network::HeldFrames;
use tokio::time::Instant;

use crate::frame::Frame;
use crate::place::Place;

/// Limit on held bytes.
const MOST_BYTES: usize = 64 << 20;

/// Limit on held frames.
const MOST_FRAMES: usize = 1 << 17;

/// The frames of one hold, in the order in which they arrived.
#[derive(Debug)]
pub(crate) struct Held {
    frames: VecDeque<(Place, Frame)>,
    bytes: usize,
    dropped: u64,
    since: Instant,
}

impl Held {
    pub(crate) fn new() -> Self {
        Self { frames: VecDeque::new(), bytes: 0, dropped: 0, since: Instant::now() }
    }

    pub(crate) fn push(&mut self, from: Place, frame: &Frame) {
        if self.bytes + frame.len() > MOST_BYTES || self.frames.len() >= MOST_FRAMES {
            self.dropped += 1;
            return;
        }
        self.bytes += frame.len();
        self.frames.push_back((from, frame.detached()));
    }

    /// The summary, and the frames themselves.
    pub(crate) fn release(self) -> (HeldFrames, VecDeque<(Place, Frame)>) {
        let report = HeldFrames {
            frames: self.frames.len() as u64,
            bytes: self.bytes as u64,
            dropped: self.dropped,
            duration_ms: self.since.elapsed().as_secs_f64() * 1e3,
        };
        (report, self.frames)
    }
}
