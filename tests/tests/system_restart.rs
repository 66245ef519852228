//! `kill -9` of the daemon in the middle of a call: media flow on, and the next daemon takes it over.

use std::path::Path;
use std::time::Duration;
use tandem_tests::appliance::Appliance;
use tandem_tests::netns::Net;
use tandem_tests::process::wait_for;
use tandem_tests::rtp_stream::{Impairment, write_pcap};
use tandem_tests::stage::Stage;
use tandem_tests::tshark::{Capture, rtp_streams};

const STREAM: Impairment =
    Impairment { seed: 3, packets: 500, loss_permille: 0, reorder_permille: 0, jitter_us: 0 };

/// Process id of the attached engine, none while it is away.
fn engine_pid(stage: &Stage) -> Option<u64> {
    let frame = stage.appliance.json(&["top", "--once"]).unwrap();
    frame["engine"]["pid"].as_u64()
}

#[test]
fn media_flow_on_while_the_daemon_is_killed_and_starts_again() {
    let name = "media_flow_on_while_the_daemon_is_killed_and_starts_again";
    let Some(mut stage) = Stage::set(name, &["tshark"], "") else { return };
    let injected = write_pcap(&stage.path().join("stream.pcap"), STREAM).unwrap();
    stage.register_bob(&[]);
    let interface = Net::server_interface(2);
    let capture = Capture::start(&stage.net.server(), &interface, stage.path()).unwrap();
    let bob = stage.bob("uas_answer", &[]);
    std::thread::sleep(Duration::from_millis(300));
    let alice = stage.alice("uac_play", &[]);
    std::thread::sleep(Duration::from_secs(4));
    let before = engine_pid(&stage).expect("an engine");

    stage.appliance.process().signal("KILL");
    stage.appliance.process().wait(Duration::from_secs(5)).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let folder: &Path = stage.path();
    let again = Appliance::start(&stage.net.server(), folder, &Appliance::config("")).unwrap();
    stage.appliance = again;
    assert_eq!(engine_pid(&stage), Some(before), "the new daemon took the running engine over");

    // Alice hangs up, and bob hears of it.
    let record = stage.finish(bob, alice);
    let streams = rtp_streams(&capture.stop().unwrap()).unwrap();
    let to_bob = streams.iter().find(|s| s.destination == Net::client_ip(2)).expect("a stream");
    assert_eq!((to_bob.packets, to_bob.lost), (injected.sent, 0), "{streams:?}");
    assert_eq!(record["recovered"], true, "{record}");
    assert_eq!(record["cause"]["by"], "caller", "{record}");
    let lasted_ms = record["duration_ms"].as_u64().unwrap();
    assert!((14_000..14_300).contains(&lasted_ms), "{record}");
    let legs = record["legs"].as_array().unwrap();
    let leg = legs.iter().find(|leg| leg["leg"] == "caller").expect("the caller's leg");
    assert_eq!(leg["rx_packets"], injected.sent, "the engine's figures: {record}");
}

#[test]
fn a_killed_engine_is_started_again_and_calls_go_on() {
    let name = "a_killed_engine_is_started_again_and_calls_go_on";
    let Some(stage) = Stage::set(name, &["tshark"], "") else { return };
    write_pcap(&stage.path().join("stream.pcap"), STREAM).unwrap();
    stage.register_bob(&[]);
    let bob = stage.bob("uas_answer", &[]);
    std::thread::sleep(Duration::from_millis(300));
    let alice = stage.alice("uac_play", &[]);
    std::thread::sleep(Duration::from_secs(4));
    let before = engine_pid(&stage).expect("an engine");
    tandem_tests::process::signal(u32::try_from(before).unwrap(), "KILL");
    let changed = || engine_pid(&stage).filter(|pid| *pid != before);
    wait_for(Duration::from_secs(3), changed).expect("a new engine");
    alice.finish().unwrap();
    bob.finish().unwrap();
    let record = stage.record();
    let legs = record["legs"].as_array().unwrap();
    let leg = legs.iter().find(|leg| leg["leg"] == "caller").expect("the caller's leg");
    // At most one second of the stream is not relayed, and what the old engine counted stays.
    let packets = leg["rx_packets"].as_u64().unwrap();
    assert!((430..=500).contains(&packets), "{record}");
    // What passed between the two engines is a restart, not an invented loss.
    assert_eq!(leg["lost"], 0, "{record}");
    assert_eq!(leg["restarts"], 1, "{record}");
    assert_eq!(record["cause"]["sip_status"], 200);
}
