//! What the switch, the supervisor and the chaos engine say to each other about a lab's network.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ident::NodeName;

/// One end of an edge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum End {
    /// A node.
    Node(NodeName),
    /// The switch itself: everything outside, the name service, published ports and connections that labctl dials.
    Uplink,
}

/// A directed edge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// The sender.
    pub from: End,
    /// The receiver.
    pub to: End,
}

/// What is wrong with an edge. Probabilities range from 0 to 1; the default impairs nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Impairment {
    /// Nothing passes.
    pub cut: bool,
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Time added to each frame.
    pub delay: Duration,
    /// Largest deviation from `delay`, uniformly distributed in both directions. Frames stay in order unless `reorder`
    /// is set.
    pub jitter: Duration,
    /// Probability that a frame arrives twice.
    pub duplicate: f64,
    /// Probability that a frame overtakes the waiting ones, with neither delay nor rate applied.
    pub reorder: f64,
    /// Probability that one bit after the Ethernet header is flipped.
    pub corrupt: f64,
    /// Limit in bits per second; 0 means unlimited. Up to 200 ms worth of frames wait, the rest is dropped.
    pub rate: u64,
    /// Seed of all randomness.
    pub seed: u64,
}

/// What an impaired edge has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeCounters {
    /// Frames sent along the edge.
    pub matched: u64,
    /// Frames that were not delivered because of cut, loss or rate.
    pub dropped: u64,
    /// Frames that were delivered late.
    pub delayed: u64,
    /// Frames that were delivered twice.
    pub duplicated: u64,
    /// Frames that overtook others.
    pub reordered: u64,
    /// Frames that were corrupted.
    pub corrupted: u64,
}

/// Frames that the switch held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldFrames {
    /// How many were held and then delivered.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many were dropped because there was no room for them.
    pub dropped: u64,
    /// For how long, in milliseconds.
    pub duration_ms: f64,
}
