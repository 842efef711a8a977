//! Packets that the gateway creates itself: ARP (RFC 826), ICMP (RFC 792), UDP (RFC 768), TCP resets (RFC 9293, 3.5.2).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::BytesMut;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, Icmpv4Message, Icmpv4Packet, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr,
    TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};

use crate::frame::{self, Mac};

/// Longest IP packet in bytes on the lab's network.
pub(crate) const MTU: usize = 1500;

/// EtherType of IPv4.
pub(crate) const IPV4: u16 = 0x0800;

/// EtherType of ARP.
pub(crate) const ARP: u16 = 0x0806;

const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// Longest payload of a UDP datagram in bytes: the packet's length is a 16-bit number.
const LONGEST_UDP: usize = u16::MAX as usize - IPV4_HEADER - UDP_HEADER;

const ICMP_HEADER: usize = 8;

/// The two ends of an Ethernet hop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop {
    /// The sender.
    pub(crate) from: Mac,
    /// The receiver.
    pub(crate) to: Mac,
}

/// Answers `request` for the requested address, which is ours at `mac`.
pub(crate) fn arp_reply(run: &mut BytesMut, mac: Mac, asker: (Mac, Ipv4Addr), asked: Ipv4Addr) {
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(mac),
        source_protocol_addr: asked,
        target_hardware_addr: EthernetAddress(asker.0),
        target_protocol_addr: asker.1,
    };
    frame::append(run, asker.0, mac, ARP, reply.buffer_len(), |room| {
        reply.emit(&mut ArpPacket::new_unchecked(room));
    });
}

/// Payload of a fragment in bytes, except the last one's: fragments start at multiples of eight (RFC 791).
const FRAGMENT: usize = (MTU - IPV4_HEADER) / 8 * 8;

/// Identification of the next packet that is sent in fragments: while fragments may be under way, no two packets may have the same.
static NEXT_IDENT: AtomicU16 = AtomicU16::new(0);

/// An IPv4 packet, in fragments if it exceeds the network's MTU. `payload` is at most 65515 bytes long; `fill` writes it.
fn ipv4(run: &mut BytesMut, hop: Hop, ends: (Ipv4Addr, Ipv4Addr), protocol: IpProtocol, payload: usize, fill: impl FnOnce(&mut [u8])) {
    if payload <= MTU - IPV4_HEADER {
        return one_ipv4(run, hop, ends, protocol, payload, fill);
    }
    let mut bytes = vec![0; payload];
    fill(&mut bytes);
    let ident = NEXT_IDENT.fetch_add(1, Ordering::Relaxed);
    let count = bytes.len().div_ceil(FRAGMENT);
    for (index, part) in bytes.chunks(FRAGMENT).enumerate() {
        let start = run.len();
        one_ipv4(run, hop, ends, protocol, part.len(), |room| room.copy_from_slice(part));
        let mut packet = Ipv4Packet::new_unchecked(&mut run[start + frame::PREFIX + frame::ETHERNET..]);
        packet.set_ident(ident);
        packet.set_dont_frag(false);
        packet.set_more_frags(index + 1 < count);
        // Below 64 KiB, because a packet is no longer than that.
        packet.set_frag_offset((index * FRAGMENT) as u16);
        packet.fill_checksum();
    }
}

fn one_ipv4(
    run: &mut BytesMut,
    hop: Hop,
    (source, destination): (Ipv4Addr, Ipv4Addr),
    protocol: IpProtocol,
    payload: usize,
    fill: impl FnOnce(&mut [u8]),
) {
    let header = Ipv4Repr { src_addr: source, dst_addr: destination, next_header: protocol, payload_len: payload, hop_limit: 64 };
    frame::append(run, hop.to, hop.from, IPV4, IPV4_HEADER + payload, |room| {
        header.emit(&mut Ipv4Packet::new_unchecked(&mut *room), &ChecksumCapabilities::default());
        fill(&mut room[IPV4_HEADER..]);
    });
}

/// Turns the echo request `packet` (a whole IPv4 packet) into its reply.
pub(crate) fn echo_reply(run: &mut BytesMut, hop: Hop, packet: &Ipv4Packet<&[u8]>) {
    let request = packet.payload();
    ipv4(run, hop, (packet.dst_addr(), packet.src_addr()), IpProtocol::Icmp, request.len(), |room| {
        room.copy_from_slice(request);
        let mut reply = Icmpv4Packet::new_unchecked(room);
        reply.set_msg_type(Icmpv4Message::EchoReply);
        reply.set_msg_code(0);
        reply.fill_checksum();
    });
}

/// Why a packet is not forwarded (codes of RFC 792 and RFC 1812).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// No host has the address.
    Host = 1,
    /// Nothing listens on the port.
    Port = 3,
    /// The lab's rules forbid it.
    Prohibited = 13,
}

/// Informs the sender of `packet` (a whole IPv4 packet) that it is not forwarded. The report appears to come from
/// `packet`'s destination.
pub(crate) fn unreachable(run: &mut BytesMut, hop: Hop, packet: &[u8], why: Unreachable) {
    let Ok(original) = Ipv4Packet::new_checked(packet) else { return };
    // The header and eight bytes are enough to identify the socket (RFC 792).
    let quoted = &packet[..packet.len().min(usize::from(original.header_len()) + 8)];
    let ends = (original.dst_addr(), original.src_addr());
    ipv4(run, hop, ends, IpProtocol::Icmp, ICMP_HEADER + quoted.len(), |room| {
        room[ICMP_HEADER..].copy_from_slice(quoted);
        let mut message = Icmpv4Packet::new_unchecked(room);
        message.set_msg_type(Icmpv4Message::DstUnreachable);
        message.set_msg_code(why as u8);
        message.fill_checksum();
    });
}

/// A UDP datagram; nothing if the payload is longer than IPv4 allows. A name server that is asked over IPv6 may send a longer one.
pub(crate) fn udp(run: &mut BytesMut, hop: Hop, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
    if payload.len() > LONGEST_UDP {
        return;
    }
    let header = UdpRepr { src_port: from.port(), dst_port: to.port() };
    ipv4(run, hop, (*from.ip(), *to.ip()), IpProtocol::Udp, UDP_HEADER + payload.len(), |room| {
        header.emit(
            &mut UdpPacket::new_unchecked(room),
            &IpAddress::Ipv4(*from.ip()),
            &IpAddress::Ipv4(*to.ip()),
            payload.len(),
            |room| room.copy_from_slice(payload),
            &ChecksumCapabilities::default(),
        );
    });
}

/// Resets the connection that `segment` belongs to; `packet` is the whole IPv4 packet.
pub(crate) fn reset(run: &mut BytesMut, hop: Hop, packet: &Ipv4Packet<&[u8]>) {
    let Ok(segment) = TcpPacket::new_checked(packet.payload()) else { return };
    if segment.rst() {
        return;
    }
    let length = segment.segment_len();
    let (seq_number, ack_number) =
        if segment.ack() { (segment.ack_number(), None) } else { (TcpSeqNumber(0), Some(segment.seq_number() + length)) };
    let reply = TcpRepr {
        src_port: segment.dst_port(),
        dst_port: segment.src_port(),
        control: TcpControl::Rst,
        seq_number,
        ack_number,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ends = (packet.dst_addr(), packet.src_addr());
    ipv4(run, hop, ends, IpProtocol::Tcp, reply.buffer_len(), |room| {
        reply.emit(
            &mut TcpPacket::new_unchecked(room),
            &IpAddress::Ipv4(ends.0),
            &IpAddress::Ipv4(ends.1),
            &ChecksumCapabilities::default(),
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOP: Hop = Hop { from: [2; 6], to: [4; 6] };

    #[test]
    fn a_long_datagram_is_cut_into_fragments() {
        let payload: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
        let mut run = BytesMut::new();
        udp(&mut run, HOP, "10.0.0.1:53".parse().unwrap(), "10.0.0.2:4000".parse().unwrap(), &payload);
        let mut idents = None;
        let mut whole = Vec::new();
        let frames: Vec<_> = frame::frames(run.freeze()).collect();
        for (index, frame) in frames.iter().enumerate() {
            let bytes = frame.payload();
            let packet = Ipv4Packet::new_checked(&bytes[..]).unwrap();
            assert!(bytes.len() <= MTU && packet.verify_checksum());
            let ident = idents.get_or_insert(packet.ident());
            assert_eq!((packet.ident(), usize::from(packet.frag_offset())), (*ident, whole.len()));
            assert_eq!(packet.more_frags(), index + 1 < frames.len());
            whole.extend_from_slice(packet.payload());
        }
        let datagram = UdpPacket::new_checked(&whole[..]).unwrap();
        assert!(datagram.verify_checksum(&Ipv4Addr::new(10, 0, 0, 1).into(), &Ipv4Addr::new(10, 0, 0, 2).into()));
        assert_eq!(datagram.payload(), payload);
    }

    #[test]
    fn a_datagram_has_its_longest_length() {
        let lengths = |payload: usize| {
            let mut run = BytesMut::new();
            udp(&mut run, HOP, "10.0.0.1:53".parse().unwrap(), "10.0.0.2:4000".parse().unwrap(), &vec![7; payload]);
            frame::frames(run.freeze()).map(|frame| frame.payload().len() - IPV4_HEADER).sum::<usize>()
        };
        assert_eq!(lengths(LONGEST_UDP), 65515);
        assert_eq!((lengths(LONGEST_UDP + 1), lengths(usize::from(u16::MAX))), (0, 0));
    }

    #[test]
    fn a_refusal_quotes_what_it_refuses() {
        let mut run = BytesMut::new();
        udp(&mut run, HOP, "10.0.0.1:53".parse().unwrap(), "10.0.0.2:4000".parse().unwrap(), b"0123456789");
        let original = frame::frames(run.freeze()).next().unwrap().payload();
        let mut run = BytesMut::new();
        unreachable(&mut run, HOP, &original, Unreachable::Port);
        let reply = frame::frames(run.freeze()).next().unwrap().payload();
        let packet = Ipv4Packet::new_checked(&reply[..]).unwrap();
        assert_eq!((packet.src_addr().octets(), packet.dst_addr().octets()), ([10, 0, 0, 2], [10, 0, 0, 1]));
        let message = Icmpv4Packet::new_checked(packet.payload()).unwrap();
        assert!(message.verify_checksum());
        assert_eq!((message.msg_type(), message.msg_code()), (Icmpv4Message::DstUnreachable, 3));
        assert_eq!(message.data(), &original[..28]);
    }
}
