//! Flows: TCP connections and UDP exchanges of guests that are terminated in the switch. Each has its own task; the
//! switch's task only dispatches packets to it by addresses and ports.

pub(crate) mod connection;
pub(crate) mod exchange;
pub(crate) mod host;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::net::SocketAddrV4;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::packet::Hop;
use crate::place::Run;

/// Packets that may wait for a flow's task: more than a connection's window holds.
pub(crate) const BACKLOG: usize = 512;

/// The two ends of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    /// TCP or UDP.
    pub(crate) transport: Transport,
    /// The guest's end.
    pub(crate) guest: SocketAddrV4,
    /// The other end as the guest sees it: outside, or the gateway.
    pub(crate) remote: SocketAddrV4,
}

/// A flow's transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A flow's link to the switch. Dropping it ends the flow for the switch; the end of `packets` ends it for the flow.
#[derive(Debug)]
pub(crate) struct FlowLink {
    /// The two ends of the flow.
    pub(crate) key: FlowKey,
    /// From the gateway to the guest.
    pub(crate) hop: Hop,
    /// Packets from the guest, each a whole IPv4 packet.
    pub(crate) packets: mpsc::Receiver<Bytes>,
    /// Channel for frames to the guest.
    pub(crate) ingress: mpsc::Sender<Run>,
    /// Reports the end to the switch.
    pub(crate) _ending: Ending,
}

/// Reports a flow's end when dropped, whatever the reason.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Which flow.
    pub(crate) ended: Ended,
    /// Receiver of the report. Unbounded, because each flow sends only one message in its life.
    pub(crate) to: mpsc::UnboundedSender<Ended>,
}

/// A flow that ended. The number distinguishes it from a later one with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The two ends of the flow.
    pub(crate) key: FlowKey,
    /// The flow's number.
    pub(crate) number: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Fails only if the switch is gone.
        let _ = self.to.send(self.ended);
    }
}
