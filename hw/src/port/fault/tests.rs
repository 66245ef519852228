//! Faults by seed: what happened is what was counted.

use super::*;
use crate::port::memory::MemoryPort;
use std::net::SocketAddr;
use tandem_wire::addr::SockAddr;

const FRAMES: u32 = 4_096;

fn source() -> SockAddr {
    SockAddr::from("198.51.100.1:5000".parse::<SocketAddr>().unwrap())
}

fn port(receiving: FaultPlan, sending: FaultPlan, seed: u64) -> Fault<MemoryPort> {
    let mut inner = MemoryPort::new(FRAMES, 4, 4_096).unwrap();
    for slot in 0..4 {
        inner.open(slot, source().with_port(4_000)).unwrap();
    }
    Fault::new(inner, receiving, sending, seed)
}

/// Sends `count` numbered packets, one each 20 ms, to slot 0; what arrives, and when.
fn play(port: &mut Fault<MemoryPort>, count: u32) -> Vec<(u32, Instant)> {
    let mut seen = Vec::new();
    for number in 0..count + 100 {
        if number < count {
            port.inner().inject(0, source(), &number.to_be_bytes()).unwrap();
        }
        let mut burst = ArrayVec::new();
        let now = Instant::from_millis(20 * u64::from(number));
        port.receive_burst(now, &mut burst);
        for packet in burst {
            let octets = port.payload(&packet.frame, packet.start, packet.len);
            seen.push((u32::from_be_bytes(octets.try_into().unwrap()), packet.arrival));
            assert!(packet.arrival <= now);
            port.free(packet.frame);
        }
    }
    assert_eq!((port.held(), port.available()), (0, FRAMES as usize));
    seen
}

fn numbers(seen: &[(u32, Instant)]) -> Vec<u32> {
    seen.iter().map(|&(number, _)| number).collect()
}

#[test]
fn without_a_plan_everything_passes() {
    let mut port = port(FaultPlan::default(), FaultPlan::default(), 1);
    let seen = play(&mut port, 500);
    assert_eq!(numbers(&seen), (0..500).collect::<Vec<_>>());
    assert!(seen.iter().all(|&(n, at)| at == Instant::from_millis(20 * u64::from(n))));
}

#[test]
fn what_arrives_agrees_with_the_counts() {
    let plan = FaultPlan {
        loss_ppm: 50_000,
        duplicate_ppm: 20_000,
        reorder_ppm: 30_000,
        reorder_depth: 2,
        ..FaultPlan::default()
    };
    let mut port = port(plan, FaultPlan::default(), 42);
    let seen = numbers(&play(&mut port, 10_000));
    let counts = port.received_counts();
    assert_eq!(counts.seen, 10_000);
    assert!((400..600).contains(&counts.lost), "{counts:?}");
    assert!((140..260).contains(&counts.duplicated), "{counts:?}");
    assert!((200..400).contains(&counts.reordered), "{counts:?}");
    assert_eq!(counts.passed, seen.len() as u64);
    assert_eq!(counts.seen + counts.duplicated, counts.lost + counts.passed);
    let mut unique = seen.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len() as u64, counts.seen - counts.lost);
    // A packet is out of order if a later number came before it.
    let (mut highest, mut late) = (None, 0);
    let mut met = std::collections::HashSet::new();
    for &number in &seen {
        late += u64::from(met.insert(number) && highest.is_some_and(|h| h > number));
        highest = highest.max(Some(number));
    }
    // Those that were doubled and held at once arrived in time by their double.
    assert!(late <= counts.reordered && late + 20 > counts.reordered, "{late} {counts:?}");
}

#[test]
fn the_seed_decides() {
    let plan = FaultPlan { loss_ppm: 100_000, reorder_ppm: 10_000, ..FaultPlan::default() };
    let run = |seed| numbers(&play(&mut port(plan, FaultPlan::default(), seed), 1_000));
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
    // One fault more does not shift the others.
    let more = FaultPlan { duplicate_ppm: 100_000, ..plan };
    let mut doubled = numbers(&play(&mut port(more, FaultPlan::default(), 3), 1_000));
    let mut plain = run(3);
    doubled.sort_unstable();
    doubled.dedup();
    plain.sort_unstable();
    assert_eq!(doubled, plain);
}

#[test]
fn delay_and_jitter_keep_their_bounds_and_the_order() {
    let (delay, jitter) = (Duration::from_millis(50), Duration::from_millis(100));
    let plan = FaultPlan { delay, jitter, ..FaultPlan::default() };
    let seen = play(&mut port(plan, FaultPlan::default(), 5), 1_000);
    assert_eq!(numbers(&seen), (0..1_000).collect::<Vec<_>>());
    let late: Vec<_> =
        seen.iter().map(|&(n, at)| at - Instant::from_millis(20 * u64::from(n))).collect();
    assert!(late.iter().all(|&late| late >= delay && late <= delay + jitter));
    assert!(late.iter().max() > late.iter().min());

    let loose = FaultPlan { keep_order: false, ..plan };
    let seen = numbers(&play(&mut port(loose, FaultPlan::default(), 5), 1_000));
    assert!(!seen.is_sorted(), "jitter reorders");
}

#[test]
fn a_packet_that_nobody_overtakes_comes_all_the_same() {
    let plan = FaultPlan { reorder_ppm: MILLION, ..FaultPlan::default() };
    let mut port = port(plan, FaultPlan::default(), 5);
    assert_eq!(numbers(&play(&mut port, 3)), [0, 1, 2]);
    assert_eq!(port.received_counts().reordered, 0);
    assert_eq!(port.received_counts().passed, 3);
}

#[test]
fn the_sending_side_has_its_own_plan() {
    let plan =
        FaultPlan { loss_ppm: 250_000, delay: Duration::from_millis(30), ..FaultPlan::default() };
    let mut port = port(FaultPlan::default(), plan, 9);
    let mut none = ArrayVec::new();
    port.receive_burst(Instant::from_millis(1_000), &mut none);
    let mut burst = ArrayVec::new();
    for _ in 0..100 {
        let frame = port.alloc().unwrap();
        burst.push(Departure { frame, start: 128, len: 4, slot: 0, destination: source() });
    }
    let frame = port.alloc().unwrap();
    burst.push(Departure { frame, start: 2_048, len: 4, slot: 0, destination: source() });
    let outcome = port.send_burst(&mut burst);
    assert_eq!(outcome, SendOutcome { sent: 100, failed: 1, sent_octets: 400 });
    assert_eq!(port.inner().sent_len(), 0, "delayed");
    assert_eq!(port.next_at(), Some(Instant::from_millis(1_030)));
    port.receive_burst(Instant::from_millis(1_029), &mut none);
    assert_eq!(port.inner().sent_len(), 0);
    port.receive_burst(Instant::from_millis(1_030), &mut none);
    let sent = port.inner().sent_len();
    let counts = port.sent_counts();
    assert_eq!(sent as u64, counts.seen - counts.lost);
    assert!((10..40).contains(&counts.lost), "{counts:?}");
}

#[test]
fn control_traffic_can_be_spared() {
    let plan = FaultPlan { loss_ppm: MILLION, rtp_only: true, ..FaultPlan::default() };
    let mut port = port(plan, FaultPlan::default(), 9);
    port.inner().inject(0, source(), b"rtp").unwrap();
    port.inner().inject(1, source(), b"rtcp").unwrap();
    let mut burst = ArrayVec::new();
    port.receive_burst(Instant::ZERO, &mut burst);
    assert_eq!(burst.len(), 1);
    let packet = burst.pop().unwrap();
    assert_eq!(port.payload(&packet.frame, packet.start, packet.len), b"rtcp");
}

#[test]
fn closing_a_slot_frees_what_is_on_its_way() {
    let slow =
        FaultPlan { delay: Duration::from_secs(1), reorder_ppm: 500_000, ..FaultPlan::default() };
    let mut port = port(slow, slow, 9);
    let mut burst = ArrayVec::new();
    let mut out = ArrayVec::new();
    for slot in [0, 0, 1, 0, 0, 0, 0] {
        port.inner().inject(slot, source(), b"x").unwrap();
        let frame = port.alloc().unwrap();
        out.push(Departure { frame, start: 128, len: 4, slot, destination: source() });
    }
    port.receive_burst(Instant::ZERO, &mut burst);
    port.send_burst(&mut out);
    assert_eq!(port.held(), 14);
    port.close(0);
    assert_eq!((port.held(), port.available()), (2, FRAMES as usize - 2));
}
