//! Where frames come from and go to.

use bytes::Bytes;

/// A port of the switch, by the order in which node names were first seen; 0 is the gateway with all that lies behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place(pub(crate) u32);

/// The gateway: name service, uplink, published ports, dialled connections.
pub(crate) const GATEWAY: Place = Place(0);

/// Complete frames, prefixes included, that arrived together.
#[derive(Debug)]
pub(crate) struct Run {
    /// Who sent them.
    pub(crate) from: Place,
    /// One frame after another.
    pub(crate) bytes: Bytes,
}
