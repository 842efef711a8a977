//! Impairments of directed edges: what happens to the frames from one port to another.
//!
//! All randomness derives from the impairment's seed through our own generator, so that a seed means the same in every
//! version of labctl. Each frame draws the same number of values whatever their outcome, so changing one probability
//! does not change what the others do to a frame.

use std::time::Duration;

use labctl_spec::network::{EdgeCounters, Impairment};
use tokio::time::Instant;

use crate::frame::Frame;

/// Longest time that a frame waits for its turn under a rate.
const LONGEST_BACKLOG: Duration = Duration::from_millis(200);

/// The state of an impaired edge.
#[derive(Debug)]
pub(crate) struct EdgeState {
    impairment: Impairment,
    chance: Chance,
    counters: EdgeCounters,
    /// When the line is next free under `rate`.
    free: Option<Instant>,
    /// When the last delayed frame is due; later frames must not be due earlier.
    last: Option<Instant>,
}

impl EdgeState {
    pub(crate) fn new(impairment: Impairment) -> Self {
        let chance = Chance(impairment.seed);
        Self { impairment, chance, counters: EdgeCounters::default(), free: None, last: None }
    }

    /// Replaces the impairment. The counters go on.
    pub(crate) fn change(&mut self, impairment: Impairment) {
        if impairment.seed != self.impairment.seed {
            self.chance = Chance(impairment.seed);
        }
        self.impairment = impairment;
    }

    pub(crate) fn counters(&self) -> EdgeCounters {
        self.counters
    }

    /// Decides what happens to `frame` and calls `deliver` with each copy that passes and the time when it is due.
    pub(crate) fn pass(&mut self, now: Instant, frame: &Frame, mut deliver: impl FnMut(Instant, Frame)) {
        let Self { impairment, chance, counters, .. } = self;
        counters.matched += 1;
        let lost = chance.happens(impairment.loss);
        let doubled = chance.happens(impairment.duplicate);
        let overtakes = chance.happens(impairment.reorder);
        let damaged = chance.happens(impairment.corrupt);
        let (bit, shift) = (chance.next(), chance.fraction());
        if impairment.cut || lost {
            counters.dropped += 1;
            return;
        }
        let due = if overtakes {
            counters.reordered += 1;
            now
        } else {
            let Some(due) = self.due(now, frame.len(), shift) else {
                self.counters.dropped += 1;
                return;
            };
            due
        };
        let counters = &mut self.counters;
        let frame = if damaged {
            counters.corrupted += 1;
            frame.corrupted(bit)
        } else {
            frame.clone()
        };
        counters.delayed += u64::from(due > now);
        if doubled {
            counters.duplicated += 1;
            deliver(due, frame.clone());
        }
        deliver(due, frame);
    }

    /// When a frame of `bytes` is due, or `None` when the backlog is full.
    fn due(&mut self, now: Instant, bytes: usize, shift: f64) -> Option<Instant> {
        let Impairment { delay, jitter, rate, .. } = self.impairment;
        let mut due = now;
        if rate > 0 {
            let start = self.free.map_or(now, |free| free.max(now));
            if start - now > LONGEST_BACKLOG {
                return None;
            }
            due = start + Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64);
            self.free = Some(due);
        }
        due += delay;
        let deviation = jitter.mul_f64((shift * 2.0 - 1.0).abs());
        due = if shift < 0.5 { due.checked_sub(deviation).unwrap_or(now).max(now) } else { due + deviation };
        let due = self.last.map_or(due, |last| due.max(last));
        self.last = Some(due);
        Some(due)
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniformly distributed over [0, 1).
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }
}

#[cfg(test)]
mod tests;
