//! UDP between a guest and one outside address: an ordinary connected socket on the host, until both sides fall silent.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use smoltcp::wire::{Ipv4Packet, UdpPacket};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use super::FlowLink;
use crate::packet::{self, Unreachable};
use crate::place::{GATEWAY, Run};

/// Silence after which a flow ends.
const IDLE: Duration = Duration::from_secs(60);

/// The same for DNS, which is one query and one response.
const IDLE_NAMES: Duration = Duration::from_secs(10);

/// Silence after which a flow to a server's port ends.
pub(super) fn idle(port: u16) -> Duration {
    if port == 53 { IDLE_NAMES } else { IDLE }
}

/// Longest UDP payload in bytes.
const LONGEST: usize = 65535;

/// Carries datagrams between the guest and `target` until both are silent.
pub(crate) async fn join(mut link: FlowLink, target: SocketAddrV4) {
    let Ok(socket) = connect(target).await else {
        if let Some(first) = link.packets.recv().await {
            refuse(&link, &first, Unreachable::Host);
        }
        return;
    };
    let idle = idle(target.port());
    let mut last = Bytes::new();
    let mut buffer = vec![0; LONGEST];
    let mut until = Instant::now() + idle;
    loop {
        tokio::select! {
            packet = link.packets.recv() => {
                let Some(packet) = packet else { return };
                if let Some(payload) = payload_of(&packet) {
                    // Waits while the socket's buffer is full, which blocks only this flow. An error is for an earlier
                    // datagram that was rejected.
                    if socket.send(payload).await.is_err() {
                        refuse(&link, &last, Unreachable::Port);
                        return;
                    }
                    last = packet;
                }
            }
            received = socket.recv(&mut buffer) => match received {
                Ok(length) => {
                    let mut run = BytesMut::new();
                    packet::udp(&mut run, link.hop, link.key.remote, link.key.guest, &buffer[..length]);
                    // When the channel is full, datagrams are lost, as on any network.
                    let _ = link.ingress.try_send(Run { from: GATEWAY, bytes: run.freeze() });
                }
                Err(_) => {
                    refuse(&link, &last, Unreachable::Port);
                    return;
                }
            },
            () = sleep_until(until) => return,
        }
        until = Instant::now() + idle;
    }
}

async fn connect(target: SocketAddrV4) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(target).await?;
    Ok(socket)
}

/// The UDP payload of a whole IPv4 packet.
pub(crate) fn payload_of(packet: &[u8]) -> Option<&[u8]> {
    let datagram = UdpPacket::new_checked(Ipv4Packet::new_checked(packet).ok()?.payload()).ok()?;
    Some(datagram.payload())
}

fn refuse(link: &FlowLink, packet: &[u8], why: Unreachable) {
    let mut run = BytesMut::new();
    packet::unreachable(&mut run, link.hop, packet, why);
    if !run.is_empty() {
        let _ = link.ingress.try_send(Run { from: GATEWAY, bytes: run.freeze() });
    }
}
