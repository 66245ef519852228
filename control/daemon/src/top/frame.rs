//! One look at the daemon, and the rates between two looks.

use crate::cli::{CliResult, Daemon, table};
use crate::record::LegReport;
use crate::snapshot::{CallView, EngineView, LegView, Stats};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Rates between two frames, per second.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Packets received.
    pub received_pps: f64,
    /// Packets sent.
    pub sent_pps: f64,
    /// Bits of UDP payload received.
    pub received_bps: f64,
    /// Bits of UDP payload sent.
    pub sent_bps: f64,
    /// Packets dropped, by reason.
    pub dropped_pps: BTreeMap<String, f64>,
}

impl Rates {
    /// The rates between two publications of one engine.
    fn between(then: &EngineView, now: &EngineView, elapsed_ns: u64) -> Self {
        let rate = |then, now| per_second(then, now, elapsed_ns);
        Self {
            received_pps: rate(then.received, now.received),
            sent_pps: rate(then.sent, now.sent),
            received_bps: rate(then.received_octets, now.received_octets) * 8.0,
            sent_bps: rate(then.sent_octets, now.sent_octets) * 8.0,
            dropped_pps: now
                .dropped
                .iter()
                .map(|(reason, count)| {
                    let before = then.dropped.get(reason).copied().unwrap_or_default();
                    (reason.clone(), rate(before, *count))
                })
                .collect(),
        }
    }
}

/// Call, leg and position of a media line.
type LineKey = (String, String, usize);

/// Packets per second of a media line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LineRates {
    rx_pps: u64,
    tx_pps: u64,
}

impl LineRates {
    const fn plus(self, other: Self) -> Self {
        Self {
            rx_pps: self.rx_pps.saturating_add(other.rx_pps),
            tx_pps: self.tx_pps.saturating_add(other.tx_pps),
        }
    }
}

/// One look.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Frame {
    /// When.
    pub at: Timestamp,
    /// Calls that are not answered yet.
    pub calls_ringing: u64,
    /// Calls that are answered.
    pub calls_answered: u64,
    /// Calls since the start.
    pub calls_total: u64,
    /// Registered contacts.
    pub registrations: u64,
    /// Rates since the frame before; `None` in the first.
    pub rates: Option<Rates>,
    /// The engine.
    pub engine: EngineView,
    /// The calls.
    pub calls: Vec<CallView>,
    /// The rates of the media lines that `calls` has by leg; they stay while nothing new is
    /// published.
    #[serde(skip)]
    line_rates: HashMap<LineKey, LineRates>,
}

#[derive(Debug, Deserialize)]
struct Calls {
    calls: Vec<CallView>,
}

/// Columns of the legs.
pub(super) const COLUMNS: [&str; 11] = [
    "call", "leg", "party", "state", "codec", ">rx pps", ">loss", ">jitter", ">rtt", ">bit/s",
    ">MOS",
];

impl Frame {
    /// Asks the daemon.
    ///
    /// # Errors
    /// [`crate::cli::CliError`] if it does not answer.
    pub fn look(daemon: &Daemon) -> CliResult<Self> {
        let stats: Stats = daemon.get("/v1/stats", &[])?;
        let calls: Calls = daemon.get("/v1/calls", &[])?;
        Ok(Self {
            at: Timestamp::now(),
            calls_ringing: stats.calls_ringing,
            calls_answered: stats.calls_answered,
            calls_total: stats.calls_total,
            registrations: stats.registrations,
            rates: None,
            engine: stats.engine,
            calls: calls.calls,
            line_rates: HashMap::new(),
        })
    }

    /// The frame with the rates since an earlier one, over the time that passed between the
    /// engine's two publications: its figures are older than the look at them. While nothing new
    /// was published the rates stay. A new engine counts from zero again, so there are none across
    /// its start.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        if self.engine.instance == earlier.engine.instance {
            self.rates = match elapsed_ns(earlier.engine.published_ns, self.engine.published_ns) {
                None => None,
                Some(0) => earlier.rates.clone(),
                Some(ns) => Some(Rates::between(&earlier.engine, &self.engine, ns)),
            };
        }
        self.fill_leg_rates(earlier);
        self
    }

    /// Packets per second of each leg: the sum of its media lines, which the engine publishes one
    /// by one.
    fn fill_leg_rates(&mut self, earlier: &Self) {
        let before: HashMap<LineKey, &LegReport> = earlier.lines().collect();
        self.line_rates = self
            .lines()
            .filter_map(|(key, now)| {
                let then = before.get(&key)?;
                let rates = match elapsed_ns(then.published_ns, now.published_ns)? {
                    0 => *earlier.line_rates.get(&key)?,
                    ns => LineRates {
                        rx_pps: rounded(per_second(then.rx_packets, now.rx_packets, ns)),
                        tx_pps: rounded(per_second(then.tx_packets, now.tx_packets, ns)),
                    },
                };
                Some((key, rates))
            })
            .collect();
        for call in &mut self.calls {
            for leg in &mut call.legs {
                let known = (0..leg.media.len()).filter_map(|line| {
                    self.line_rates.get(&(call.id.clone(), leg.leg.clone(), line)).copied()
                });
                let Some(sum) = known.reduce(LineRates::plus) else { continue };
                leg.rx_pps = Some(sum.rx_pps);
                leg.tx_pps = Some(sum.tx_pps);
            }
        }
    }

    /// The media lines of all legs.
    fn lines(&self) -> impl Iterator<Item = (LineKey, &LegReport)> {
        self.calls.iter().flat_map(|call| {
            call.legs.iter().flat_map(|leg| {
                let key = |line| (call.id.clone(), leg.leg.clone(), line);
                leg.media.iter().enumerate().map(move |(line, media)| (key(line), media))
            })
        })
    }

    /// The figures of the head: one line each.
    #[must_use]
    pub fn head(&self) -> Vec<String> {
        let engine = &self.engine;
        let us = |ns: u64| format!("{}.{} µs", ns / 1_000, ns % 1_000 / 100);
        let mut lines = vec![format!(
            "calls {} ({} ringing), {} since the start; {} registrations",
            self.calls_answered + self.calls_ringing,
            self.calls_ringing,
            self.calls_total,
            self.registrations
        )];
        lines.push(if engine.attached {
            format!(
                "engine {} process {}, {} workers, {} legs, {} of {} endpoints bound and free",
                table::figure(engine.port.as_ref()),
                table::figure(engine.pid),
                engine.workers,
                engine.terminations,
                engine.endpoints_free,
                engine.endpoint_limit
            )
        } else {
            "no media engine is attached".to_owned()
        });
        lines.push(match &self.rates {
            Some(rates) => format!(
                "in {:.0} packets/s {} bit/s, out {:.0} packets/s {} bit/s",
                rates.received_pps,
                bits(rates.received_bps),
                rates.sent_pps,
                bits(rates.sent_bps)
            ),
            None => format!("in {} packets, out {} packets", engine.received, engine.sent),
        });
        let residence = &engine.residence;
        lines.push(format!(
            "time in Tandem: p50 {}, p99 {}, p99.9 {}, max {}",
            us(residence.p50_ns),
            us(residence.p99_ns),
            us(residence.p999_ns),
            us(residence.max_ns)
        ));
        lines.push(self.drops());
        lines
    }

    fn drops(&self) -> String {
        let parts: Vec<String> = self
            .engine
            .dropped
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| {
                let rate = self.rates.as_ref().and_then(|rates| rates.dropped_pps.get(reason));
                match rate {
                    Some(rate) if *rate > 0.0 => format!("{reason} {count} ({rate:.0}/s)"),
                    _ => format!("{reason} {count}"),
                }
            })
            .collect();
        let drops = if parts.is_empty() {
            "no drops".to_owned()
        } else {
            format!("drops: {}", parts.join(", "))
        };
        let figures = self.engine.port_losses.figures();
        let lost: Vec<String> = figures
            .into_iter()
            .filter(|(_, _, count)| *count > 0)
            .map(|(kind, _, count)| format!("{kind} {count}"))
            .collect();
        if lost.is_empty() { drops } else { format!("{drops}; in the port: {}", lost.join(", ")) }
    }

    /// One row per leg and media line.
    #[must_use]
    pub fn rows(&self) -> Vec<[String; 11]> {
        let mut rows = Vec::new();
        for call in &self.calls {
            for leg in &call.legs {
                if leg.media.is_empty() {
                    rows.push(row(call, leg, None));
                }
                rows.extend(leg.media.iter().map(|media| row(call, leg, Some(media))));
            }
        }
        rows
    }

    /// The frame as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut legs = table::new(&COLUMNS);
        legs.add_rows(self.rows());
        format!("{}\n{}\n{}\n", table::time(self.at), self.head().join("\n"), table::text(&legs))
    }
}

/// Time between two publications; `None` if one of them is missing or the clock went back.
fn elapsed_ns(then: Option<u64>, now: Option<u64>) -> Option<u64> {
    now?.checked_sub(then?)
}

#[expect(clippy::cast_precision_loss, reason = "rates of a second are below 2^53")]
fn per_second(then: u64, now: u64, elapsed_ns: u64) -> f64 {
    now.saturating_sub(then) as f64 * 1e9 / elapsed_ns as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, rounded")]
fn rounded(rate: f64) -> u64 {
    rate.max(0.0).round() as u64
}

fn bits(bps: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, rounded")]
    let whole = bps.max(0.0) as u64;
    table::scaled(whole, 1000)
}

fn row(call: &CallView, leg: &LegView, media: Option<&LegReport>) -> [String; 11] {
    let party = if leg.leg == "caller" { &call.from } else { &call.to };
    let of = |show: fn(&LegReport) -> String| media.map_or_else(|| "-".to_owned(), show);
    [
        call.id.clone(),
        leg.leg.clone(),
        party.trim_start_matches("sip:").to_owned(),
        leg.state.key().to_owned(),
        of(|media| table::figure(media.codec.as_ref())),
        table::figure(leg.rx_pps),
        of(|media| table::loss(media.lost, media.expected)),
        of(|media| table::decimals(media.jitter_ms, 1)),
        of(|media| table::decimals(media.rtt_ms, 1)),
        of(|media| table::rate(media.bitrate_bps)),
        of(|media| table::decimals(media.mos, 2)),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::snapshot::CallState;

    pub(in crate::top) fn frame(second: i64, received: u64) -> Frame {
        let at = Timestamp::from_second(1_700_000_000 + second).unwrap();
        let media = LegReport {
            leg: "caller".into(),
            codec: Some("PCMA/8000".into()),
            lost: 1,
            expected: 200,
            jitter_ms: Some(1.25),
            bitrate_bps: Some(68_800),
            mos: Some(4.37),
            published_ns: u64::try_from(second).ok().map(|second| second * 1_000_000_000),
            ..LegReport::default()
        };
        let leg = LegView {
            leg: "caller".into(),
            call_id: "x".into(),
            transport: "udp".into(),
            remote: None,
            target: None,
            state: CallState::Answered,
            media: vec![media],
            rx_pps: Some(50),
            tx_pps: Some(50),
        };
        let mut engine = EngineView {
            attached: true,
            port: Some("socket(io_uring)".into()),
            instance: Some("a".into()),
            published_ns: u64::try_from(second).ok().map(|second| second * 1_000_000_000),
            received,
            received_octets: received * 172,
            ..EngineView::default()
        };
        engine.dropped.insert("not_rtp".into(), received / 10);
        Frame {
            at,
            calls_ringing: 0,
            calls_answered: 1,
            calls_total: 1,
            registrations: 2,
            rates: None,
            engine,
            calls: vec![CallView {
                id: "call-1".into(),
                from: "sip:alice@tandem".into(),
                to: "sip:bob@tandem".into(),
                state: CallState::Answered,
                started_at: at,
                ringing_at: None,
                answered_at: Some(at),
                duration_ms: Some(5),
                legs: vec![leg],
            }],
            line_rates: HashMap::new(),
        }
    }

    #[test]
    fn rates_are_differences_per_second() {
        let later = frame(2, 1_100).since(&frame(0, 1_000));
        let rates = later.rates.as_ref().unwrap();
        assert!((rates.received_pps - 50.0).abs() < 1e-9);
        assert!((rates.received_bps - 50.0 * 172.0 * 8.0).abs() < 1e-6);
        assert!((rates.dropped_pps["not_rtp"] - 5.0).abs() < 1e-9);
        assert!(later.head().iter().any(|line| line.contains("not_rtp 110 (5/s)")));
        let mut later = later;
        later.engine.port_losses.overflowed = 3;
        let head = later.head();
        assert!(head.iter().any(|line| line.ends_with("; in the port: overflowed 3")), "{head:?}");
    }

    #[test]
    fn legs_get_rates_out_of_their_totals() {
        let (mut first, mut second) = (frame(0, 0), frame(2, 0));
        for (frame, packets) in [(&mut first, 100), (&mut second, 199)] {
            let leg = &mut frame.calls[0].legs[0];
            (leg.rx_pps, leg.tx_pps) = (None, None);
            leg.media[0].rx_packets = packets;
        }
        let leg = &second.since(&first).calls[0].legs[0];
        assert_eq!((leg.rx_pps, leg.tx_pps), (Some(50), Some(0)));
    }

    #[test]
    fn steady_media_has_a_steady_rate_however_looks_and_publications_fall() {
        // A packet each 20 ms; published each 1.02 s, looked at each second.
        let packets_until = |ns: u64| ns / 20_000_000;
        let look = |second: i64| {
            let looked_ns = u64::try_from(second).unwrap() * 1_000_000_000;
            let ns = looked_ns / 1_020_000_000 * 1_020_000_000;
            let mut frame = frame(second, packets_until(ns));
            frame.engine.published_ns = Some(ns);
            let leg = &mut frame.calls[0].legs[0];
            (leg.rx_pps, leg.tx_pps) = (None, None);
            leg.media[0].rx_packets = packets_until(ns);
            leg.media[0].published_ns = Some(ns);
            frame
        };
        let mut last = look(250).since(&look(248));
        let mut unchanged = 0;
        for second in 251..260 {
            let next = look(second).since(&last);
            unchanged += usize::from(next.engine.published_ns == last.engine.published_ns);
            assert_eq!(next.calls[0].legs[0].rx_pps, Some(50), "second {second}");
            let rates = next.rates.as_ref().unwrap();
            assert!((rates.received_pps - 50.0).abs() < 1.0, "second {second}: {rates:?}");
            last = next;
        }
        assert_eq!(unchanged, 1, "one look has nothing new");
        // Media that ended publishes no more and has no rate.
        let mut ended = look(261);
        ended.calls[0].legs[0].media[0].published_ns = None;
        assert_eq!(ended.since(&last).calls[0].legs[0].rx_pps, None);
    }

    #[test]
    fn lines_of_a_leg_are_published_apart_and_add_up() {
        let look = |second, video: u64, video_ns| {
            let mut frame = frame(second, 0);
            let media = &mut frame.calls[0].legs[0].media;
            media[0].rx_packets = u64::try_from(second).unwrap() * 50;
            let line = LegReport { rx_packets: video, published_ns: video_ns, ..media[0].clone() };
            media.push(line);
            frame
        };
        let first = look(1, 100, Some(500_000_000));
        let second = look(2, 300, Some(1_500_000_000)).since(&first);
        assert_eq!(second.calls[0].legs[0].rx_pps, Some(250));
        let third = look(3, 300, Some(1_500_000_000)).since(&second);
        assert_eq!(third.calls[0].legs[0].rx_pps, Some(250));
    }

    #[test]
    fn a_new_engine_gives_no_rates() {
        let mut later = frame(2, 5);
        later.engine.instance = Some("b".into());
        assert_eq!(later.since(&frame(0, 1_000)).rates, None);
    }

    #[test]
    fn text_shows_the_quality_of_each_leg() {
        let text = frame(0, 0).to_text();
        for part in ["alice@tandem", "PCMA/8000", "0.5 %", "1.2", "68.8k", "4.37", "no drops"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let json = serde_json::to_value(frame(0, 0)).unwrap();
        assert_eq!(json["engine"]["attached"], true);
        assert!(json["rates"].is_null());
    }
}
