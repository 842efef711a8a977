//! Large datagrams and pings: guests send them in fragments, and get the answers in fragments.

mod guest;

use guest::{GATEWAY, Guest, network, switch_with};
use labctl_spec::lab::Network;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr};
use tokio::net::UdpSocket;

/// The Ethernet address of the gateway of the test network.
const GATEWAY_MAC: [u8; 6] = [0x52, 0x55, 10, 77, 0, 1];

/// Sends the payload of an IPv4 packet to the gateway, the fragments in reverse order.
fn send(guest: &Guest, protocol: IpProtocol, ident: u16, payload: &[u8]) {
    let parts: Vec<&[u8]> = payload.chunks(1480).collect();
    for (index, part) in parts.iter().enumerate().rev() {
        let header = Ipv4Repr { src_addr: guest.address, dst_addr: GATEWAY, next_header: protocol, payload_len: part.len(), hop_limit: 64 };
        let mut frame = [&GATEWAY_MAC[..], &guest.mac, &[8, 0], &vec![0; 20 + part.len()]].concat();
        let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
        header.emit(&mut packet, &ChecksumCapabilities::default());
        packet.set_ident(ident);
        packet.set_dont_frag(false);
        packet.set_more_frags(index + 1 < parts.len());
        packet.set_frag_offset((index * 1480) as u16);
        packet.payload_mut().copy_from_slice(part);
        packet.fill_checksum();
        guest.stack.send_raw(frame);
    }
}

fn datagram(guest: &Guest, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload.len()];
    let ends = (guest.address.into(), GATEWAY.into());
    let fill = |room: &mut [u8]| room.copy_from_slice(payload);
    UdpRepr { src_port: 4000, dst_port: port }.emit(
        &mut UdpPacket::new_unchecked(&mut bytes[..]),
        &ends.0,
        &ends.1,
        payload.len(),
        fill,
        &ChecksumCapabilities::default(),
    );
    bytes
}

/// Waits for a packet of `length` payload bytes from the gateway, whatever its fragments.
async fn heard(guest: &Guest, protocol: u8, length: usize) -> Vec<u8> {
    let mut whole = vec![0; length];
    guest::until(async || {
        let inner = guest.stack.inner.lock().unwrap();
        let of_it =
            inner.heard.iter().filter(|frame| frame[12..14] == [8, 0] && frame[23] == protocol && frame[26..30] == GATEWAY.octets());
        let mut seen = 0;
        for frame in of_it {
            let packet = Ipv4Packet::new_checked(&frame[14..]).unwrap();
            assert!(frame.len() <= 1514 && packet.verify_checksum());
            let start = usize::from(packet.frag_offset());
            whole[start..start + packet.payload().len()].copy_from_slice(packet.payload());
            seen += packet.payload().len();
        }
        seen == length
    })
    .await;
    guest.stack.inner.lock().unwrap().heard.clear();
    whole
}

#[tokio::test]
async fn datagrams_of_any_size_pass_both_ways() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let switch = switch_with(Network { host_loopback: true, ..network() }, &[&one]).await;
    one.stack.inner.lock().unwrap().keep_heard = true;
    let host = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = host.local_addr().unwrap().port();
    let mut room = vec![0; 65536];
    for (ident, size) in [1472usize, 1473, 3000, 9000, 65507].into_iter().enumerate() {
        let payload: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        send(&one, IpProtocol::Udp, ident as u16, &datagram(&one, port, &payload));
        let (length, from) = host.recv_from(&mut room).await.unwrap();
        assert_eq!(room[..length], payload, "{size} bytes from the guest");
        host.send_to(&room[..length], from).await.unwrap();
        let answer = heard(&one, 17, 8 + size).await;
        assert!(answer[8..] == payload, "{size} bytes to the guest");
    }
    // Fragments of two datagrams with the same identification: the checksum tells.
    let mixed = [&datagram(&one, port, &[1; 1600])[..1480], &datagram(&one, port, &[2; 1600])[1480..]].concat();
    send(&one, IpProtocol::Udp, 99, &mixed);
    guest::until(async || switch.counters().await.uplink.dropped == 1).await;
}

#[tokio::test]
async fn large_pings_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let one = Guest::start(directory.path(), "one", 11);
    let _switch = switch_with(network(), &[&one]).await;
    one.stack.inner.lock().unwrap().keep_heard = true;
    let data = vec![7; 20_000];
    let request = Icmpv4Repr::EchoRequest { ident: 1, seq_no: 2, data: &data };
    let mut bytes = vec![0; request.buffer_len()];
    request.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes[..]), &ChecksumCapabilities::default());
    send(&one, IpProtocol::Icmp, 5, &bytes);
    let answer = heard(&one, 1, bytes.len()).await;
    let answer = Icmpv4Packet::new_checked(&answer[..]).unwrap();
    let answer = Icmpv4Repr::parse(&answer, &ChecksumCapabilities::default()).unwrap();
    assert_eq!(answer, Icmpv4Repr::EchoReply { ident: 1, seq_no: 2, data: &data });
}
