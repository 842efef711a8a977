//! The gateway: the switch's own presence on the network. It answers ARP and ping for its address and DNS queries at
//! port 53, and gives every other connection of a guest its own task.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::counters::UplinkCounters;
use crate::dial::DialError;
use crate::flow::connection::Connection;
use crate::flow::exchange::Exchange;
use crate::flow::host::{self, HostSide};
use crate::flow::tcp::{self, Opening};
use crate::flow::{BACKLOG, Ended, Ending, FlowKey, FlowLink, Transport, exchange, udp};
use crate::fragments::{Added, Fragments};
use crate::frame::{Frame, Mac};
use crate::names::{self, Names};
use crate::packet::{self, ARP, Hop, IPV4, Unreachable};
use crate::place::Run;
use crate::uplink::{self, Rules, Target};

/// Limit on concurrent flows that may hold a file descriptor of the process each; these are commonly limited to 1024.
const MOST_FLOWS: usize = 800;

/// Limit on concurrent exchanges with clients of published UDP ports. Those of one port share its socket, and there may be many: each
/// question of a resolver is an exchange.
const MOST_EXCHANGES: usize = 4096;

/// First port of connections that the gateway opens (RFC 6335: dynamic ports).
const FIRST_PORT: u16 = 49152;

/// First port that this gateway uses. It is random, because restored guests may still have connections opened by an
/// earlier gateway.
fn first_port() -> u16 {
    // The standard library's hasher is seeded by the system.
    let random = RandomState::new().build_hasher().finish();
    FIRST_PORT + (random % u64::from(u16::MAX - FIRST_PORT)) as u16
}

/// The gateway's state.
pub(crate) struct Gateway {
    pub(crate) mac: Mac,
    pub(crate) address: Ipv4Addr,
    pub(crate) names: Arc<Names>,
    pub(crate) counters: UplinkCounters,
    rules: Rules,
    neighbours: HashMap<Ipv4Addr, Mac>,
    flows: HashMap<FlowKey, FlowEntry>,
    fragments: Fragments,
    next_number: u64,
    next_port: u16,
    ingress: mpsc::Sender<Run>,
    ended: mpsc::UnboundedSender<Ended>,
}

struct FlowEntry {
    number: u64,
    /// Whether it is an exchange with a client of a published UDP port.
    is_exchange: bool,
    packets: mpsc::Sender<Bytes>,
}

/// An IPv4 packet with its transport's ports.
struct Segment<'a> {
    key: FlowKey,
    hop: Hop,
    bytes: &'a Bytes,
    packet: Ipv4Packet<&'a [u8]>,
}

impl Gateway {
    pub(crate) fn new(
        mac: Mac,
        address: Ipv4Addr,
        rules: Rules,
        names: Arc<Names>,
        ingress: mpsc::Sender<Run>,
        ended: mpsc::UnboundedSender<Ended>,
    ) -> Self {
        Self {
            mac,
            address,
            names,
            counters: UplinkCounters::default(),
            rules,
            neighbours: HashMap::new(),
            flows: HashMap::new(),
            fragments: Fragments::default(),
            next_number: 0,
            next_port: first_port(),
            ingress,
            ended,
        }
    }

    /// Records that a node has that address.
    pub(crate) fn know(&mut self, address: Ipv4Addr, mac: Mac) {
        self.neighbours.insert(address, mac);
    }

    /// Removes a node: its connections are reset.
    pub(crate) fn forget(&mut self, address: Ipv4Addr) {
        self.neighbours.remove(&address);
        self.flows.retain(|key, _| *key.guest.ip() != address);
    }

    /// The Ethernet address of the node with that address.
    pub(crate) fn neighbour(&self, address: Ipv4Addr) -> Option<Mac> {
        self.neighbours.get(&address).copied()
    }

    /// A flow's task ended.
    pub(crate) fn flow_ended(&mut self, ended: Ended) {
        if self.flows.get(&ended.key).is_some_and(|entry| entry.number == ended.number) {
            self.flows.remove(&ended.key);
        }
    }

    /// Number of open flows.
    pub(crate) fn open_flows(&self) -> usize {
        self.flows.len()
    }

    /// Whether there is no room for another flow, or for another exchange.
    fn is_full(&self, exchange: bool) -> bool {
        let most = if exchange { MOST_EXCHANGES } else { MOST_FLOWS };
        // Seldom are there so many that they must be counted.
        self.flows.len() >= most && self.flows.values().filter(|entry| entry.is_exchange == exchange).count() >= most
    }

    /// Handles a frame for the gateway; immediate replies are appended to `replies`.
    pub(crate) fn receive(&mut self, frame: &Frame, replies: &mut BytesMut) {
        match frame.ether_type() {
            ARP => self.arp(frame, replies),
            IPV4 if frame.destination() == self.mac => self.ipv4(frame, replies),
            // IPv6 and whatever else guests broadcast.
            _ => {}
        }
    }

    fn arp(&mut self, frame: &Frame, replies: &mut BytesMut) {
        let Ok(ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, target_protocol_addr, .. }) =
            ArpPacket::new_checked(frame.payload()).and_then(|packet| ArpRepr::parse(&packet))
        else {
            return;
        };
        let asker = (source_hardware_addr.0, source_protocol_addr);
        if self.rules.in_subnet(asker.1) && asker.1 != self.address {
            // Addresses that move between nodes are announced this way.
            self.neighbours.insert(asker.1, asker.0);
        }
        if operation == ArpOperation::Request && target_protocol_addr == self.address && asker.1 != self.address {
            packet::arp_reply(replies, self.mac, asker, self.address);
        }
    }

    fn ipv4(&mut self, frame: &Frame, replies: &mut BytesMut) {
        let payload = frame.payload();
        let Ok(packet) = Ipv4Packet::new_checked(&payload[..]) else { return self.drop_packet() };
        // Short frames are padded; the padding is not part of the packet.
        let bytes = payload.slice(..usize::from(packet.total_len()));
        let Ok(packet) = Ipv4Packet::new_checked(&bytes[..]) else { return self.drop_packet() };
        if packet.version() != 4 {
            return self.drop_packet();
        }
        let hop = Hop { from: self.mac, to: frame.source() };
        if !packet.more_frags() && packet.frag_offset() == 0 {
            return self.whole_ipv4(&bytes, hop, replies);
        }
        match self.fragments.add(Instant::now(), &packet) {
            Added::Whole(bytes) => self.whole_ipv4(&bytes, hop, replies),
            Added::Waiting => {}
            Added::Dropped => self.drop_packet(),
        }
    }

    /// Handles a packet that is not a fragment.
    fn whole_ipv4(&mut self, bytes: &Bytes, hop: Hop, replies: &mut BytesMut) {
        let Ok(packet) = Ipv4Packet::new_checked(&bytes[..]) else { return self.drop_packet() };
        let key = |transport, from, to| FlowKey {
            transport,
            guest: SocketAddrV4::new(packet.src_addr(), from),
            remote: SocketAddrV4::new(packet.dst_addr(), to),
        };
        match packet.next_header() {
            IpProtocol::Icmp => self.icmp(&packet, bytes, hop, replies),
            IpProtocol::Tcp => match TcpPacket::new_checked(packet.payload()) {
                Ok(tcp) => {
                    let key = key(Transport::Tcp, tcp.src_port(), tcp.dst_port());
                    self.tcp(Segment { key, hop, bytes, packet }, tcp.syn() && !tcp.ack(), replies);
                }
                Err(_) => self.drop_packet(),
            },
            IpProtocol::Udp => match UdpPacket::new_checked(packet.payload()) {
                // Also finds fragments of different datagrams that were put together, which happens when an identification is used again.
                Ok(udp) if udp.verify_checksum(&packet.src_addr().into(), &packet.dst_addr().into()) => {
                    let key = key(Transport::Udp, udp.src_port(), udp.dst_port());
                    self.udp(Segment { key, hop, bytes, packet }, replies);
                }
                _ => self.drop_packet(),
            },
            _ => self.prohibit(bytes, hop, replies),
        }
    }

    fn icmp(&mut self, packet: &Ipv4Packet<&[u8]>, bytes: &Bytes, hop: Hop, replies: &mut BytesMut) {
        let Ok(message) = Icmpv4Packet::new_checked(packet.payload()) else { return self.drop_packet() };
        if message.msg_type() != Icmpv4Message::EchoRequest {
            return;
        }
        if packet.dst_addr() == self.address {
            packet::echo_reply(replies, hop, packet);
        } else {
            // Ordinary sockets cannot ping, and a clear rejection is better than silence.
            self.prohibit(bytes, hop, replies);
        }
    }

    fn tcp(&mut self, segment: Segment<'_>, opens: bool, replies: &mut BytesMut) {
        if let Some(entry) = self.flows.get(&segment.key) {
            if entry.packets.try_send(segment.bytes.clone()).is_err() {
                self.drop_packet();
            }
            return;
        }
        if !opens {
            packet::reset(replies, segment.hop, &segment.packet);
            return;
        }
        let target = self.rules.target(segment.key.remote);
        if target == Target::Refused || self.is_full(false) {
            self.counters.refused += 1;
            packet::reset(replies, segment.hop, &segment.packet);
            return;
        }
        let link = self.open(segment.key, segment.hop, Some(segment.bytes.clone()));
        match target {
            Target::Host(address) => drop(tokio::spawn(uplink::connect(link, address))),
            Target::Names => {
                let (ours, theirs) = host::pipe();
                tokio::spawn(names::serve_stream(self.names.clone(), theirs));
                tokio::spawn(uplink::serve(link, ours));
            }
            Target::Refused => {}
        }
    }

    fn udp(&mut self, segment: Segment<'_>, replies: &mut BytesMut) {
        if let Some(entry) = self.flows.get(&segment.key) {
            if entry.packets.try_send(segment.bytes.clone()).is_err() {
                self.drop_packet();
            }
            return;
        }
        match self.rules.target(segment.key.remote) {
            Target::Names => {
                if let Some(query) = udp::payload_of(segment.bytes) {
                    self.name(segment.key, segment.hop, query, replies);
                }
            }
            Target::Host(address) if !self.is_full(false) => {
                let link = self.open(segment.key, segment.hop, Some(segment.bytes.clone()));
                tokio::spawn(udp::join(link, address));
            }
            Target::Host(_) => self.drop_packet(),
            Target::Refused if segment.key.remote.ip() == &self.address => {
                packet::unreachable(replies, segment.hop, segment.bytes, Unreachable::Port);
            }
            Target::Refused => self.prohibit(segment.bytes, segment.hop, replies),
        }
    }

    fn name(&mut self, key: FlowKey, hop: Hop, query: &[u8], replies: &mut BytesMut) {
        match self.names.answer(query) {
            names::Answer::Reply(reply) => match names::fit(query, reply) {
                Some(reply) => packet::udp(replies, hop, key.remote, key.guest, &reply),
                None => self.drop_packet(),
            },
            names::Answer::Forward => {
                let (names, query, ingress) = (self.names.clone(), Bytes::copy_from_slice(query), self.ingress.clone());
                tokio::spawn(async move {
                    let Some(reply) = names.forward(&query).await.and_then(|reply| names::fit(&query, reply)) else { return };
                    let mut run = BytesMut::new();
                    packet::udp(&mut run, hop, key.remote, key.guest, &reply);
                    // Fails only if the switch is gone.
                    let _ = ingress.send(Run { from: crate::place::GATEWAY, bytes: run.freeze() }).await;
                });
            }
            names::Answer::Nothing => self.drop_packet(),
        }
    }

    /// Opens a connection to a guest and joins it to `host`.
    pub(crate) fn dial(&mut self, to: SocketAddrV4, opening: Opening, mut host: impl HostSide) {
        match self.prepare_dial(to) {
            Ok((link, connection)) => drop(tokio::spawn(tcp::join(link, connection, host, Some(opening)))),
            Err(error) => {
                host.reset();
                opening.fail(error);
            }
        }
    }

    /// Passes the datagrams of a client of a published port to a guest.
    pub(crate) fn exchange(&mut self, to: SocketAddrV4, exchange: Exchange) {
        let mac = self.neighbour(*to.ip()).filter(|_| !self.is_full(true));
        let Some((mac, key)) = mac.and_then(|mac| Some((mac, self.free_key(Transport::Udp, to)?))) else { return self.drop_packet() };
        let link = self.open(key, Hop { from: self.mac, to: mac }, None);
        if let Some(entry) = self.flows.get_mut(&key) {
            entry.is_exchange = true;
        }
        tokio::spawn(exchange::join(link, exchange));
    }

    fn prepare_dial(&mut self, to: SocketAddrV4) -> Result<(FlowLink, Connection), DialError> {
        let mac = self.neighbour(*to.ip()).ok_or(DialError::Unreachable(to))?;
        let hop = Hop { from: self.mac, to: mac };
        let key = self.free_key(Transport::Tcp, to).ok_or(DialError::Exhausted(to))?;
        let connection = Connection::connect(hop, key.remote, to).ok_or(DialError::Unreachable(to))?;
        Ok((self.open(key, hop, None), connection))
    }

    /// An unused key for a flow to `to`.
    fn free_key(&mut self, transport: Transport, to: SocketAddrV4) -> Option<FlowKey> {
        for _ in FIRST_PORT..=u16::MAX {
            let remote = SocketAddrV4::new(self.address, self.next_port);
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
            let key = FlowKey { transport, guest: to, remote };
            if !self.flows.contains_key(&key) {
                return Some(key);
            }
        }
        None
    }

    fn open(&mut self, key: FlowKey, hop: Hop, first: Option<Bytes>) -> FlowLink {
        let (to_flow, packets) = mpsc::channel(BACKLOG);
        if let Some(first) = first {
            // The channel is empty, so this cannot fail.
            let _ = to_flow.try_send(first);
        }
        self.next_number += 1;
        let number = self.next_number;
        self.counters.opened += 1;
        self.flows.insert(key, FlowEntry { number, is_exchange: false, packets: to_flow });
        let ending = Ending { ended: Ended { key, number }, to: self.ended.clone() };
        FlowLink { key, hop, packets, ingress: self.ingress.clone(), _ending: ending }
    }

    fn prohibit(&mut self, packet: &[u8], hop: Hop, replies: &mut BytesMut) {
        self.counters.refused += 1;
        packet::unreachable(replies, hop, packet, Unreachable::Prohibited);
    }

    fn drop_packet(&mut self) {
        self.counters.dropped += 1;
    }
}

#[cfg(test)]
mod tests;
