//! Templates: machines that were booted once and saved, from which nodes are forked. This module handles them in the store;
//! `labctl/template` creates them.
//!
//! ```text
//! store/templates/KEY/
//!   template.json     what it was made from
//!   ram               memory; forks map it privately
//!   state             devices, QEMU's own format
//!   disk.qcow2        overlay on the image's disk, as the guest left it
//!   overlay.qcow2     empty overlay on disk.qcow2; a fork's disk is a copy of it
//!   used              its modification time is when a node was last forked
//!   homes/            links to the homes that have forked nodes from it
//! ```
//!
//! KEY is a hash of everything that the saved state depends on, so a template is never stale: any change gives a different key. A template
//! is created in a sibling folder and then renamed, so it exists completely or not at all.

mod shape;
mod store;

use std::collections::BTreeMap;

use labctl_spec::ident::NodeName;

pub use shape::Shape;
pub use store::{BUILDING, LAYER_NOTES, REMOVED, Template, Templates};

/// Which nodes are forked, and from what.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// The template of each node that is forked.
    pub forks: BTreeMap<NodeName, Template>,
    /// Shapes that should become templates once there is time.
    pub later: Vec<Shape>,
}
