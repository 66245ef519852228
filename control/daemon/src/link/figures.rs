//! Figures over restarts of the engine: what an earlier one counted plus what this one counts.

use tandem_contract::counters::TerminationCounters;
use tandem_contract::measure::{Measurement, RTT_UNKNOWN};

/// Adds the figures of a termination in an earlier engine to those in the current one.
///
/// Sums add up; what describes the present (jitter, bit rate, current SSRC) is the current one's
/// as soon as it has received anything.
#[must_use]
pub fn sum(before: &TerminationCounters, current: &TerminationCounters) -> TerminationCounters {
    let or = |now: tandem_wire::addr::SockAddr, then| if now.is_some() { now } else { then };
    TerminationCounters {
        rx: sum_rx(&before.rx, &current.rx),
        tx_packets: before.tx_packets.saturating_add(current.tx_packets),
        tx_octets: before.tx_octets.saturating_add(current.tx_octets),
        tx_rtcp_packets: before.tx_rtcp_packets.saturating_add(current.tx_rtcp_packets),
        own_rtcp_packets: before.own_rtcp_packets.saturating_add(current.own_rtcp_packets),
        dropped: before.dropped.saturating_add(current.dropped),
        latched_rtp: or(current.latched_rtp, before.latched_rtp),
        latched_rtcp: or(current.latched_rtcp, before.latched_rtcp),
        ..*current
    }
}

fn sum_rx(before: &Measurement, current: &Measurement) -> Measurement {
    if current.packets == 0 {
        let rtcp_packets = before.rtcp_packets.saturating_add(current.rtcp_packets);
        return Measurement { rtcp_packets, ..*before };
    }
    let add = u64::saturating_add;
    let mut interarrival = current.interarrival;
    for (bucket, earlier) in interarrival.iter_mut().zip(before.interarrival) {
        *bucket = bucket.saturating_add(earlier);
    }
    Measurement {
        packets: add(before.packets, current.packets),
        octets: add(before.octets, current.octets),
        wire_octets: add(before.wire_octets, current.wire_octets),
        expected: add(before.expected, current.expected),
        lost_rfc3550: before.lost_rfc3550.saturating_add(current.lost_rfc3550),
        lost: add(before.lost, current.lost),
        reordered: add(before.reordered, current.reordered),
        duplicated: add(before.duplicated, current.duplicated),
        restarts: add(before.restarts, current.restarts),
        ssrc_changes: add(before.ssrc_changes, current.ssrc_changes),
        rtcp_packets: add(before.rtcp_packets, current.rtcp_packets),
        dtmf_events: add(before.dtmf_events, current.dtmf_events),
        first_ns: if before.first_ns == 0 { current.first_ns } else { before.first_ns },
        jitter_max_ns: before.jitter_max_ns.max(current.jitter_max_ns),
        bitrate_peak_bps: before.bitrate_peak_bps.max(current.bitrate_peak_bps),
        rtt_ns: if current.rtt_ns == RTT_UNKNOWN { before.rtt_ns } else { current.rtt_ns },
        burst_lost: add(before.burst_lost, current.burst_lost),
        burst_packets: add(before.burst_packets, current.burst_packets),
        bursts: add(before.bursts, current.bursts),
        burst_ns: add(before.burst_ns, current.burst_ns),
        gap_lost: add(before.gap_lost, current.gap_lost),
        gap_packets: add(before.gap_packets, current.gap_packets),
        gap_ns: add(before.gap_ns, current.gap_ns),
        gaps: add(before.gaps, current.gaps),
        loss_runs: add(before.loss_runs, current.loss_runs),
        interarrival,
        ..*current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_add_and_the_present_is_the_current_one_s() {
        let before = TerminationCounters {
            rx: Measurement {
                packets: 100,
                lost: 3,
                expected: 103,
                jitter_ns: 9,
                jitter_max_ns: 50,
                first_ns: 7,
                rtt_ns: 1_000,
                ssrc: 1,
                ..Measurement::default()
            },
            tx_packets: 90,
            ..TerminationCounters::default()
        };
        let idle = TerminationCounters {
            rx: Measurement { rtt_ns: RTT_UNKNOWN, ..Measurement::default() },
            ..TerminationCounters::default()
        };
        assert_eq!(sum(&before, &idle).rx, before.rx);
        let current = TerminationCounters {
            rx: Measurement {
                packets: 10,
                expected: 10,
                jitter_ns: 4,
                jitter_max_ns: 5,
                first_ns: 99,
                rtt_ns: RTT_UNKNOWN,
                ssrc: 2,
                ..Measurement::default()
            },
            tx_packets: 1,
            ..TerminationCounters::default()
        };
        let both = sum(&before, &current);
        assert_eq!((both.rx.packets, both.rx.lost, both.rx.expected), (110, 3, 113));
        assert_eq!((both.rx.jitter_ns, both.rx.jitter_max_ns), (4, 50));
        assert_eq!((both.rx.first_ns, both.rx.rtt_ns, both.rx.ssrc), (7, 1_000, 2));
        assert_eq!(both.tx_packets, 91);
        // What another process wrote may be anything.
        let most = TerminationCounters {
            rx: Measurement { rtcp_packets: u64::MAX, ..Measurement::default() },
            ..TerminationCounters::default()
        };
        assert_eq!(sum(&most, &most).rx.rtcp_packets, u64::MAX);
    }
}
