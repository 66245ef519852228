//! What the demo tells at its end.

use super::phone::Heard;
use crate::cli::table::{self, decimals, figure};
use crate::cli::{CliError, CliResult};
use crate::record::{CallRecord, Cause, LegReport};
use crate::snapshot::EngineView;
use serde::Serialize;
use std::collections::BTreeMap;

/// The object that `--json` prints; what could not be known is null.
#[derive(Debug, Serialize)]
pub struct Report {
    call: Call,
    legs: Vec<Leg>,
    engine: Engine,
}

#[derive(Debug, Serialize)]
struct Call {
    id: String,
    from: String,
    to: String,
    setup_ms: Option<u64>,
    duration_ms: Option<u64>,
    cause: Cause,
}

#[derive(Debug, Serialize)]
struct Leg {
    leg: String,
    codec: Option<String>,
    rx_packets: u64,
    tx_packets: u64,
    lost: u64,
    reordered: u64,
    duplicated: u64,
    jitter_ms: Option<f64>,
    rtt_ms: Option<f64>,
    bitrate_bps: Option<u64>,
    mos: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Engine {
    port: Option<String>,
    received: u64,
    forwarded: u64,
    absorbed: u64,
    punted: u64,
    dropped: BTreeMap<String, u64>,
    sent: u64,
    originated: u64,
}

impl From<LegReport> for Leg {
    fn from(leg: LegReport) -> Self {
        Self {
            leg: leg.leg,
            codec: leg.codec,
            rx_packets: leg.rx_packets,
            tx_packets: leg.tx_packets,
            lost: leg.lost,
            reordered: leg.reordered,
            duplicated: leg.duplicated,
            jitter_ms: leg.jitter_ms,
            rtt_ms: leg.rtt_ms,
            bitrate_bps: leg.bitrate_bps,
            mos: leg.mos,
        }
    }
}

impl Report {
    /// Out of the record of the call and the sums of the engine.
    #[must_use]
    pub fn new(record: CallRecord, engine: &EngineView) -> Self {
        Self {
            call: Call {
                id: record.id,
                from: record.from,
                to: record.to,
                setup_ms: record.setup_ms,
                duration_ms: record.duration_ms,
                cause: record.cause,
            },
            legs: record.legs.into_iter().map(Leg::from).collect(),
            engine: Engine {
                port: engine.port.clone(),
                received: engine.received,
                forwarded: engine.forwarded,
                absorbed: engine.absorbed,
                punted: engine.punted,
                dropped: engine.dropped.clone(),
                sent: engine.sent,
                originated: engine.originated,
            },
        }
    }

    /// Tables for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        [self.call_text(), self.legs_text(), self.engine_text()].join("\n\n")
    }

    fn call_text(&self) -> String {
        let mut table = table::new(&["call", "from", "to", ">set-up", ">talked", "ended"]);
        let call = &self.call;
        let Cause { sip_status, text, by } = &call.cause;
        table.add_row([
            call.id.clone(),
            call.from.clone(),
            call.to.clone(),
            call.setup_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
            table::duration(call.duration_ms),
            format!("{sip_status} {text} by {}", by.key()),
        ]);
        table::text(&table)
    }

    fn legs_text(&self) -> String {
        let mut table = table::new(&[
            "leg",
            "codec",
            ">received",
            ">sent",
            ">lost",
            ">reordered",
            ">duplicated",
            ">jitter ms",
            ">round trip ms",
            ">bit/s",
            ">MOS",
        ]);
        for leg in &self.legs {
            table.add_row([
                leg.leg.clone(),
                figure(leg.codec.as_ref()),
                leg.rx_packets.to_string(),
                leg.tx_packets.to_string(),
                leg.lost.to_string(),
                leg.reordered.to_string(),
                leg.duplicated.to_string(),
                decimals(leg.jitter_ms, 2),
                decimals(leg.rtt_ms, 2),
                table::rate(leg.bitrate_bps),
                decimals(leg.mos, 2),
            ]);
        }
        table::text(&table)
    }

    fn engine_text(&self) -> String {
        let mut table = table::new(&[
            "engine",
            ">received",
            ">forwarded",
            ">absorbed",
            ">punted",
            ">dropped",
            ">sent",
            ">originated",
        ]);
        let engine = &self.engine;
        table.add_row([
            figure(engine.port.as_ref()),
            engine.received.to_string(),
            engine.forwarded.to_string(),
            engine.absorbed.to_string(),
            engine.punted.to_string(),
            engine.dropped.values().sum::<u64>().to_string(),
            engine.sent.to_string(),
            engine.originated.to_string(),
        ]);
        let dropped = engine.dropped.iter().filter(|(_, count)| **count > 0);
        let reasons: Vec<String> =
            dropped.map(|(reason, count)| format!("\ndropped, {reason}: {count}")).collect();
        table::text(&table) + &reasons.concat()
    }
}

/// Says on standard error what each phone heard.
///
/// # Errors
/// [`CliError`] if one did not hear what the other played.
pub fn audio_arrived(heard: &[Heard]) -> CliResult {
    for phone in heard {
        super::tell(&phone.sentence());
    }
    if heard.iter().all(Heard::is_right) {
        super::tell("audio arrived both ways");
        return Ok(());
    }
    Err(CliError::failed("audio did not arrive as it was played"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ReleasedBy;

    fn report() -> Report {
        let record = CallRecord {
            id: "17".into(),
            from: "sip:alice@tandem".into(),
            to: "sip:bob@tandem".into(),
            started_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            ringing_at: None,
            answered_at: None,
            ended_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            setup_ms: Some(7),
            ring_ms: None,
            duration_ms: Some(10_012),
            cause: Cause { sip_status: 200, text: "hung up".into(), by: ReleasedBy::Caller },
            recovered: false,
            referred_by: None,
            legs: vec![LegReport { leg: "caller".into(), rx_packets: 501, ..Default::default() }],
        };
        let engine = EngineView {
            port: Some("socket(io_uring)".into()),
            received: 10,
            dropped: BTreeMap::from([("unknown_source".to_owned(), 3)]),
            ..Default::default()
        };
        Report::new(record, &engine)
    }

    #[test]
    fn the_object_has_the_promised_keys_and_nulls() {
        let json = serde_json::to_value(report()).unwrap();
        let keys = |value: &serde_json::Value| -> Vec<String> {
            let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&json), ["call", "engine", "legs"]);
        assert_eq!(keys(&json["call"]), ["cause", "duration_ms", "from", "id", "setup_ms", "to"]);
        assert_eq!(
            keys(&json["legs"][0]),
            [
                "bitrate_bps",
                "codec",
                "duplicated",
                "jitter_ms",
                "leg",
                "lost",
                "mos",
                "reordered",
                "rtt_ms",
                "rx_packets",
                "tx_packets"
            ]
        );
        assert!(json["legs"][0]["rtt_ms"].is_null());
        assert_eq!(json["engine"]["dropped"]["unknown_source"], 3);
    }

    #[test]
    fn tables_show_what_is_unknown_as_a_dash() {
        let text = report().to_text();
        assert!(text.contains("0:10.0") && text.contains("hung up by caller"), "{text}");
        assert!(text.contains("dropped, unknown_source: 3"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("caller") && line.ends_with('-')));
    }
}
