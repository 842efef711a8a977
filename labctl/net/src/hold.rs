//! Frames that are held back: from the first shot of a kill to the last confirmed death no guest hears of another.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::frame::Frame;
use crate::place::Place;

/// Most bytes that are held.
const MOST_BYTES: usize = 64 << 20;

/// Most frames that are held.
const MOST_FRAMES: usize = 1 << 17;

/// What was held, as told by a release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldReport {
    /// Frames that were held and then went on.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that found no room and were dropped.
    pub dropped: u64,
    /// From the hold to its release.
    pub duration: Duration,
}

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

    /// What was held, and the frames themselves.
    pub(crate) fn release(self) -> (HeldReport, VecDeque<(Place, Frame)>) {
        let report = HeldReport {
            frames: self.frames.len() as u64,
            bytes: self.bytes as u64,
            dropped: self.dropped,
            duration: self.since.elapsed(),
        };
        (report, self.frames)
    }
}
