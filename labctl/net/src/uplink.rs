//! What guests may reach outside, and how their connections get there.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use bytes::{Bytes, BytesMut};
use ipnet::Ipv4Net;
use labctl_spec::lab::Network;
use smoltcp::wire::Ipv4Packet;
use tokio::net::TcpStream;

use crate::flow::connection::Connection;
use crate::flow::{FlowLink, tcp};
use crate::packet::{self, Unreachable};
use crate::place::{GATEWAY, Run};

/// Port of the name service (RFC 1035).
pub(crate) const NAMES_PORT: u16 = 53;

/// Where a guest's connection leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// An ordinary socket of the host connected to that address.
    Host(SocketAddrV4),
    /// The switch's own name service.
    Names,
    /// Nowhere.
    Refused,
}

/// The lab's rules about what guests may reach.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    subnet: Ipv4Net,
    gateway: Ipv4Addr,
    internet: bool,
    host_loopback: bool,
}

impl Rules {
    pub(crate) fn new(network: &Network) -> Self {
        let Network { subnet, gateway, internet, host_loopback, .. } = *network;
        Self { subnet, gateway, internet, host_loopback }
    }

    /// Whether the address belongs to the lab's subnet.
    pub(crate) fn in_subnet(&self, address: Ipv4Addr) -> bool {
        self.subnet.contains(&address)
    }

    /// Where a connection to `remote` leads. Queries the host's routing table but sends nothing.
    pub(crate) fn target(&self, remote: SocketAddrV4) -> Target {
        if *remote.ip() == self.gateway {
            return match remote.port() {
                NAMES_PORT => Target::Names,
                port if self.host_loopback => Target::Host(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)),
                _ => Target::Refused,
            };
        }
        let allowed = self.internet && !self.subnet.contains(remote.ip()) && !is_special(*remote.ip()) && !is_own(*remote.ip());
        if allowed { Target::Host(remote) } else { Target::Refused }
    }
}

/// Whether no ordinary host on another network can have the address (RFC 6890).
fn is_special(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first == 0 || address.is_loopback() || address.is_link_local() || address.is_multicast() || first >= 240
}

/// Whether the host itself has the address: then the kernel would choose it as the source of packets to it. Connecting
/// a UDP socket determines the route without sending anything. Also true if there is no route or the address is a
/// broadcast address; neither leads anywhere.
fn is_own(address: Ipv4Addr) -> bool {
    let source = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        // Any port except 0 works.
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.map_or(true, |source| source.ip() == address)
}

/// Connects to `target` on the host, and only then answers the guest's SYN, so that the guest sees the result.
pub(crate) async fn connect(mut link: FlowLink, target: SocketAddrV4) {
    let Some(syn) = link.packets.recv().await else { return };
    let connecting = TcpStream::connect(target);
    tokio::pin!(connecting);
    let connected = loop {
        tokio::select! {
            connected = &mut connecting => break connected,
            // A repeated SYN while the host is still connecting; the channel ends when the guest is gone.
            again = link.packets.recv() => if again.is_none() { return },
        }
    };
    match connected {
        Ok(stream) => {
            // Fails only on a socket that is already broken.
            let _ = stream.set_nodelay(true);
            if let Some(mut connection) = Connection::accept(link.hop, link.key.remote) {
                connection.receive(syn);
                tcp::join(link, connection, stream, None).await;
            }
        }
        Err(error) => refuse(&link, &syn, &error),
    }
}

/// Passes the guest's connection to one of the switch's own services.
pub(crate) async fn serve(mut link: FlowLink, host: impl crate::flow::host::HostSide) {
    let Some(syn) = link.packets.recv().await else { return };
    if let Some(mut connection) = Connection::accept(link.hop, link.key.remote) {
        connection.receive(syn);
        tcp::join(link, connection, host, None).await;
    }
}

fn refuse(link: &FlowLink, syn: &Bytes, error: &io::Error) {
    let mut run = BytesMut::new();
    match error.kind() {
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            packet::unreachable(&mut run, link.hop, syn, Unreachable::Host);
        }
        // The guest's own timer has most likely expired too.
        io::ErrorKind::TimedOut => {}
        _ => {
            if let Ok(packet) = Ipv4Packet::new_checked(&syn[..]) {
                packet::reset(&mut run, link.hop, &packet);
            }
        }
    }
    if !run.is_empty() {
        // If the channel is full, the guest repeats its SYN and gets the answer then.
        let _ = link.ingress.try_send(Run { from: GATEWAY, bytes: run.freeze() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(internet: bool, host_loopback: bool) -> Rules {
        Rules { subnet: "10.77.0.0/24".parse().unwrap(), gateway: Ipv4Addr::new(10, 77, 0, 1), internet, host_loopback }
    }

    #[test]
    fn the_host_is_out_of_reach() {
        let rules = rules(true, true);
        for address in ["127.0.0.1", "127.9.8.7", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "10.77.0.9"] {
            let remote = SocketAddrV4::new(address.parse().unwrap(), 80);
            assert_eq!(rules.target(remote), Target::Refused, "{address}");
        }
    }

    #[test]
    fn the_gateway_leads_to_the_loopback_only_if_allowed() {
        let gateway = |port| SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), port);
        assert_eq!(rules(true, false).target(gateway(80)), Target::Refused);
        assert_eq!(rules(false, true).target(gateway(80)), Target::Host(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80)));
        assert_eq!(rules(false, false).target(gateway(53)), Target::Names);
        assert_eq!(rules(false, true).target(gateway(53)), Target::Names);
    }

    #[test]
    fn own_addresses_are_recognised() {
        assert!(is_own(Ipv4Addr::LOCALHOST));
        // Nobody owns this address (RFC 5737). 192.0.2.0/24 is avoided because a test machine may use it.
        assert_eq!(rules(false, true).target(SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 80)), Target::Refused);
    }
}
