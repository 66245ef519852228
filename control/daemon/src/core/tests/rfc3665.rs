//! The call flows of RFC 3665, by section, with Tandem as registrar (§2) and in the place of the
//! proxies (§3). §3.5 has no counterpart here: an ALG is what Tandem always is.

use super::*;
use crate::record::ReleasedBy;

const BODY: &str = "application/sdp";

fn acknowledged(bench: &mut Bench, who: usize) {
    bench.phones[who].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
}

fn contacts(response: &Message) -> Vec<String> {
    response
        .contacts()
        .flatten()
        .filter_map(|it| Some(it.address()?.uri().as_str().to_owned()))
        .collect()
}

#[test]
fn s2_1_to_2_4_registrations() {
    let mut bench = Bench::new();
    // 2.1: F1 REGISTER, F2 401, F3 REGISTER with credentials, F4 200.
    let ok = bench.register(BOB);
    assert_eq!(contacts(&ok), ["sip:bob@192.0.2.52:5060"]);
    // 2.2: another contact joins it.
    let ok = bench.register_with(BOB, &[("Contact", "<sip:bob@192.0.2.53:5060>")], 200);
    assert_eq!(contacts(&ok).len(), 2);
    // 2.3: the list without a change.
    let ok = bench.register_with(BOB, &[], 200);
    assert_eq!(contacts(&ok).len(), 2);
    // 2.4: all of them end.
    let ok = bench.register_with(BOB, &[("Contact", "*"), ("Expires", "0")], 200);
    assert!(contacts(&ok).is_empty());
}

#[test]
fn s2_5_an_unsuccessful_registration() {
    let mut bench = Bench::new();
    let request = bench.register_request(BOB, "r", 1).header("Contact", "<sip:bob@192.0.2.52>");
    bench.send(BOB, request);
    let (_, _, challenge) = bench.phones[BOB].response(401);
    bench.phones[BOB].user = "alice";
    let (name, value) = bench.credentials(BOB, &challenge, "REGISTER", "sip:tandem");
    bench.phones[BOB].user = "bob";
    let request = bench.register_request(BOB, "r", 2).header(name, value);
    bench.send(BOB, request);
    let refused = bench.phones[BOB].take(|event| match event {
        Event::Response { response, .. } => response.status(),
        _ => None,
    });
    assert!(matches!(refused, 401 | 403), "{refused}");
}

#[test]
fn s3_1_to_3_3_a_session_with_authentication_and_the_hang_up_of_either() {
    for who in [ALICE, BOB] {
        let mut bench = Bench::new();
        // INVITE, 407, ACK, INVITE, 100, 180, 200, ACK: both challenges of §3.3 are one here.
        let (alice, bob) = bench.established();
        bench.advance(Duration::from_secs(5));
        let (dialog, other) = if who == ALICE { (alice, BOB) } else { (bob, ALICE) };
        bench.in_dialog(who, dialog, Method::Bye, Fields::new());
        bench.phones[who].response(200);
        let (tx, _, _) = bench.phones[other].request(Method::Bye);
        bench.respond(other, tx, Reply::new(200));
        assert!(bench.switch.calls.is_clean());
        let by = if who == ALICE { ReleasedBy::Caller } else { ReleasedBy::Callee };
        let record = bench.only_record();
        assert_eq!((record.cause.by, record.duration_ms), (by, Some(5_000)));
    }
}

#[test]
fn s3_4_a_place_that_fails_is_left_for_the_next() {
    let mut bench = Bench::with("[call]\nring = \"by_priority\"\n");
    let low = format!("{};q=0.1", bench.phones[BOB2].contact());
    bench.register(BOB);
    bench.register_with(BOB2, &[("Contact", &low)], 200);
    bench.phones[BOB].dark = true;
    bench.invite(ALICE, "bob");
    bench.advance(Duration::from_secs(33));
    let (tx, _, _) = bench.phones[BOB2].request(Method::Invite);
    bench.respond(BOB2, tx, Reply::new(200).body(BODY, sdp(5000)));
    let (_, alice, _) = bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    acknowledged(&mut bench, BOB2);
}

#[test]
fn s3_6_a_redirection_with_the_description_in_the_ack() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.register_carol();
    bench.invite_with(ALICE, "bob", |request| request);
    let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
    assert!(invite.body().is_empty());
    bench.respond(BOB, tx, Reply::new(302).header("Contact", "<sip:carol@tandem>"));
    let (tx, _, invite) = bench.phones[BOB2].request(Method::Invite);
    assert!(invite.body().is_empty());
    bench.respond(BOB2, tx, Reply::new(200).body(BODY, sdp(5000)));
    let (_, alice, ok) = bench.phones[ALICE].response(200);
    assert!(!ok.body().is_empty());
    bench.ack(ALICE, alice.unwrap(), Fields::new().body(BODY, sdp(4000)));
    let answer = bench.phones[BOB2].take(|event| match event {
        Event::Ack { request, .. } => Some(request.clone()),
        _ => None,
    });
    assert_ne!(media_port(&answer), 4000);
    assert_eq!(bench.link.state().put.len(), 2);
}

impl Bench {
    /// Bob's second phone becomes Carol's.
    fn register_carol(&mut self) {
        self.phones[BOB2].user = "carol";
        self.register(BOB2);
    }
}

#[test]
fn s3_7_a_re_invite_with_another_address() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    let moved = String::from_utf8(sdp(5555)).unwrap().replace("192.0.2.50", "192.0.2.77");
    bench.in_dialog(BOB, bob, Method::Invite, Fields::new().body(BODY, moved.into_bytes()));
    let (tx, _, offer) = bench.phones[ALICE].request(Method::Invite);
    assert!(
        !String::from_utf8_lossy(offer.body()).contains("192.0.2.77"),
        "Alice hears no address"
    );
    bench.respond(ALICE, tx, Reply::new(200).body(BODY, sdp(4000)));
    bench.phones[BOB].response(200);
    bench.ack(BOB, bob, Fields::new());
    acknowledged(&mut bench, ALICE);
    let remotes: Vec<_> =
        bench.link.state().put.values().filter_map(|it| it.remote_rtp.to_std()).collect();
    assert!(remotes.contains(&"192.0.2.77:5555".parse().unwrap()), "{remotes:?}");
    bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
    bench.phones[BOB].request(Method::Bye);
}

#[test]
fn s3_8_nobody_answers_and_the_caller_gives_up() {
    let mut bench = Bench::new();
    bench.register(BOB);
    let invite = bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(180));
    bench.phones[ALICE].response(180);
    bench.advance(Duration::from_secs(9));
    bench.phones[ALICE].stack.cancel(bench.now, invite, Fields::new()).unwrap();
    bench.pump();
    bench.phones[BOB].take(|event| matches!(event, Event::Cancelled { .. }).then_some(()));
    bench.respond(BOB, tx, Reply::new(487));
    bench.phones[ALICE].response(487);
    assert_eq!(bench.only_record().cause.sip_status, 487);
}

#[test]
fn s3_9_and_3_11_the_callee_refuses() {
    for status in [486, 480] {
        let mut bench = Bench::new();
        bench.register(BOB);
        bench.invite(ALICE, "bob");
        let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
        if status == 480 {
            bench.respond(BOB, tx, Reply::new(180));
            bench.phones[ALICE].response(180);
        }
        bench.respond(BOB, tx, Reply::new(status));
        bench.phones[ALICE].response(status);
        assert_eq!(bench.only_record().cause.by, ReleasedBy::Callee);
    }
}

#[test]
fn s3_10_the_callee_gives_no_sign() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.phones[BOB].dark = true;
    bench.invite(ALICE, "bob");
    bench.advance(Duration::from_secs(33));
    bench.phones[ALICE].response(408);
    assert!(bench.switch.calls.is_clean());
}
