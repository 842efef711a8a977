//! UDP from one client of a published port to a guest, until both sides fall silent.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::FlowLink;
use super::udp::{idle, payload_of};
use crate::packet;
use crate::place::{GATEWAY, Run};

/// The host's side of the exchange between one client and the guest. Its end ends the flow.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Who asks.
    pub(crate) client: SocketAddr,
    /// What it sends.
    pub(crate) datagrams: mpsc::Receiver<Bytes>,
    /// For what the guest answers.
    pub(crate) answers: mpsc::Sender<(SocketAddr, Bytes)>,
}

/// Carries datagrams between the client and the guest. What does not fit into a channel is lost, as on any network.
pub(crate) async fn join(mut link: FlowLink, mut exchange: Exchange) {
    // A resolver asks each question from another port.
    let idle = idle(link.key.guest.port());
    let mut until = Instant::now() + idle;
    loop {
        tokio::select! {
            packet = link.packets.recv() => {
                let Some(packet) = packet else { return };
                if let Some(answer) = payload_of(&packet) {
                    let _ = exchange.answers.try_send((exchange.client, Bytes::copy_from_slice(answer)));
                }
            }
            datagram = exchange.datagrams.recv() => {
                // The end: the port is no longer published.
                let Some(datagram) = datagram else { return };
                let mut run = BytesMut::new();
                packet::udp(&mut run, link.hop, link.key.remote, link.key.guest, &datagram);
                let _ = link.ingress.try_send(Run { from: GATEWAY, bytes: run.freeze() });
            }
            () = sleep_until(until) => return,
        }
        until = Instant::now() + idle;
    }
}
