//! What happened in a call, told after it: the ladder, the capture file, and the copies that a
//! capture server gets, read by tshark.

use std::path::Path;
use std::process::Command;
use tandem_tests::netns::Net;
use tandem_tests::stage::Stage;
use tandem_tests::tshark::Capture;

/// Runs tshark over a capture; its lines.
fn tshark(file: &Path, arguments: &[&str]) -> Vec<String> {
    let output = Command::new("tshark").arg("-r").arg(file).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Method or status, and Call-ID, of each SIP message of a capture.
fn sip_of(file: &Path) -> Vec<String> {
    let fields = ["-e", "sip.Method", "-e", "sip.Status-Code", "-e", "sip.Call-ID"];
    tshark(file, &[&["-Y", "sip", "-T", "fields"], &fields[..]].concat())
}

/// The messages in the HEP packets of a capture: chunk 15 of each (HEPv3 §3), when chunk 11 says
/// that it is SIP.
fn copies_of(file: &Path) -> Vec<String> {
    let filter = ["-Y", "udp.dstport == 9060", "-T", "fields", "-e", "udp.payload"];
    tshark(file, &filter).iter().filter_map(|line| copy_of(&octets(line))).collect()
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn copy_of(packet: &[u8]) -> Option<String> {
    let number =
        |at: usize| Some(usize::from(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?)));
    assert!(packet.starts_with(b"HEP3"));
    assert_eq!(number(4), Some(packet.len()));
    let (mut at, mut is_sip, mut payload) = (6, false, None);
    while let (Some(kind), Some(len)) = (number(at + 2), number(at + 4)) {
        let value = packet.get(at + 6..at + len)?;
        match kind {
            11 => is_sip = value == [1],
            15 => payload = Some(String::from_utf8_lossy(value).into_owned()),
            _ => {}
        }
        at += len;
    }
    payload.filter(|_| is_sip)
}

#[test]
fn an_ended_call_is_told_as_ladder_capture_and_copies() {
    let collector = format!("{}:9060", Net::client_ip(1));
    let config = format!("[trace]\nhep_server = \"{collector}\"\n");
    let test = "an_ended_call_is_told_as_ladder_capture_and_copies";
    let Some(stage) = Stage::set(test, &["tshark"], &config) else { return };
    let interface = Net::server_interface(1);
    let copies = Capture::start(&stage.net.server(), &interface, stage.path()).unwrap();
    stage.register_bob(&[]);
    let record = stage.call("uac_call", "uas_answer", &[]);
    let id = record["id"].as_str().unwrap();
    let copies = copies.stop().unwrap();

    let traced = stage.appliance.json(&["trace", id]).unwrap();
    let messages = traced["messages"].as_array().unwrap();
    let told = |direction: &str, summary: &str| {
        let of = |it: &&serde_json::Value| {
            it["direction"] == direction && it["summary"].as_str().unwrap().starts_with(summary)
        };
        messages.iter().filter(of).count()
    };
    // The caller is challenged once: INVITE, 407, ACK, and the INVITE again.
    assert_eq!((told("in", "INVITE"), told("out", "INVITE"), told("out", "407")), (2, 1, 1));
    assert_eq!((told("in", "200"), told("out", "200")), (2, 2), "{messages:#?}");
    assert_eq!((told("in", "BYE"), told("out", "BYE")), (1, 1));
    assert_eq!(traced["call_ids"].as_array().unwrap().len(), 2);
    let text = traced.to_string();
    assert!(text.contains("response=(hidden)"), "credentials are hidden");

    let ladder = stage.appliance.tandem(&["trace", id]).unwrap();
    assert!(ladder.contains("tandem") && ladder.contains("▶") && ladder.contains("◀"), "{ladder}");
    assert!(ladder.contains("audio"), "{ladder}");

    let file = stage.path().join("call.pcap");
    stage.appliance.tandem(&["trace", id, "--pcap", file.to_str().unwrap()]).unwrap();
    let captured = sip_of(&file);
    assert_eq!(captured.len(), messages.len(), "{captured:#?}");

    // The capture server gets each of them, and the registration.
    let copied = copies_of(&copies);
    for message in messages {
        let (summary, call_id) = (message["summary"].as_str().unwrap(), &message["call_id"]);
        let is_copy = |it: &&String| it.contains(summary) && it.contains(call_id.as_str().unwrap());
        assert!(copied.iter().any(|it| is_copy(&it)), "{summary} is missing in {copied:#?}");
    }
    assert!(copied.iter().any(|message| message.starts_with("REGISTER")));
    let unknown = stage.appliance.tandem(&["trace", "0000000000000000"]).unwrap_err();
    assert!(unknown.contains("trace.memory_mib"), "{unknown}");
}
