use bytes::BytesMut;

use super::*;
use crate::frame;

fn frame_of(number: u32) -> Frame {
    let mut run = BytesMut::new();
    frame::append(&mut run, [1; 6], [2; 6], 0x0800, 100, |room| room[..4].copy_from_slice(&number.to_be_bytes()));
    frame::frames(run.freeze()).next().unwrap()
}

/// Passes `count` frames, `apart` from each other, and returns the number and delay of each copy.
fn pass(impairment: Impairment, count: u32, apart: Duration) -> (Vec<(u32, Duration)>, EdgeCounters) {
    let mut edge = EdgeState::new(impairment);
    let start = Instant::now();
    let mut passed = Vec::new();
    for number in 0..count {
        let now = start + apart * number;
        edge.pass(now, &frame_of(number), |due, frame| {
            let bytes = frame.payload();
            passed.push((u32::from_be_bytes(bytes[..4].try_into().unwrap()), due - now));
        });
    }
    (passed, edge.counters())
}

fn numbers(passed: &[(u32, Duration)]) -> Vec<u32> {
    passed.iter().map(|(number, _)| *number).collect()
}

#[test]
fn the_default_changes_nothing() {
    let (passed, counters) = pass(Impairment::default(), 100, Duration::ZERO);
    assert_eq!(numbers(&passed), (0..100).collect::<Vec<_>>());
    assert!(passed.iter().all(|(_, delay)| delay.is_zero()));
    assert_eq!(counters, EdgeCounters { matched: 100, ..EdgeCounters::default() });
}

#[test]
fn a_cut_edge_passes_nothing() {
    let (passed, counters) = pass(Impairment { cut: true, ..Impairment::default() }, 10, Duration::ZERO);
    assert!(passed.is_empty());
    assert_eq!((counters.matched, counters.dropped), (10, 10));
}

#[test]
fn loss_follows_the_seed() {
    let lossy = |seed| pass(Impairment { loss: 0.3, seed, ..Impairment::default() }, 10_000, Duration::ZERO);
    let (first, counters) = lossy(7);
    assert_eq!(first, lossy(7).0);
    assert_ne!(first, lossy(8).0);
    assert!((2_800..3_200).contains(&counters.dropped), "{} of 10000 lost", counters.dropped);
    assert_eq!(first.len() as u64, 10_000 - counters.dropped);
}

#[test]
fn one_probability_leaves_the_others_fates_alone() {
    let seed = 3;
    let (plain, _) = pass(Impairment { loss: 0.2, seed, ..Impairment::default() }, 1000, Duration::ZERO);
    let (noisy, _) = pass(Impairment { loss: 0.2, duplicate: 0.5, corrupt: 0.0, seed, ..Impairment::default() }, 1000, Duration::ZERO);
    let mut once = numbers(&noisy);
    once.dedup();
    assert_eq!(once, numbers(&plain));
}

#[test]
fn jitter_stays_in_its_bounds_and_in_order() {
    let millis = Duration::from_millis;
    let jittery = Impairment { delay: millis(50), jitter: millis(20), seed: 1, ..Impairment::default() };
    let (passed, counters) = pass(jittery, 1000, millis(100));
    assert!(passed.iter().all(|(_, delay)| (millis(30)..=millis(70)).contains(delay)));
    let (low, high) = (passed.iter().filter(|(_, d)| *d < millis(40)), passed.iter().filter(|(_, d)| *d > millis(60)));
    assert!(low.count() > 100 && high.count() > 100, "both ends of the range are used");
    assert_eq!(counters.delayed, 1000);
    let crowded = Impairment { delay: millis(50), jitter: millis(20), seed: 1, ..Impairment::default() };
    let (passed, _) = pass(crowded, 1000, millis(1));
    let due: Vec<Duration> = passed.iter().map(|(number, delay)| millis(1) * *number + *delay).collect();
    assert!(due.is_sorted(), "frames stay in order");
}

#[test]
fn reordered_frames_overtake() {
    let wild = Impairment { delay: Duration::from_millis(10), reorder: 0.1, seed: 5, ..Impairment::default() };
    let (passed, counters) = pass(wild, 1000, Duration::from_millis(1));
    let at_once = passed.iter().filter(|(_, delay)| delay.is_zero()).count() as u64;
    assert_eq!(at_once, counters.reordered);
    assert!((60..140).contains(&counters.reordered));
}

#[test]
fn duplicates_and_damage_are_counted() {
    let noisy = Impairment { duplicate: 1.0, corrupt: 1.0, seed: 9, ..Impairment::default() };
    let mut edge = EdgeState::new(noisy);
    let frame = frame_of(1);
    let mut copies = Vec::new();
    edge.pass(Instant::now(), &frame, |_, frame| copies.push(frame));
    assert_eq!(copies.len(), 2);
    assert!(copies.iter().all(|copy| *copy != frame && copy.ethernet()[..14] == frame.ethernet()[..14]));
    assert_eq!((edge.counters().duplicated, edge.counters().corrupted), (1, 1));
}

#[test]
fn a_rate_spaces_frames_and_drops_the_excess() {
    // A frame has 114 bytes: 912 bits, one frame per millisecond.
    let slow = Impairment { rate: 912_000, ..Impairment::default() };
    let (passed, counters) = pass(slow, 1000, Duration::ZERO);
    assert_eq!(passed.len() as u64 + counters.dropped, 1000);
    assert!((195..=205).contains(&passed.len()), "{} passed within the backlog of 200 ms", passed.len());
    let steps: Vec<Duration> = passed.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert!(steps.iter().all(|step| step.abs_diff(Duration::from_millis(1)) < Duration::from_micros(1)));
}
