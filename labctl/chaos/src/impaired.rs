//! Impaired edges of the network.

use labctl_spec::network::{Edge, Impairment};
use serde::{Deserialize, Serialize};

/// Edges that one fault impairs, and the impairment itself: a supervisor that takes over from one that died applies it again until the
/// lease expires.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImpairedEdges {
    /// Distinguishes the fault from others on the same edges.
    pub id: String,
    /// The edges.
    pub edges: Vec<Edge>,
    /// The impairment of each edge.
    pub impairment: Impairment,
}
