//! What went through the switch.

use std::collections::BTreeMap;

use labctl_spec::ident::NodeName;
use serde::{Deserialize, Serialize};

use crate::impair::{Edge, EdgeCounters};

/// Everything that is counted, since the switch started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// By node.
    pub ports: BTreeMap<NodeName, PortCounters>,
    /// By impaired edge, in order. Healed edges are not listed.
    pub edges: Vec<(Edge, EdgeCounters)>,
    /// The gateway.
    pub uplink: UplinkCounters,
    /// Frames that found no room among the delayed ones of all edges; they count as delayed with their edge.
    pub delayed_dropped: u64,
    /// Frames that a capture could not write in time.
    pub capture_dropped: u64,
}

/// Counters of one port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortCounters {
    /// Whether the node's virtual machine is connected.
    pub connected: bool,
    /// Frames that the node sent.
    pub frames_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Frames that were handed to the node.
    pub frames_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Frames for the node that were dropped: its virtual machine was slow or not connected.
    pub dropped: u64,
}

/// Counters of the gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkCounters {
    /// Connections that were opened, both ways, UDP included.
    pub opened: u64,
    /// How many of them are open.
    pub open: u64,
    /// Connections and packets that the lab's rules refused.
    pub refused: u64,
    /// Packets that were not understood or found no room.
    pub dropped: u64,
}
