//! What Tandem measures against what tshark finds in a capture of the same call, with seeded
//! loss, reordering and jitter.

use std::time::Duration;
use tandem_tests::netns::Net;
use tandem_tests::rtp_stream::{Impairment, write_pcap};
use tandem_tests::stage::Stage;
use tandem_tests::tshark::{Capture, rtp_streams};

fn measure(test: &str, how: Impairment) {
    let Some(stage) = Stage::set(test, &["tshark"], "") else { return };
    let injected = write_pcap(&stage.path().join("stream.pcap"), how).unwrap();
    stage.register_bob(&[]);
    let interface = Net::server_interface(1);
    let capture = Capture::start(&stage.net.server(), &interface, stage.path()).unwrap();
    let record = stage.call("uac_play", "uas_answer", &[]);
    std::thread::sleep(Duration::from_millis(200));
    let streams = rtp_streams(&capture.stop().unwrap()).unwrap();
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
    let jitter = leg["jitter_max_ms"].as_f64().unwrap();
    assert!(
        (jitter - seen.max_jitter_ms).abs() <= (seen.max_jitter_ms * 0.1).max(1.0),
        "highest jitter {jitter} ms, tshark {} ms",
        seen.max_jitter_ms
    );
    let callee = legs.iter().find(|leg| leg["leg"] == "callee").expect("the callee's leg");
    assert_eq!(callee["tx_packets"], injected.sent, "every packet was relayed");
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
