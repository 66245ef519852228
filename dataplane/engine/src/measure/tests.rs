//! The measurement against hand-made streams and against a model that remembers everything.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;
use tandem_contract::measure::Measurement;
use tandem_wire::rtp::{SeqNo, Ssrc, Timestamp};

const MS: u64 = 1_000_000;

/// Feeds a receiver with G.711 packets of 20 ms.
struct Feed {
    receiver: Receiver,
    now_ns: u64,
}

impl Feed {
    fn new() -> Self {
        let mut types = PayloadTypes::default();
        types[0] = PayloadType { clock_rate: 8_000, number: 0, codec: 1, present: 1, ..types[0] };
        types[1] = PayloadType {
            clock_rate: 8_000,
            number: 101,
            telephone_event: 1,
            present: 1,
            ..types[1]
        };
        Self { receiver: Receiver::new(types), now_ns: 1_000 * MS }
    }

    fn packet(&mut self, ssrc: u32, sequence: u16, timestamp: u32, payload_type: u8) -> Noted {
        self.now_ns += 20 * MS;
        let header = RtpHeader {
            ssrc: Ssrc(ssrc),
            timestamp: Timestamp(timestamp),
            sequence: SeqNo(sequence),
            header_len: 12,
            payload_type,
            ..RtpHeader::default()
        };
        self.receiver.note(&Packet { header: &header, wire_len: 172, arrival_ns: self.now_ns })
    }

    fn sequence(&mut self, sequence: u16) -> Noted {
        self.packet(7, sequence, u32::from(sequence).wrapping_mul(160), 0)
    }

    fn all(mut self, sequences: impl IntoIterator<Item = u16>) -> Measurement {
        for sequence in sequences {
            self.sequence(sequence);
        }
        self.get()
    }

    fn get(&self) -> Measurement {
        self.receiver.snapshot(self.now_ns)
    }
}

fn feed(sequences: impl IntoIterator<Item = u16>) -> Measurement {
    Feed::new().all(sequences)
}

#[test]
fn nothing_received_is_all_zero() {
    let m = Feed::new().get();
    assert_eq!((m.packets, m.expected, m.lost, m.lost_rfc3550, m.first_ns), (0, 0, 0, 0, 0));
    assert_eq!(m.payload_type, 255);
}

#[test]
fn arrival_times_that_run_backwards_are_no_time() {
    let mut feed = Feed::new();
    // A payload type without a known clock rate: the time of a packet is taken from the arrivals.
    feed.packet(7, 1, 160, 96);
    feed.now_ns -= 30 * MS;
    feed.packet(7, 2, 320, 96);
    let m = feed.get();
    assert_eq!((m.packets, m.clock_rate, m.first_ns, m.last_ns), (2, 0, 1_020 * MS, 1_010 * MS));
    assert_eq!((m.gap_packets, m.gap_ns), (2, 0));
}

#[test]
fn a_clean_stream_over_the_wrap() {
    let m = feed((0..200u16).map(|i| i.wrapping_add(65_500)));
    assert_eq!((m.packets, m.expected, m.lost), (200, 200, 0));
    assert_eq!((m.reordered, m.duplicated, m.restarts), (0, 0, 0));
    assert_eq!(m.ext_sequence, 65_500 + 199);
    assert_eq!((m.octets, m.wire_octets), (200 * 160, 200 * 172));
    assert_eq!((m.clock_rate, m.packet_units, m.codec), (8_000, 160, 1));
    assert_eq!((m.gaps, m.gap_packets, m.gap_ns), (1, 200, 200 * 20 * MS));
}

#[test]
fn duplicates_do_not_hide_loss() {
    let m = feed([1, 2, 2, 2, 4, 5]);
    assert_eq!((m.packets, m.expected, m.duplicated), (6, 5, 2));
    assert_eq!((m.lost, m.lost_rfc3550), (1, -1));
}

#[test]
fn a_late_packet_is_reordered_and_not_lost() {
    let m = feed([1, 2, 4, 5, 3, 6, 3]);
    assert_eq!((m.reordered, m.duplicated, m.lost, m.expected), (1, 1, 0, 6));
}

#[test]
fn a_packet_that_was_overtaken_by_the_first_counts() {
    let m = feed([64, 62, 63, 65, 62]);
    assert_eq!((m.expected, m.lost, m.reordered, m.duplicated), (4, 0, 2, 1));
    assert_eq!(m.lost_rfc3550, -1);
}

#[test]
fn gaps_up_to_the_limit_are_exact_loss() {
    let m = feed([10, 3_011, 3_012]);
    assert_eq!((m.lost, m.restarts, m.expected), (3_000, 0, 3_003));
    assert_eq!((m.bursts, m.burst_lost, m.loss_runs), (1, 3_000, 1));
    // All of them late: none is lost, all are reordered.
    let m = feed([10, 3_011].into_iter().chain(11..3_011));
    assert_eq!((m.lost, m.reordered, m.duplicated, m.expected), (0, 3_000, 0, 3_002));
}

#[test]
fn a_gap_beyond_the_limit_is_a_counted_restart() {
    let m = feed([10, 11, 3_013, 3_014, 3_016]);
    assert_eq!((m.restarts, m.lost, m.expected, m.packets), (1, 1, 6, 5));
    let m = feed([65_530, 65_531, 30_000, 30_001]);
    assert_eq!((m.restarts, m.lost, m.expected), (1, 0, 4));
    let back = feed([10_000, 10_001, 0, 1, 2]);
    assert_eq!((back.restarts, back.lost, back.lost_rfc3550), (1, 0, 0));
}

#[test]
fn a_single_stray_is_neither_loss_nor_restart() {
    let m = feed([10, 11, 40_000, 12, 13]);
    assert_eq!((m.restarts, m.lost, m.lost_rfc3550), (0, 0, 0));
    assert_eq!((m.packets, m.expected), (5, 4));
}

#[test]
fn a_restart_into_numbers_that_came_before() {
    let m = feed((1_000..1_500).chain(1_200..1_210));
    assert_eq!((m.restarts, m.duplicated, m.lost), (1, 0, 0));
    assert_eq!((m.packets, m.expected), (510, 510));
}

#[test]
fn an_ssrc_change_begins_anew_and_keeps_the_sums() {
    let mut feed = Feed::new();
    for sequence in [1, 2, 4] {
        feed.packet(7, sequence, 0, 0);
    }
    let noted = feed.packet(8, 50_000, 999, 0);
    assert!(noted.ssrc_changed);
    feed.packet(8, 50_001, 1_159, 0);
    let m = feed.get();
    assert_eq!((m.packets, m.expected, m.lost, m.ssrc_changes), (5, 6, 1, 1));
    assert_eq!((m.ssrc, m.ext_sequence, m.restarts), (8, 50_001, 0));
}

#[test]
fn what_passed_while_engines_changed_is_a_restart_and_no_loss() {
    let mut feed = Feed::new();
    feed.receiver.resume(7, 0x2_0005);
    assert_eq!((feed.get().expected, feed.get().lost), (0, 0));
    feed.sequence(8);
    let m = feed.get();
    assert_eq!((m.ext_sequence, m.expected, m.lost, m.restarts), (0x2_0008, 1, 0, 1));
    feed.sequence(10);
    let m = feed.get();
    assert_eq!((m.expected, m.lost, m.restarts), (3, 1, 1));
    assert_eq!((m.ssrc_changes, m.gap_lost + m.burst_lost), (0, 1));
}

#[test]
fn jitter_is_that_of_rfc_3550_a_8() {
    let mut feed = Feed::new();
    let (mut expected, mut transit) = (0f64, None);
    for i in 0..500u16 {
        // Between 0 and 12 ms of delay, pseudo-random.
        let delay = u64::from(i.wrapping_mul(40_503) % 13) * MS;
        let arrival_ns = 1_000 * MS + u64::from(i) * 20 * MS + delay;
        feed.now_ns = arrival_ns - 20 * MS;
        feed.sequence(i);
        let now = arrival_ns as f64 / 1e6 - f64::from(i) * 20.0;
        if let Some(before) = transit {
            let d: f64 = now - before;
            expected += (d.abs() - expected) / 16.0;
        }
        transit = Some(now);
    }
    let m = feed.get();
    let measured = m.jitter_ns as f64 / 1e6;
    assert!((measured - expected).abs() < 0.001, "{measured} {expected}");
    assert!(m.jitter_max_ns >= m.jitter_ns);
}

#[test]
fn telephone_events_do_not_confuse_jitter() {
    let mut feed = Feed::new();
    for i in 0..10u16 {
        feed.packet(7, i, u32::from(i) * 160, 0);
    }
    for i in 10..20u16 {
        // Ten packets of one event share its time stamp.
        assert!(feed.packet(7, i, 1_600, 101).telephone_event);
    }
    for i in 20..30u16 {
        feed.packet(7, i, u32::from(i) * 160, 0);
    }
    let m = feed.get();
    assert_eq!((m.jitter_ns, m.lost, m.payload_type, m.packet_units), (0, 0, 0, 160));
}

#[test]
fn an_unknown_clock_rate_has_no_jitter() {
    let mut feed = Feed::new();
    for i in 0..10u16 {
        feed.packet(7, i, 0, 96);
    }
    assert_eq!((feed.get().jitter_ns, feed.get().clock_rate, feed.get().codec), (0, 0, 0));
    // A pause in comfort noise keeps codec and rate of the speech.
    let mut feed = Feed::new();
    feed.packet(7, 1, 160, 0);
    feed.packet(7, 2, 320, 13);
    assert_eq!((feed.get().payload_type, feed.get().codec), (0, 1));
}

#[test]
fn bit_rate_of_one_second_and_peak() {
    let mut feed = Feed::new();
    for i in 0..101u16 {
        feed.sequence(i);
    }
    // 50 packets of 172 octets in a second.
    assert_eq!(feed.get().bitrate_bps, 68_800);
    assert_eq!(feed.get().bitrate_peak_bps, 68_800);
    feed.now_ns += 3_000 * MS;
    assert_eq!(feed.get().bitrate_bps, 0);
    feed.sequence(101);
    assert_eq!((feed.get().bitrate_bps, feed.get().bitrate_peak_bps), (0, 68_800));
}

#[test]
fn interarrival_buckets_double() {
    let mut feed = Feed::new();
    feed.sequence(0);
    for (i, ms) in [0u64, 1, 20, 10_000].into_iter().enumerate() {
        feed.now_ns = feed.now_ns + ms * MS - 20 * MS;
        feed.sequence(u16::try_from(i).unwrap() + 1);
    }
    let m = feed.get();
    // Below 0.25 ms; 1 to 2 ms; 16 to 32 ms; 4,096 ms and above.
    assert_eq!((m.interarrival[0], m.interarrival[3], m.interarrival[7]), (1, 1, 1));
    assert_eq!(m.interarrival[15], 1);
    assert_eq!(m.interarrival.iter().sum::<u32>(), 4);
}

#[test]
fn the_hot_record_is_small() {
    assert!(size_of::<StreamHot>() <= 168, "{}", size_of::<StreamHot>());
}

proptest! {
    /// Against a model that remembers everything: loss, duplication and displacement up to 60.
    #[test]
    fn agrees_with_a_model(
        start in any::<u16>(),
        fates in prop::collection::vec((0u8..10, 0u16..60), 1..1_500),
    ) {
        let mut sent = Vec::new();
        for (i, (fate, delay)) in (0u32..).zip(&fates) {
            let order = |delay: u16| u32::from(delay) + i;
            match fate {
                0 => {}
                1 => sent.extend([(order(0), i), (order(*delay), i)]),
                2 => sent.push((order(*delay), i)),
                _ => sent.push((order(0), i)),
            }
        }
        sent.sort();
        let numbers: Vec<u32> = sent.into_iter().map(|(_, i)| i).collect();
        let wire = numbers.iter().map(|&i| start.wrapping_add(u16::try_from(i).unwrap()));
        let m = feed(wire);
        let unique: HashSet<_> = numbers.iter().copied().collect();
        let (mut reordered, mut highest, mut seen) = (0, 0, HashSet::new());
        for &n in &numbers {
            if seen.insert(n) && seen.len() > 1 && n < highest {
                reordered += 1;
            }
            highest = highest.max(n);
        }
        let Some(&lowest) = unique.iter().min() else { return Ok(()) };
        let expected = u64::from(highest - lowest) + 1;
        prop_assert_eq!(m.packets, numbers.len() as u64);
        prop_assert_eq!(m.expected, expected);
        prop_assert_eq!(m.lost, expected - unique.len() as u64);
        prop_assert_eq!(m.duplicated, (numbers.len() - unique.len()) as u64);
        prop_assert_eq!(m.reordered, reordered);
        prop_assert_eq!(m.restarts, 0);
        prop_assert_eq!(m.burst_packets + m.gap_packets, m.expected);
        // Nothing comes later than 64 numbers: bursts and gaps hold exactly what is lost.
        prop_assert_eq!(m.burst_lost + m.gap_lost, m.lost);
    }
}
