//! Two baresips on two hosts talk through Tandem: each hears the other's tone, and the record
//! agrees with what the phones say.

use std::time::Duration;
use tandem_tests::baresip::Baresip;
use tandem_tests::stage::Stage;
use tandem_tests::wav;

const ALICE_HZ: u32 = 440;
const BOB_HZ: u32 = 1_000;

#[test]
fn two_baresips_hear_each_other_and_the_record_agrees() {
    let name = "two_baresips_hear_each_other_and_the_record_agrees";
    let Some(stage) = Stage::set(name, &["baresip"], "") else { return };
    let mut bob = Baresip::start(&stage.net, 2, ("bob", BOB_HZ), None, 20, stage.path()).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(stage.registrations().len(), 1, "{}\n{}", bob.log(), stage.appliance.log());
    let mut alice =
        Baresip::start(&stage.net, 1, ("alice", ALICE_HZ), Some("bob"), 9, stage.path()).unwrap();
    alice.process().wait(Duration::from_secs(20)).unwrap();
    let record = stage.record();
    bob.process().signal("TERM");
    bob.process().wait(Duration::from_secs(20)).unwrap();
    println!("{record}\n--- alice\n{}\n--- bob\n{}", alice.log(), bob.log());

    assert_eq!(record["cause"]["sip_status"], 200);
    assert_eq!(record["cause"]["by"], "caller");
    let seconds = record["duration_ms"].as_f64().unwrap() / 1000.0;
    for phone in [&alice, &bob] {
        let said = phone.call_seconds().expect("a duration") as f64;
        assert!((seconds - said).abs() <= 1.1, "{said} s, record {seconds} s");
    }
    for (phone, other_hz) in [(&alice, BOB_HZ), (&bob, ALICE_HZ)] {
        let tone = wav::measure(&phone.heard().expect("a recording"), f64::from(other_hz)).unwrap();
        println!("{tone:?}");
        assert!(tone.share > 0.8 && tone.seconds > 5.0, "{tone:?}");
    }
    for leg in record["legs"].as_array().unwrap() {
        assert_eq!(leg["lost"], 0, "{leg}");
        assert_eq!(leg["codec"], "PCMA/8000");
        assert!(leg["mos"].as_f64().is_some_and(|mos| mos > 4.0), "{leg}");
    }
}
