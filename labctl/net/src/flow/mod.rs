//! Flows: TCP connections and UDP exchanges of guests that end in the switch. Each has a task of its own; the switch's
//! task only hands packets to it by their addresses and ports.

pub(crate) mod connection;
pub(crate) mod host;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::net::SocketAddrV4;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::packet::Hop;
use crate::place::Run;

/// Packets that may wait for a flow's task: more than the window of a connection holds.
pub(crate) const BACKLOG: usize = 512;

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    /// TCP or UDP.
    pub(crate) transport: Transport,
    /// The guest's end.
    pub(crate) guest: SocketAddrV4,
    /// The other end as the guest sees it: outside, or the gateway.
    pub(crate) remote: SocketAddrV4,
}

/// What a flow is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A flow's connection to the switch. The flow is over for the switch when this is dropped, and over for the flow when
/// `packets` ends.
#[derive(Debug)]
pub(crate) struct FlowLink {
    /// Who talks to whom.
    pub(crate) key: FlowKey,
    /// From the gateway to the guest.
    pub(crate) hop: Hop,
    /// The guest's packets: whole IPv4 packets.
    pub(crate) packets: mpsc::Receiver<Bytes>,
    /// Where frames for the guest go.
    pub(crate) ingress: mpsc::Sender<Run>,
    /// Tells the switch about the end.
    pub(crate) _ending: Ending,
}

/// Reports a flow's end when dropped, however it ends.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Which flow.
    pub(crate) ended: Ended,
    /// Who wants to know. Without a bound: each flow sends one message in its life.
    pub(crate) to: mpsc::UnboundedSender<Ended>,
}

/// A flow that ended. The number tells it from a later one with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Who talked to whom.
    pub(crate) key: FlowKey,
    /// The flow's number.
    pub(crate) number: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // The switch is gone: nobody needs to know.
        let _ = self.to.send(self.ended);
    }
}
