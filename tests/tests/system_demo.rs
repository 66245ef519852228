//! The first thing a newcomer runs.

use serde_json::Value;
use std::process::Command;
use tandem_tests::process::binary;
use tandem_tests::skip::{has_program, skip};

const LEG: &[&str] = &[
    "leg",
    "codec",
    "rx_packets",
    "tx_packets",
    "lost",
    "reordered",
    "duplicated",
    "jitter_ms",
    "rtt_ms",
    "bitrate_bps",
    "mos",
];
const ENGINE: &[&str] =
    &["port", "received", "forwarded", "absorbed", "punted", "dropped", "sent", "originated"];

fn demo(phones: &str) {
    let output = Command::new(binary("tandem"))
        .args(["demo", "--json", "--seconds", "4", "--phones", phones])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)));
    for key in ["id", "from", "to", "setup_ms", "duration_ms", "cause"] {
        assert!(report["call"].get(key).is_some(), "call.{key} in {report}");
    }
    let duration = report["call"]["duration_ms"].as_u64().unwrap();
    assert!((3_500..6_000).contains(&duration), "{report}");
    let legs = report["legs"].as_array().unwrap();
    assert_eq!(legs.len(), 2, "{report}");
    for leg in legs {
        for key in LEG {
            assert!(leg.get(key).is_some(), "{key} in {leg}");
        }
        let packets = leg["rx_packets"].as_u64().unwrap();
        assert!((150..=320).contains(&packets), "{leg}");
        assert_eq!(leg["lost"], 0, "{leg}");
        assert!(leg["mos"].as_f64().is_some_and(|mos| mos > 4.0), "{leg}");
    }
    let engine = &report["engine"];
    for key in ENGINE {
        assert!(engine.get(key).is_some(), "engine.{key} in {report}");
    }
    let sum = |value: &Value| -> u64 {
        match value {
            Value::Object(map) => map.values().filter_map(Value::as_u64).sum(),
            other => other.as_u64().unwrap_or_else(|| panic!("{other} is no count")),
        }
    };
    let doors = ["forwarded", "absorbed", "punted", "dropped"];
    let left: u64 = doors.iter().map(|key| sum(&engine[*key])).sum();
    assert!(sum(&engine["received"]) > 300, "{engine}");
    assert_eq!(sum(&engine["received"]), left, "every packet left by one door: {engine}");
}

#[test]
fn the_demo_runs_with_our_own_phones() {
    demo("ua");
}

#[test]
fn the_demo_runs_with_baresip() {
    if !has_program("baresip") {
        skip("the_demo_runs_with_baresip", "baresip is not installed");
        return;
    }
    demo("baresip");
}
