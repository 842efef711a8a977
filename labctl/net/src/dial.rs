//! Why a connection into a guest failed.

use std::net::SocketAddrV4;
use std::time::Duration;

/// How long a guest may take to accept a connection.
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection into a guest failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The guest answered with a reset: nothing listens there.
    #[error("{0} refused the connection: the node is up, but nothing listens on that port")]
    Refused(SocketAddrV4),
    /// The guest did not answer in time.
    #[error("{0} did not answer: the node is still booting, paused, or cut off by an impairment")]
    TimedOut(SocketAddrV4),
    /// No node has that address, or its virtual machine is not running.
    #[error("{0} cannot be reached: no running node of the lab has that address")]
    Unreachable(SocketAddrV4),
    /// All ports of the gateway are in use for connections to that address.
    #[error("no free port is left for another connection to {0}")]
    Exhausted(SocketAddrV4),
    /// The switch stopped.
    #[error("the switch stopped before {0} was reached")]
    Stopped(SocketAddrV4),
}
