//! Loss, duplication and reordering are counted exactly as they were done.

use crate::harness::{Sim, call};
use std::time::Duration;
use tandem_hw::port::fault::FaultPlan;

fn run(plan: FaultPlan, seed: u64, packets: u32) {
    let mut sim = Sim::with(plan, seed, [true, false], 1_024);
    let [mut a, _b] = call(&mut sim);
    for _ in 0..packets {
        a.speak(&mut sim);
        sim.pass_ms(20);
    }
    // What is held comes out.
    sim.pass_ms(1_000);
    let done = sim.worker.port().received_counts();
    assert_eq!(done.seen, u64::from(packets));
    let m = sim.figures(a.handle).rx;
    let what = format!("seed {seed}: {done:?} {m:?}");
    assert_eq!(m.packets, done.passed, "{what}");
    assert_eq!(m.duplicated, done.duplicated, "{what}");
    // Losses before the first and behind the last packet that came cannot be known to anybody.
    let span = m.expected;
    assert!(span <= done.seen, "{what}");
    let unseen = done.seen - span;
    assert_eq!(m.lost + unseen, done.lost, "{what}");
    assert!(unseen <= 20, "{what}");
    assert_eq!(m.lost_rfc3550, span.cast_signed() - m.packets.cast_signed(), "{what}");
    assert_eq!(m.burst_lost + m.gap_lost, m.lost, "{what}");
    assert_eq!(m.restarts + m.ssrc_changes, 0, "{what}");
    let c = *sim.worker.counters();
    assert_eq!(c.received, c.forwarded + c.absorbed.iter().sum::<u64>() + c.dropped_total());
}

#[test]
fn loss_and_duplication() {
    for seed in 0..12 {
        let plan = FaultPlan { loss_ppm: 50_000, duplicate_ppm: 30_000, ..FaultPlan::default() };
        run(plan, seed, 600);
    }
}

#[test]
fn heavy_loss() {
    for seed in 0..6 {
        run(FaultPlan { loss_ppm: 400_000, ..FaultPlan::default() }, seed, 500);
    }
}

#[test]
fn reordering_is_counted_once_per_overtaken_packet() {
    for seed in 0..12 {
        let plan = FaultPlan {
            reorder_ppm: 40_000,
            reorder_depth: 3,
            reorder_limit: Duration::from_millis(500),
            ..FaultPlan::default()
        };
        let mut sim = Sim::with(plan, seed, [true, false], 1_024);
        let [mut a, _b] = call(&mut sim);
        for _ in 0..600 {
            a.speak(&mut sim);
            sim.pass_ms(20);
        }
        sim.pass_ms(1_000);
        let done = sim.worker.port().received_counts();
        let m = sim.figures(a.handle).rx;
        assert!(done.reordered > 5, "seed {seed}: {done:?}");
        // The very last packets may have been held with nobody left to overtake them.
        let slack = done.reordered - m.reordered;
        assert!(slack <= 2, "seed {seed}: {done:?} {}", m.reordered);
        assert_eq!((m.lost, m.duplicated, m.packets), (0, 0, 600), "seed {seed}");
    }
}

#[test]
fn everything_at_once() {
    for seed in 0..12 {
        let plan = FaultPlan {
            loss_ppm: 30_000,
            duplicate_ppm: 20_000,
            reorder_ppm: 20_000,
            reorder_depth: 4,
            jitter: Duration::from_millis(15),
            keep_order: false,
            ..FaultPlan::default()
        };
        run(plan, seed, 600);
    }
}

#[test]
fn jitter_of_the_network_is_measured() {
    let plan =
        FaultPlan { jitter: Duration::from_millis(10), keep_order: false, ..FaultPlan::default() };
    let mut sim = Sim::with(plan, 5, [true, false], 1_024);
    let [mut a, _b] = call(&mut sim);
    for _ in 0..1_000 {
        a.speak(&mut sim);
        sim.pass_ms(20);
    }
    let m = sim.figures(a.handle).rx;
    // Two delays, evenly spread over 10 ms, differ by 3.3 ms on average; turns come every 5 ms.
    let ms = m.jitter_ns as f64 / 1e6;
    assert!((1.5..5.5).contains(&ms), "{ms}");
}
