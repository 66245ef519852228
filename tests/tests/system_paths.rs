//! Ways of media and signalling beyond two phones in one IPv4 network: IPv6, SRTP, NAT.

use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tandem_tests::appliance::{Appliance, Script};
use tandem_tests::netns::Net;
use tandem_tests::rtp_stream::{Impairment, write_pcap};
use tandem_tests::stage::Stage;
use tandem_tests::tshark::{Capture, rtp_packets};

/// Three seconds of packets, so a call of five is long enough.
const STREAM: Impairment =
    Impairment { seed: 5, packets: 150, loss_permille: 0, reorder_permille: 0, jitter_us: 0 };
const SHORTER: (&str, &str) = ("<pause milliseconds=\"14000\"/>", "<pause milliseconds=\"5000\"/>");

const ALICE: Script<'static> = Script {
    client: 1,
    scenario: "uac_play",
    me: "alice",
    to: "bob",
    server: None,
    ipv6: false,
    edits: &[SHORTER],
    options: &[],
};
const BOB: Script<'static> = Script {
    client: 2,
    scenario: "uas_answer",
    me: "bob",
    to: "bob",
    server: None,
    ipv6: false,
    edits: &[],
    options: &[],
};

fn call(stage: &Stage, caller: Script<'_>, callee: Script<'_>) -> Value {
    let bob = stage.run(callee);
    std::thread::sleep(Duration::from_millis(300));
    let alice = stage.run(caller);
    stage.finish(bob, alice)
}

fn leg<'a>(record: &'a Value, name: &str) -> &'a Value {
    let legs = record["legs"].as_array().expect("legs");
    legs.iter().find(|leg| leg["leg"] == name).expect("the leg")
}

fn play(folder: &Path) -> u64 {
    write_pcap(&folder.join("stream.pcap"), STREAM).unwrap().sent
}

#[test]
fn ipv4_calls_ipv6_and_packets_leave_with_expedited_forwarding() {
    let name = "ipv4_calls_ipv6_and_packets_leave_with_expedited_forwarding";
    let listen = [format!("{}:5060", Net::server_ip(1)), format!("[{}]:5060", Net::server_ip6(2))];
    let config = Appliance::config_on(&[&listen[0], &listen[1]], "");
    let Some(stage) = Stage::set_config(name, &["tshark"], &config) else { return };
    let sent = play(stage.path());
    stage.run(Script { scenario: "register", ipv6: true, ..BOB }).finish().unwrap();
    let near = Capture::start(&stage.net.server(), &Net::server_interface(1), stage.path());
    let far = Capture::start(&stage.net.server(), &Net::server_interface(2), stage.path());
    let answered = ("<recv request=\"ACK\"/>", PLAYING);
    let record = call(&stage, ALICE, Script { ipv6: true, edits: &[answered], ..BOB });
    assert_eq!(record["cause"]["sip_status"], 200, "{record}");

    let far = far.unwrap().stop().unwrap();
    let to_bob = rtp_packets(&far, &Net::server_ip6(2), &Net::client_ip6(2)).unwrap();
    assert_eq!(to_bob.len() as u64, sent, "every packet of alice is relayed");
    let near = near.unwrap().stop().unwrap();
    let to_alice = rtp_packets(&near, &Net::server_ip(1), &Net::client_ip(1)).unwrap();
    // Bob plays as soon as he has his ACK, a little before the path to alice is whole.
    assert_eq!(leg(&record, "caller")["tx_packets"], to_alice.len(), "{record}");
    assert!(to_alice.len() as u64 * 10 >= sent * 9, "{} of {sent}", to_alice.len());
    assert!(to_bob.iter().chain(&to_alice).all(|packet| packet.dscp == 46), "{to_bob:?}");

    assert_eq!(leg(&record, "caller")["rx_packets"], sent);
    let bob = leg(&record, "callee")["remote"].as_str().unwrap();
    assert!(bob.starts_with(&format!("[{}]:", Net::client_ip6(2))), "{bob}");
}

/// A called party that plays the stream too.
const PLAYING: &str = "<recv request=\"ACK\"/>\n\
    <nop><action><exec play_pcap_audio=\"stream.pcap\"/></action></nop>";

const CLEAR: &str = "RTP/AVP 8 101";
/// Keys with a lifetime and an identifier, as RFC 4568 §6.1 has them.
const ALICE_KEYS: &str = "RTP/SAVP 8 101\na=crypto:1 AES_CM_128_HMAC_SHA1_80 \
    inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:4";
const BOB_KEYS: &str = "RTP/SAVP 8 101\na=crypto:1 AES_CM_128_HMAC_SHA1_80 \
    inline:NzB4d1BINUAvLEw6UzF3WSJwPSdFcGdUJShpX1Zj|2^20|1:4";

#[test]
fn srtp_with_keys_in_the_sdp_passes_untouched_and_is_measured() {
    let name = "srtp_with_keys_in_the_sdp_passes_untouched_and_is_measured";
    let Some(stage) = Stage::set(name, &[], "") else { return };
    let sent = play(stage.path());
    stage.register_bob(&[]);
    let offered = (
        "<recv request=\"INVITE\" crlf=\"true\"/>",
        "<recv request=\"INVITE\" crlf=\"true\"><action><ereg search_in=\"body\" \
         regexp=\"RTP/SAVP 8 101.*a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
         inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\\|2\\^20\\|1:4\" \
         check_it=\"true\" assign_to=\"1\"/></action></recv>",
    );
    let answered = (
        "<recv response=\"200\" rrs=\"true\"/>",
        "<recv response=\"200\" rrs=\"true\"><action><ereg search_in=\"body\" \
         regexp=\"RTP/SAVP 8 101.*a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
         inline:NzB4d1BINUAvLEw6UzF3WSJwPSdFcGdUJShpX1Zj\\|2\\^20\\|1:4\" \
         check_it=\"true\" assign_to=\"1\"/></action></recv>",
    );
    let alice = [SHORTER, (CLEAR, ALICE_KEYS), answered, USED];
    let bob = [(CLEAR, BOB_KEYS), offered, USED];
    let record = call(&stage, Script { edits: &alice, ..ALICE }, Script { edits: &bob, ..BOB });
    assert_eq!(leg(&record, "caller")["rx_packets"], sent, "{record}");
    assert_eq!(leg(&record, "callee")["tx_packets"], sent, "{record}");
    assert_eq!(leg(&record, "caller")["lost"], 0, "{record}");
}

/// sipp wants every variable to be used.
const USED: (&str, &str) = ("</scenario>", "<Reference variables=\"1\"/>\n</scenario>");
/// Expects 488 with a Warning header: 302, the transport does not fit (RFC 3261 §20.43).
const REFUSED: (&str, &str) = (
    "<recv response=\"480\"/>",
    "<recv response=\"488\"><action><ereg search_in=\"hdr\" header=\"Warning:\" \
     regexp=\"302 [^ ]+ .*SAVP|302 [^ ]+ .*DTLS\" check_it=\"true\" assign_to=\"1\"/></action></recv>",
);

#[test]
fn srtp_keyed_by_dtls_is_refused_with_a_warning() {
    let name = "srtp_keyed_by_dtls_is_refused_with_a_warning";
    let Some(stage) = Stage::set(name, &[], "") else { return };
    stage.register_bob(&[]);
    let dtls = "UDP/TLS/RTP/SAVPF 8 101\na=setup:actpass\na=fingerprint:sha-256 \
        D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F";
    let edits = [(CLEAR, dtls), REFUSED, USED];
    let alice = stage.run(Script { scenario: "uac_unavailable", edits: &edits, ..ALICE }).finish();
    assert!(alice.is_ok(), "{alice:?}\n{}", stage.appliance.log());
    assert_eq!(stage.record()["cause"]["sip_status"], 488);
    stage.no_call_is_left();
}

#[test]
fn an_answer_in_the_clear_to_an_offer_of_srtp_is_refused_with_a_warning() {
    let name = "an_answer_in_the_clear_to_an_offer_of_srtp_is_refused_with_a_warning";
    let Some(stage) = Stage::set(name, &[], "") else { return };
    stage.register_bob(&[]);
    let edits = [(CLEAR, ALICE_KEYS), REFUSED, USED];
    let alice = Script { scenario: "uac_unavailable", edits: &edits, ..ALICE };
    // Bob, who answered, is hung up on.
    let record = call(&stage, alice, BOB);
    assert_eq!(record["cause"]["sip_status"], 488, "{record}");
    stage.no_call_is_left();
}

/// An address that nobody can reach, as phones behind a NAT name it.
const HIDDEN: &str = "192.168.99.9:5099";
const HIDDEN_VIA: (&str, &str) =
    ("[local_ip]:[local_port];branch=[branch]", "192.168.99.9:5099;branch=[branch];rport");
const HIDDEN_USER: (&str, &str) =
    ("<sip:[me]@[local_ip]:[local_port];", "<sip:[me]@192.168.99.9:5099;");
const HIDDEN_HOST: (&str, &str) = ("<sip:[local_ip]:[local_port];", "<sip:192.168.99.9:5099;");
const HIDDEN_MEDIA: (&str, &str) = ("c=IN IP[media_ip_type] [media_ip]", "c=IN IP4 192.168.99.9");

/// Alice and bob, who say private addresses and come from others.
fn behind_a_nat(test: &str) -> Option<Stage> {
    let stage = Stage::set(test, &["tshark"], "")?;
    let edits = [HIDDEN_VIA, HIDDEN_USER];
    for script in [Script { me: "alice", ..ALICE }, BOB] {
        let done = stage.run(Script { scenario: "register", edits: &edits, ..script }).finish();
        assert!(done.is_ok(), "{done:?}\n{}", stage.appliance.log());
    }
    let contacts = stage.registrations();
    assert_eq!(contacts.len(), 2, "{contacts:?}");
    assert!(contacts.iter().all(|it| it.to_string().contains(HIDDEN)), "{contacts:?}");
    Some(stage)
}

#[test]
fn phones_behind_a_nat_hear_each_other() {
    let Some(stage) = behind_a_nat("phones_behind_a_nat_hear_each_other") else { return };
    let sent = play(stage.path());
    let near = Capture::start(&stage.net.server(), &Net::server_interface(1), stage.path());
    let far = Capture::start(&stage.net.server(), &Net::server_interface(2), stage.path());
    let alice = [SHORTER, HIDDEN_VIA, HIDDEN_USER, HIDDEN_MEDIA];
    let bob = [HIDDEN_HOST, HIDDEN_MEDIA, ("<recv request=\"ACK\"/>", PLAYING)];
    // ACK and BYE of alice reach bob, or his scenario would not pass.
    let record = call(&stage, Script { edits: &alice, ..ALICE }, Script { edits: &bob, ..BOB });
    assert_eq!(record["cause"]["sip_status"], 200, "{record}");
    for (name, capture, client) in [("caller", near, 1), ("callee", far, 2)] {
        let leg = leg(&record, name);
        // Another source than the SDP names is believed at its fourth packet.
        let figure = |name: &str| leg[name].as_u64().unwrap();
        assert_eq!(figure("rx_packets") + figure("dropped"), sent, "{record}");
        assert!(figure("dropped") <= 3, "{record}");
        let remote = leg["remote"].as_str().unwrap();
        assert!(remote.starts_with(&format!("{}:", Net::client_ip(client))), "{name}: {remote}");
        let file = capture.unwrap().stop().unwrap();
        let heard = rtp_packets(&file, &Net::server_ip(1), &Net::client_ip(client)).unwrap();
        // What came before the other's first packet had nowhere to go.
        assert!(heard.len() as u64 * 10 >= sent * 9, "{name} heard {} of {sent}", heard.len());
        assert!(heard.len() as u64 <= sent);
    }
}

#[test]
fn a_phone_behind_a_nat_is_hung_up_on() {
    let Some(stage) = behind_a_nat("a_phone_behind_a_nat_is_hung_up_on") else { return };
    let alice = [HIDDEN_VIA, HIDDEN_USER, HIDDEN_MEDIA];
    let bob = [HIDDEN_VIA, HIDDEN_HOST, HIDDEN_MEDIA];
    let record = call(
        &stage,
        Script { scenario: "uac_long", edits: &alice, ..ALICE },
        Script { scenario: "uas_hangup", edits: &bob, ..BOB },
    );
    assert_eq!(record["cause"]["by"], "callee", "{record}");
    stage.no_call_is_left();
}
