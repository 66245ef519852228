//! What Tandem measures against what tshark finds in a capture of the same call, with seeded
//! loss, reordering and jitter.

use serde_json::Value;
use std::time::Duration;
use tandem_tests::netns::Net;
use tandem_tests::rtp_stream::{Impairment, write_pcap};
use tandem_tests::stage::Stage;
use tandem_tests::tshark::{Capture, jitter_ms, rtp_packets, rtp_streams};

fn measure(test: &str, how: Impairment) {
    let Some(stage) = Stage::set(test, &["tshark"], "") else { return };
    let injected = write_pcap(&stage.path().join("stream.pcap"), how).unwrap();
    stage.register_bob(&[]);
    let capture = |client| {
        let interface = Net::server_interface(client);
        Capture::start(&stage.net.server(), &interface, stage.path()).unwrap()
    };
    let (near, far) = (capture(1), capture(2));
    let record = stage.call("uac_play", "uas_answer", &[]);
    std::thread::sleep(Duration::from_millis(200));
    let (near, far) = (near.stop().unwrap(), far.stop().unwrap());
    let streams = rtp_streams(&near).unwrap();
    let seen = streams.iter().find(|stream| stream.source == Net::client_ip(1)).expect("a stream");
    let legs = record["legs"].as_array().unwrap();
    let leg = legs.iter().find(|leg| leg["leg"] == "caller").expect("the caller's leg");
    println!("injected {injected:?}\ntshark {seen:?}\ntandem {leg}");

    assert_eq!(seen.packets, injected.sent, "the capture is not whole");
    assert_eq!(leg["rx_packets"], injected.sent);
    assert_eq!(leg["lost"].as_i64(), Some(seen.lost));
    assert_eq!(leg["lost"], injected.lost);
    assert_eq!(leg["reordered"], injected.reordered);
    assert_eq!(leg["duplicated"], 0);
    let close = |what: &str, ours: &Value, theirs: f64| {
        let ours = ours.as_f64().unwrap();
        let allowed = (theirs * 0.1).max(1.0);
        assert!((ours - theirs).abs() <= allowed, "{what} jitter {ours} ms, tshark {theirs} ms");
    };
    close("highest", &leg["jitter_max_ms"], seen.max_jitter_ms);
    let from_alice = rtp_packets(&near, &Net::client_ip(1), &Net::server_ip(1)).unwrap();
    assert_eq!(from_alice.len() as u64, injected.sent);
    close("last", &leg["jitter_ms"], jitter_ms(&from_alice, 8_000.0));

    let callee = legs.iter().find(|leg| leg["leg"] == "callee").expect("the callee's leg");
    assert_eq!(callee["tx_packets"], injected.sent, "every packet was relayed");
    let to_bob = rtp_packets(&far, &Net::server_ip(1), &Net::client_ip(2)).unwrap();
    assert_eq!(callee["tx_packets"], to_bob.len(), "what is counted is on the wire");
    assert!(leg["mos"].as_f64().is_some_and(|mos| (1.0..=4.5).contains(&mos)));
}

#[test]
fn a_clean_stream_is_measured_as_tshark_does() {
    let how =
        Impairment { seed: 1, packets: 500, loss_permille: 0, reorder_permille: 0, jitter_us: 0 };
    measure("a_clean_stream_is_measured_as_tshark_does", how);
}

#[test]
fn loss_reordering_and_jitter_are_measured_as_tshark_does() {
    let how = Impairment {
        seed: 7,
        packets: 600,
        loss_permille: 40,
        reorder_permille: 20,
        jitter_us: 12_000,
    };
    measure("loss_reordering_and_jitter_are_measured_as_tshark_does", how);
}
