use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, Ipv4Repr};

use super::*;

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7 % 251) as u8).collect()
}

/// The part of a payload from `start` to `end`, as a fragment.
fn fragment(ident: u16, payload: &[u8], start: usize, end: usize, more: bool) -> Vec<u8> {
    let header = Ipv4Repr {
        src_addr: Ipv4Addr::new(10, 0, 0, 2),
        dst_addr: Ipv4Addr::new(10, 0, 0, 1),
        next_header: IpProtocol::Udp,
        payload_len: end - start,
        hop_limit: 64,
    };
    let mut bytes = vec![0; 20 + end - start];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
    header.emit(&mut packet, &ChecksumCapabilities::default());
    packet.set_ident(ident);
    packet.set_dont_frag(false);
    packet.set_more_frags(more);
    packet.set_frag_offset(start as u16);
    packet.payload_mut().copy_from_slice(&payload[start..end]);
    packet.fill_checksum();
    bytes
}

/// A payload in fragments of `room` bytes, a multiple of eight.
fn cut(ident: u16, payload: &[u8], room: usize) -> Vec<Vec<u8>> {
    let starts = (0..payload.len()).step_by(room);
    starts.map(|start| fragment(ident, payload, start, payload.len().min(start + room), start + room < payload.len())).collect()
}

fn add(fragments: &mut Fragments, now: Instant, bytes: &[u8]) -> Added {
    fragments.add(now, &Ipv4Packet::new_checked(bytes).unwrap())
}

/// Adds all of them; the last outcome, after the check that no earlier one completed the packet.
fn add_all<'a>(fragments: &mut Fragments, all: impl IntoIterator<Item = &'a Vec<u8>>) -> Added {
    let now = Instant::now();
    let mut last = Added::Waiting;
    for bytes in all {
        assert!(!matches!(last, Added::Whole(_)), "complete too early");
        last = add(fragments, now, bytes);
    }
    last
}

fn assert_whole(added: Added, expected: &[u8]) {
    let Added::Whole(bytes) = added else { panic!("not whole: {added:?}") };
    let packet = Ipv4Packet::new_checked(&bytes[..]).unwrap();
    assert!(packet.verify_checksum() && !packet.more_frags() && packet.frag_offset() == 0);
    assert_eq!((packet.payload(), usize::from(packet.total_len())), (expected, bytes.len()));
}

/// The elements in an order that is different for each `seed`.
fn shuffled(mut all: Vec<Vec<u8>>, seed: u64) -> Vec<Vec<u8>> {
    let mut state = seed;
    for index in (1..all.len()).rev() {
        // Knuth's MMIX generator; its high bits are good enough here.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all.swap(index, (state >> 33) as usize % (index + 1));
    }
    all
}

#[tokio::test]
async fn any_cut_in_any_order_gives_the_packet_back() {
    let mut fragments = Fragments::default();
    for (length, room) in [(9, 8), (1481, 1480), (1488, 8), (3008, 1480), (9008, 1480), (65515, 1480), (65515, 64), (65515, 65504)] {
        let (payload, parts) = (payload(length), cut(7, &payload(length), room));
        assert!(parts.len() > 1);
        for seed in 0..20 {
            assert_whole(add_all(&mut fragments, &shuffled(parts.clone(), seed)), &payload);
            assert_eq!((fragments.bytes, fragments.partial.len()), (0, 0), "nothing is left");
        }
    }
}

#[tokio::test]
async fn without_any_one_of_them_nothing_comes_out() {
    let parts = cut(7, &payload(9000), 1480);
    for missing in 0..parts.len() {
        let mut fragments = Fragments::default();
        let rest = parts.iter().enumerate().filter(|(index, _)| *index != missing).map(|(_, part)| part);
        assert_eq!(add_all(&mut fragments, rest), Added::Waiting, "without {missing}");
        // A repetition of another is no replacement.
        let other = &parts[(missing + 1) % parts.len()];
        assert_eq!(add_all(&mut fragments, [other]), Added::Waiting);
        assert_whole(add_all(&mut fragments, [&parts[missing]]), &payload(9000));
    }
}

#[tokio::test]
async fn what_contradicts_spoils_the_packet() {
    let (whole, longer) = (payload(4440), payload(8000));
    let parts = cut(7, &whole, 1480);
    let other: Vec<u8> = whole.iter().map(|byte| !byte).collect();
    for (what, before, bad) in [
        ("inside another", [0, 1], fragment(7, &whole, 8, 16, true)),
        ("across two", [0, 1], fragment(7, &whole, 1400, 1600, true)),
        ("around all", [1, 2], fragment(7, &whole, 0, 4440, false)),
        ("the same place, other content", [0, 1], fragment(7, &other, 1480, 2960, true)),
        ("the same start, shorter", [0, 1], fragment(7, &whole, 1480, 2952, true)),
        ("the last one, said not to be", [1, 2], fragment(7, &whole, 2960, 4440, true)),
        ("behind the end", [1, 2], fragment(7, &longer, 4440, 4448, true)),
        ("another end", [1, 2], fragment(7, &longer, 4440, 5000, false)),
        ("an end before what is there", [1, 1], fragment(7, &whole, 0, 1480, false)),
    ] {
        let mut fragments = Fragments::default();
        assert_eq!(add_all(&mut fragments, before.map(|index| &parts[index])), Added::Waiting, "{what}");
        assert_eq!(add_all(&mut fragments, [&bad]), Added::Dropped, "{what}");
        for part in &parts {
            assert_eq!(add_all(&mut fragments, [part]), Added::Dropped, "{what}: it stays spoilt");
        }
        assert_eq!(fragments.bytes, OVERHEAD, "{what}");
        // The next packet has another identification.
        assert_whole(add_all(&mut fragments, &cut(8, &whole, 1480)), &whole);
    }
}

#[tokio::test]
async fn malformed_fragments_are_dropped() {
    let mut fragments = Fragments::default();
    let whole = payload(65600);
    for (what, bad) in [
        ("empty", fragment(7, &whole, 8, 8, true)),
        ("not a multiple of eight", fragment(7, &whole, 0, 1001, true)),
        ("longer than a packet can be", fragment(7, &whole, 65504, 65600, false)),
    ] {
        assert_eq!(add_all(&mut fragments, [&bad]), Added::Dropped, "{what}");
    }
    assert!(fragments.partial.is_empty());
}

#[tokio::test]
async fn packets_of_different_identity_do_not_mix() {
    let mut fragments = Fragments::default();
    let (one, two) = (payload(3000), vec![1; 3000]);
    let (ones, twos) = (cut(1, &one, 1480), cut(2, &two, 1480));
    let mixed = [&ones[0], &twos[1], &ones[2], &twos[0], &twos[2]];
    assert_whole(add_all(&mut fragments, mixed), &two);
    assert_whole(add_all(&mut fragments, [&ones[1]]), &one);
}

#[tokio::test]
async fn time_and_memory_are_bounded() {
    let mut fragments = Fragments::default();
    let parts = cut(0, &payload(3000), 1480);
    let begin = Instant::now();
    assert_eq!(add(&mut fragments, begin, &parts[0]), Added::Waiting);
    assert_eq!(add(&mut fragments, begin + PATIENCE, &parts[1]), Added::Waiting);
    assert_eq!(add(&mut fragments, begin + PATIENCE, &parts[2]), Added::Waiting, "the first one is forgotten");

    // The oldest make room; the newest still come through.
    let large = payload(64000);
    let first_of = |ident: u16| fragment(ident, &large, 0, 63992, true);
    for ident in 1..200 {
        assert_eq!(add(&mut fragments, begin + PATIENCE, &first_of(ident)), Added::Waiting);
        assert!(fragments.bytes <= MOST_BYTES);
    }
    assert_whole(add(&mut fragments, begin + PATIENCE, &fragment(199, &large, 63992, 64000, false)), &large);
    assert_eq!(add(&mut fragments, begin + PATIENCE, &fragment(1, &large, 63992, 64000, false)), Added::Waiting);
    // Tiny ones cost more than their bytes.
    for ident in 0..60_000 {
        let at = begin + PATIENCE + Duration::from_micros(u64::from(ident));
        add(&mut fragments, at, &fragment(ident, &large, 8, 16, true));
    }
    assert!(fragments.bytes <= MOST_BYTES && fragments.order.len() == fragments.partial.len());
}
