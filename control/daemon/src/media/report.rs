//! Reports of legs out of the engine's counters. What could not be known is `None`.

use super::call::{Call, Closed};
use super::party::Named;
use crate::record::LegReport;
use tandem_contract::counters::TerminationCounters;
use tandem_contract::measure::{Measurement, RTT_UNKNOWN};
use tandem_contract::quality::quality;
use tandem_signalling::sdp::static_payload;

/// `Measurement::payload_type` when no media packet came.
const NO_PAYLOAD_TYPE: u32 = 255;

/// Reports of a call, one per leg and media line: `read` gives the counters of a handle.
pub(super) fn of_call(
    call: &Call,
    read: impl Fn(tandem_contract::handle::Handle) -> Option<TerminationCounters>,
) -> Vec<LegReport> {
    let open = call.legs.iter().flat_map(|leg| {
        leg.streams.iter().enumerate().filter_map(|(line, stream)| {
            let names = call.peer_names(leg.id, line);
            Some(stream.as_ref()?.as_closed((leg.id, line), names, call.winner.is_some()))
        })
    });
    let mut lines: Vec<Closed> = Vec::new();
    for mut stream in call.closed.iter().cloned().chain(open) {
        let counters = stream.figures.or_else(|| read(stream.handle)).unwrap_or_default();
        if !(stream.agreed || carried(&counters)) {
            continue;
        }
        stream.figures = Some(counters);
        match lines.iter_mut().find(|line| (line.leg, line.line) == (stream.leg, stream.line)) {
            Some(line) => {
                let earlier = std::mem::replace(line, stream);
                line.add_earlier(earlier);
            }
            None => lines.push(stream),
        }
    }
    lines.sort_by_key(|line| (line.leg, line.line));
    lines.into_iter().map(|line| of_line(call, line)).collect()
}

fn of_line(call: &Call, line: Closed) -> LegReport {
    let counters = line.figures.unwrap_or_default();
    LegReport {
        published_ns: (counters.alive == 1).then_some(counters.published_ns),
        ..report(call.leg_name(line.leg), line.kind, &line.names, &counters)
    }
}

fn carried(counters: &TerminationCounters) -> bool {
    counters.rx.packets > 0 || counters.tx_packets > 0
}

/// The report of a termination of which only the engine knows (after a restart of control).
pub(super) fn of_found(counters: &TerminationCounters) -> LegReport {
    let leg = match counters.leg {
        0 => "caller".to_owned(),
        1 => "callee".to_owned(),
        leg => format!("callee#{leg}"),
    };
    let names: Vec<_> = u8::try_from(counters.rx.payload_type)
        .ok()
        .and_then(|number| Some((number, static_payload(number)?)))
        .map(|(payload_type, known)| Named {
            payload_type,
            name: format!("{}/{}", known.encoding, known.clock_rate),
        })
        .into_iter()
        .collect();
    // RFC 3551 gives video the clock rate of 90 kHz; a dynamic type tells nothing.
    let kind = match counters.rx.clock_rate {
        0 => "unknown",
        90_000 => "video",
        _ => "audio",
    };
    report(leg, kind.to_owned(), &names, counters)
}

fn report(
    leg: String,
    media: String,
    names: &[Named],
    counters: &TerminationCounters,
) -> LegReport {
    let rx = &counters.rx;
    let payload_type = u8::try_from(rx.payload_type)
        .ok()
        .filter(|_| rx.packets > 0 && rx.payload_type != NO_PAYLOAD_TYPE);
    let rating = quality(rx);
    let measured = rx.packets > 1 && rx.clock_rate > 0;
    LegReport {
        leg,
        media,
        codec: payload_type
            .and_then(|pt| names.iter().find(|named| named.payload_type == pt))
            .map(|named| named.name.clone()),
        payload_type,
        rx_packets: rx.packets,
        rx_octets: rx.octets,
        tx_packets: counters.tx_packets,
        tx_octets: counters.tx_octets,
        lost: rx.lost,
        expected: rx.expected,
        reordered: rx.reordered,
        duplicated: rx.duplicated,
        restarts: rx.restarts,
        dropped: counters.dropped,
        rtcp_packets: rx.rtcp_packets,
        ssrc_changes: rx.ssrc_changes,
        ssrc: (rx.packets > 0).then_some(rx.ssrc),
        dtmf_events: rx.dtmf_events,
        jitter_ms: measured.then(|| ms(rx.jitter_ns)),
        jitter_max_ms: measured.then(|| ms(rx.jitter_max_ns)),
        rtt_ms: (rx.rtt_ns != RTT_UNKNOWN && counters.handle.is_some()).then(|| ms(rx.rtt_ns)),
        bitrate_bps: bitrate(rx),
        bitrate_peak_bps: (rx.bitrate_peak_bps > 0).then_some(rx.bitrate_peak_bps),
        burst_density: share(rx.burst_lost, rx.burst_packets),
        burst_duration_ms: mean_ms(rx.burst_ns, rx.bursts),
        gap_density: share(rx.gap_lost, rx.gap_packets),
        gap_duration_ms: mean_ms(rx.gap_ns, rx.gaps),
        r_factor: rating.map(|rating| rounded(rating.r_factor, 10.0)),
        mos: rating.map(|rating| rounded(rating.mos, 100.0)),
        interarrival: if rx.packets > 0 { rx.interarrival.to_vec() } else { Vec::new() },
        remote: counters.latched_rtp.to_std(),
        published_ns: None,
    }
}

/// Of a stream shorter than a second there is no full window, so its bit rate is unknown.
fn bitrate(rx: &Measurement) -> Option<u64> {
    (rx.bitrate_bps > 0).then_some(rx.bitrate_bps)
}

#[expect(clippy::cast_precision_loss, reason = "durations of a call in ms, exact enough")]
fn ms(ns: u64) -> f64 {
    // To the microsecond: more digits are noise in JSON.
    (ns / 1_000) as f64 / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "packet counts below 2^53")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| rounded(part as f64 / whole as f64, 10_000.0))
}

/// Rounded to a fraction of 1 / `scale`: the model is not more exact than that.
fn rounded(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale
}

fn mean_ms(sum_ns: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| ms(sum_ns / count))
}
