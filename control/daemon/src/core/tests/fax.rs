//! A call that becomes a fax (T.38 over UDPTL, ITU-T T.38 annex D) and a call again.

use super::*;
use tandem_contract::command::FLAG_OPAQUE;

const BODY: &str = "application/sdp";

/// The offer of a gateway that heard the tone of a fax machine.
fn t38(port: u16) -> Vec<u8> {
    format!(
        "v=0\r\no=- 1 2 IN IP4 192.0.2.50\r\ns=-\r\nc=IN IP4 192.0.2.50\r\nt=0 0\r\n\
         m=image {port} udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n\
         a=T38FaxFillBitRemoval:0\r\na=T38FaxTranscodingMMR:0\r\na=T38FaxTranscodingJBIG:0\r\n\
         a=T38FaxRateManagement:transferredTCF\r\na=T38FaxMaxBuffer:260\r\n\
         a=T38FaxMaxDatagram:316\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"
    )
    .into_bytes()
}

fn offer(bench: &mut Bench, who: usize, dialog: DialogId, body: Vec<u8>) -> (ServerTx, String) {
    bench.in_dialog(who, dialog, Method::Invite, Fields::new().body(BODY, body));
    let (tx, _, request) = bench.phones[ALICE].request(Method::Invite);
    (tx, String::from_utf8_lossy(request.body()).into_owned())
}

/// Ports of the parties, and how many terminations are opaque.
fn installed(bench: &Bench) -> (Vec<u16>, usize) {
    let state = bench.link.state();
    let mut ports: Vec<_> = state.put.values().map(|it| it.remote_rtp.port()).collect();
    ports.sort_unstable();
    (ports, state.put.values().filter(|it| it.flags & FLAG_OPAQUE != 0).count())
}

#[test]
fn audio_becomes_a_fax_and_audio_again() {
    let mut bench = Bench::new();
    let (_, bob) = bench.established();
    for (body, answer, expected) in [
        (t38(5010), t38(4010), (vec![4010, 5010], 2)),
        (sdp(5000), sdp(4000), (vec![4000, 5000], 0)),
    ] {
        let is_fax = expected.1 > 0;
        let (tx, passed) = offer(&mut bench, BOB, bob, body);
        if is_fax {
            assert!(passed.contains("udptl t38") && !passed.contains("image 5010"), "{passed}");
            assert!(passed.contains("a=T38FaxUdpEC:t38UDPRedundancy") && !passed.contains("rtcp"));
        }
        bench.respond(ALICE, tx, Reply::new(200).body(BODY, answer));
        let (_, _, ok) = bench.phones[BOB].response(200);
        assert_eq!(String::from_utf8_lossy(ok.body()).contains("m=image"), is_fax);
        bench.ack(BOB, bob, Fields::new());
        bench.phones[ALICE].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
        assert_eq!(installed(&bench), expected);
    }
}

#[test]
fn a_fax_that_is_refused_leaves_the_audio() {
    let mut bench = Bench::new();
    let (_, bob) = bench.established();
    let before = bench.link.state().put.clone();
    let (tx, _) = offer(&mut bench, BOB, bob, t38(5010));
    bench.respond(ALICE, tx, Reply::new(488));
    bench.phones[BOB].response(488);
    assert_eq!(bench.link.state().put, before);
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
}
