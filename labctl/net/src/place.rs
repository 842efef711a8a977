//! Sources and destinations of frames.

use bytes::Bytes;

/// A port of the switch, numbered in the order in which node names were first seen; 0 is the gateway and everything
/// behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place(pub(crate) u32);

/// The gateway: name service, uplink, published ports, dialled connections.
pub(crate) const GATEWAY: Place = Place(0);

/// Complete frames, including prefixes, that arrived together.
#[derive(Debug)]
pub(crate) struct Run {
    /// The sender.
    pub(crate) from: Place,
    /// Concatenated frames.
    pub(crate) bytes: Bytes,
}
