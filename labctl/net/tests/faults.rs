//! Hold, impairments, counters and capture, as seen by guests.

mod guest;

use std::time::Duration;

use guest::{GATEWAY, Guest, network, switch_with, until};
use labctl_net::Switch;
use labctl_spec::network::{Edge, End, Impairment};

/// An EtherType for experiments (IEEE 802), which nothing answers.
const EXPERIMENT: [u8; 2] = [0x88, 0xb5];

fn send(from: &Guest, to: [u8; 6], number: u32) {
    let frame = [&to[..], &from.mac, &EXPERIMENT, &number.to_be_bytes(), &[0; 42]].concat();
    from.stack.send_raw(frame);
}

/// The numbers that a guest has received.
fn heard(guest: &Guest) -> Vec<u32> {
    let inner = guest.stack.inner.lock().unwrap();
    let ours = inner.heard.iter().filter(|frame| frame[12..14] == EXPERIMENT);
    ours.map(|frame| u32::from_be_bytes(frame[14..18].try_into().unwrap())).collect()
}

async fn pair(directory: &tempfile::TempDir) -> (Guest, Guest, Switch) {
    let one = Guest::start(directory.path(), "one", 11);
    let two = Guest::start(directory.path(), "two", 12);
    two.stack.inner.lock().unwrap().keep_heard = true;
    let switch = switch_with(network(), &[&one, &two]).await;
    (one, two, switch)
}

fn edge(from: &Guest, to: &Guest) -> Edge {
    Edge { from: End::Node(from.name.clone()), to: End::Node(to.name.clone()) }
}

#[tokio::test]
async fn held_frames_go_on_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two, switch) = pair(&directory).await;
    send(&one, two.mac, 0);
    until(async || heard(&two) == [0]).await;
    switch.hold().await;
    switch.hold().await;
    for number in 1..=100 {
        send(&one, two.mac, number);
    }
    until(async || switch.counters().await.ports[&one.name].frames_in == 101).await;
    assert_eq!(heard(&two), [0], "nothing passes");
    let report = switch.release().await;
    assert_eq!((report.frames, report.bytes, report.dropped), (100, 6000, 0));
    assert!(report.duration_ms > 0.0);
    send(&one, two.mac, 101);
    until(async || heard(&two).len() == 102).await;
    assert_eq!(heard(&two), (0..=101).collect::<Vec<_>>());
    assert_eq!(switch.release().await.frames, 0, "released already");
}

#[tokio::test]
async fn a_hold_covers_the_gateway() {
    let directory = tempfile::tempdir().unwrap();
    let (one, _two, switch) = pair(&directory).await;
    switch.hold().await;
    let ping = one.stack.ping(GATEWAY, b"held");
    tokio::pin!(ping);
    tokio::select! {
        _ = &mut ping => panic!("the gateway must not answer"),
        () = until(async || switch.counters().await.ports[&one.name].frames_in > 0) => {}
    }
    switch.release().await;
    assert_eq!(ping.await, b"held");
}

#[tokio::test]
async fn a_cut_is_directed_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two, switch) = pair(&directory).await;
    one.stack.inner.lock().unwrap().keep_heard = true;
    switch.impair(edge(&one, &two), Impairment { cut: true, ..Impairment::default() }).await;
    for number in 0..10 {
        send(&one, two.mac, number);
        send(&two, one.mac, number);
    }
    until(async || heard(&one).len() == 10).await;
    until(async || switch.counters().await.edges[0].1.dropped == 10).await;
    let counters = switch.counters().await;
    assert_eq!(counters.edges[0].0, edge(&one, &two));
    assert_eq!(counters.edges[0].1.matched, 10);
    assert!(heard(&two).is_empty());
    switch.heal(edge(&one, &two)).await;
    assert!(switch.counters().await.edges.is_empty());
    send(&one, two.mac, 10);
    until(async || heard(&two) == [10]).await;
}

#[tokio::test]
async fn the_same_seed_loses_the_same_frames() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two, switch) = pair(&directory).await;
    let mut survivors = Vec::new();
    for _ in 0..2 {
        two.stack.inner.lock().unwrap().heard.clear();
        switch.impair(edge(&one, &two), Impairment { loss: 0.5, seed: 42, ..Impairment::default() }).await;
        for number in 0..200 {
            send(&one, two.mac, number);
        }
        until(async || {
            let counters = switch.counters().await.edges[0].1;
            counters.matched == 200 && heard(&two).len() as u64 == 200 - counters.dropped
        })
        .await;
        survivors.push(heard(&two));
    }
    assert_eq!(survivors[0], survivors[1]);
    assert!((60..140).contains(&survivors[0].len()));
}

#[tokio::test]
async fn a_delay_delays() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two, switch) = pair(&directory).await;
    one.stack.ping(two.address, b"learn the addresses").await;
    let delay = Duration::from_millis(60);
    for edge in [edge(&one, &two), edge(&two, &one)] {
        switch.impair(edge, Impairment { delay, ..Impairment::default() }).await;
    }
    let start = std::time::Instant::now();
    one.stack.ping(two.address, b"slow").await;
    assert!(start.elapsed() >= delay * 2, "{:?}", start.elapsed());
    switch.hold().await;
    send(&one, two.mac, 1);
    until(async || switch.counters().await.ports[&one.name].frames_in >= 3).await;
    switch.release().await;
    until(async || heard(&two) == [1]).await;
}

#[tokio::test]
async fn a_capture_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two, switch) = pair(&directory).await;
    let path = directory.path().join("lab.pcapng");
    switch.capture(&path).await.unwrap();
    switch.impair(edge(&one, &two), Impairment { loss: 0.5, seed: 1, ..Impairment::default() }).await;
    for number in 0..50 {
        send(&one, two.mac, number);
    }
    until(async || switch.counters().await.edges[0].1.matched == 50).await;
    switch.stop_capture().await.unwrap();
    send(&one, two.mac, 50);
    let lost = switch.counters().await.edges[0].1.dropped;

    let bytes = std::fs::read(&path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(8)), (0x0a0d_0d0a, 0x1a2b_3c4d));
    let (mut at, mut interfaces, mut sent, mut received) = (0, Vec::new(), Vec::new(), Vec::new());
    while at < bytes.len() {
        let length = word(at + 4) as usize;
        assert_eq!(word(at + length - 4) as usize, length, "both lengths agree");
        match word(at) {
            1 => {
                let name = usize::from(u16::from_le_bytes([bytes[at + 18], bytes[at + 19]]));
                interfaces.push(String::from_utf8(bytes[at + 20..at + 20 + name].to_vec()).unwrap());
            }
            6 => {
                let (interface, size) = (word(at + 8) as usize, word(at + 20) as usize);
                let frame = &bytes[at + 28..at + 28 + size];
                let number = u32::from_be_bytes(frame[14..18].try_into().unwrap());
                let flags = word(at + 28 + size.next_multiple_of(4) + 4);
                let side = if interfaces[interface] == "one" { (&mut sent, 2) } else { (&mut received, 1) };
                assert_eq!(flags, side.1);
                side.0.push(number);
            }
            other => assert_eq!(other, 0x0a0d_0d0a),
        }
        at += length;
    }
    assert_eq!(interfaces, ["one", "two"]);
    assert_eq!(sent, (0..50).collect::<Vec<_>>());
    assert_eq!(received.len() as u64, 50 - lost, "what was lost on the way is missing at its end");
}
