//! Traffic counters of the switch.

use std::collections::BTreeMap;

use labctl_spec::ident::NodeName;
use labctl_spec::network::{Edge, EdgeCounters};
use serde::{Deserialize, Serialize};

/// All counters, since the switch started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// By node.
    pub ports: BTreeMap<NodeName, PortCounters>,
    /// By impaired edge, in order. Healed edges are not listed.
    pub edges: Vec<(Edge, EdgeCounters)>,
    /// The gateway.
    pub uplink: UplinkCounters,
    /// Frames dropped because too many were delayed, over all edges; their own edges count them as delayed.
    pub delayed_dropped: u64,
    /// Frames that a capture could not write in time.
    pub capture_dropped: u64,
}

/// Counters of one port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortCounters {
    /// Whether the node's virtual machine is connected.
    pub connected: bool,
    /// Frames sent by the node.
    pub frames_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Frames delivered to the node.
    pub frames_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Frames for the node that were dropped because its virtual machine was slow or not connected.
    pub dropped: u64,
}

/// Counters of the gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkCounters {
    /// Connections that were opened, in both directions, including UDP.
    pub opened: u64,
    /// Number of connections currently open.
    pub open: u64,
    /// Connections and packets that the lab's rules rejected.
    pub refused: u64,
    /// Packets that were malformed, unsupported or did not fit.
    pub dropped: u64,
}
