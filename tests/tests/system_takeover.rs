//! `kill -9` of the daemon in the middle of 1,000 calls: the next one takes them over, no packet is
//! lost by it, and every record is right.

use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};
use tandem_tests::appliance::{Appliance, Script, Sipp};
use tandem_tests::netns::Net;
use tandem_tests::process::wait_for;
use tandem_tests::rtp_stream::{Impairment, write_pcap};
use tandem_tests::stage::Stage;
use tandem_tests::tshark::{Capture, Stream, rtp_streams};

/// Longer than from the first answer to the end of the take-over.
const STREAM: Impairment =
    Impairment { seed: 3, packets: 600, loss_permille: 0, reorder_permille: 0, jitter_us: 0 };

/// Phones are known by their addresses here, so that sipp can make each call a user of its own.
const CONFIG: &str = "[call]\nauthenticate = false\n[media]\ntimeout_ms = 0\n";

/// How far a record may be from what sipp has seen, s.
const TOLERANCE_S: f64 = 0.1;

/// Calls of one pair of sipps.
struct Pair {
    caller: &'static str,
    called: &'static str,
    ports: [&'static str; 2],
    calls: &'static str,
    rate: &'static str,
    scenarios: [&'static str; 2],
    edits: [&'static [(&'static str, &'static str)]; 2],
}

const SILENT: &[(&str, &str)] =
    &[("<nop><action><exec play_pcap_audio=\"stream.pcap\"/></action></nop>\n", "")];

/// The callee hangs up after 16 s.
const HANGS_UP: &[(&str, &str)] = &[
    ("<pause milliseconds=\"300\"/>\n", ""),
    (
        "<pause milliseconds=\"2000\"/>\n",
        "<pause milliseconds=\"16000\"/>\n<nop><action><log message=\"ended[$caller] [timestamp]\"/></action></nop>\n",
    ),
];

const PAIRS: [Pair; 3] = [
    Pair {
        caller: "talker",
        called: "bob",
        ports: ["5071", "5081"],
        calls: "200",
        rate: "80",
        scenarios: ["uac_outlives", "uas_outlives"],
        edits: [&[], &[]],
    },
    Pair {
        caller: "holder",
        called: "carol",
        ports: ["5072", "5082"],
        calls: "400",
        rate: "100",
        scenarios: ["uac_outlives", "uas_outlives"],
        edits: [SILENT, &[]],
    },
    Pair {
        caller: "hearer",
        called: "dave",
        ports: ["5073", "5083"],
        calls: "400",
        rate: "100",
        scenarios: ["uac_hung_up", "uas_hangup"],
        edits: [&[], HANGS_UP],
    },
];

impl Pair {
    fn start(&self, stage: &Stage, called: bool) -> Sipp {
        let side = usize::from(called);
        let me = if called { self.called } else { self.caller };
        let log = format!("{me}.times");
        let rate: &[&str] = if called { &[] } else { &["-r", self.rate] };
        let own = ["-m", self.calls, "-l", self.calls, "-p", self.ports[side], "-timeout", "50"];
        let logs = ["-trace_logs", "-log_file", log.as_str()];
        stage.run(Script {
            client: side + 1,
            scenario: self.scenarios[side],
            me,
            to: self.called,
            edits: self.edits[side],
            options: &[&own[..], &logs, rate].concat(),
            ..Script::default()
        })
    }
}

/// When sipp saw calls answered and ended, by caller: s of the wall clock.
fn times(folder: &Path) -> HashMap<String, [f64; 2]> {
    let mut times: HashMap<String, [f64; 2]> = HashMap::new();
    for pair in &PAIRS {
        for me in [pair.caller, pair.called] {
            let text = std::fs::read_to_string(folder.join(format!("{me}.times")));
            for line in text.unwrap_or_default().lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                let (Some(first), Some(last)) = (words.first(), words.last()) else { continue };
                let Ok(at) = last.parse::<f64>() else { continue };
                let name = words.get(1).copied().unwrap_or_default();
                let name = name.trim_start_matches("<sip:").split(['@', ';']).next().unwrap_or("");
                let place = usize::from(*first == "ended");
                times.entry(name.to_owned()).or_default()[place] = at;
            }
        }
    }
    times
}

/// The user part of an address of record.
fn user(aor: &Value) -> &str {
    aor.as_str().and_then(|aor| aor.strip_prefix("sip:")?.split('@').next()).unwrap_or_default()
}

/// Starts all pairs and waits until their calls are up.
fn talk(stage: &Stage) -> Vec<Sipp> {
    let mut all: Vec<Sipp> = PAIRS.iter().map(|pair| pair.start(stage, true)).collect();
    std::thread::sleep(Duration::from_millis(300));
    all.extend(PAIRS.iter().map(|pair| pair.start(stage, false)));
    let answered = || {
        let frame = stage.appliance.json(&["top", "--once"]).ok()?;
        (frame["calls_answered"] == 1_000).then_some(())
    };
    wait_for(Duration::from_secs(12), answered).expect("1,000 calls are answered in time");
    all
}

fn check_records(stage: &Stage, started: usize) {
    let listed = || {
        let records = stage.appliance.json(&["records", "--limit", "1000"]).ok()?;
        let records = records["records"].as_array()?.clone();
        (records.len() == started).then_some(records)
    };
    let records = wait_for(Duration::from_secs(5), listed).expect("a record of each call");
    let times = times(stage.path());
    let mut worst = 0.0_f64;
    for record in &records {
        let name = user(&record["from"]);
        let [answered, ended] = *times.get(name).unwrap_or_else(|| panic!("sipp knows {name}"));
        assert!(answered > 0.0 && ended > answered, "{name}: {answered} {ended}");
        let lasted_s = record["duration_ms"].as_u64().expect("a duration") as f64 / 1e3;
        worst = worst.max((lasted_s - (ended - answered)).abs());
        assert_eq!(record["cause"]["sip_status"], 200, "{record}");
        assert_eq!(record["recovered"], true, "{record}");
        let by = if name.starts_with("hearer") { "callee" } else { "caller" };
        assert_eq!(record["cause"]["by"], by, "{record}");
    }
    eprintln!("records differ from sipp's times by {:.1} ms at most", worst * 1e3);
    assert!(worst <= TOLERANCE_S, "{worst} s");
    let talkers = records.iter().filter(|it| user(&it["from"]).starts_with("talker"));
    for record in talkers {
        let legs = record["legs"].as_array().unwrap();
        let leg = legs.iter().find(|leg| leg["leg"] == "caller").expect("the caller's leg");
        assert_eq!((&leg["rx_packets"], &leg["lost"]), (&600.into(), &0.into()), "{record}");
    }
}

#[test]
fn a_thousand_calls_outlive_the_daemon() {
    let name = "a_thousand_calls_outlive_the_daemon";
    let Some(mut stage) = Stage::set(name, &["tshark"], CONFIG) else { return };
    stage.appliance.add_users(&["carol", "dave"]).unwrap();
    for pair in &PAIRS {
        let register = stage.sipp(2, "register", pair.called, pair.called, &["-p", pair.ports[1]]);
        register.finish().unwrap_or_else(|error| panic!("{error}"));
    }
    let injected = write_pcap(&stage.path().join("stream.pcap"), STREAM).unwrap();
    let interface = Net::server_interface(2);
    let capture = Capture::start(&stage.net.server(), &interface, stage.path()).unwrap();
    let sipps = talk(&stage);

    stage.appliance.process().signal("KILL");
    stage.appliance.process().wait(Duration::from_secs(5)).unwrap();
    let killed = Instant::now();
    std::thread::sleep(Duration::from_millis(500));
    let folder: &Path = stage.path();
    let again = Appliance::start(&stage.net.server(), folder, &Appliance::config(CONFIG)).unwrap();
    stage.appliance = again;
    eprintln!("the next daemon was ready {} ms after the kill", killed.elapsed().as_millis());
    let frame = stage.appliance.json(&["top", "--once"]).unwrap();
    assert_eq!(frame["calls_answered"], 1_000, "{}", stage.appliance.log());

    for sipp in sipps {
        sipp.finish().unwrap_or_else(|error| panic!("{error}\n{}", stage.appliance.log()));
    }
    stage.no_call_is_left();
    check_records(&stage, 1_000);
    let streams = rtp_streams(&capture.stop().unwrap()).unwrap();
    let to_bob: Vec<_> = streams.iter().filter(|it| it.destination == Net::client_ip(2)).collect();
    assert_eq!(to_bob.len(), 200);
    // The first packets may come before the engine knows that the call was answered.
    let whole = |it: &&Stream| it.lost == 0 && it.packets + 10 >= injected.sent;
    let lost: Vec<_> = to_bob.iter().filter(|it| !whole(it)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
