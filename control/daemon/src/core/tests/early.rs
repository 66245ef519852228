//! Before the answer: reliable provisional responses, and offers in early dialogs.

use super::*;

const BODY: &str = "application/sdp";

/// Alice, who supports 100rel or not, calls Bob; gives Bob's transaction and the INVITE he got.
fn call(bench: &mut Bench, rows: &[(&str, &str)], offer: bool) -> (ServerTx, Message) {
    bench.register(BOB);
    bench.invite_with(ALICE, "bob", |mut request| {
        for (name, value) in rows {
            request = request.header(name, value);
        }
        if offer { request.body(BODY, sdp(4000)) } else { request }
    });
    let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
    (tx, invite)
}

const RELIABLE: &[(&str, &str)] = &[("Supported", "100rel")];

fn session(status: u16, port: u16) -> Reply {
    Reply::new(status).body(BODY, sdp(port))
}

fn sdp_fields(port: u16) -> Fields {
    Fields::new().body(BODY, sdp(port))
}

/// Alice and Bob have agreed on early media, and both have acknowledged it.
fn settled(bench: &mut Bench) -> (ServerTx, DialogId, DialogId) {
    let (tx, _) = call(bench, RELIABLE, true);
    let bob = bench.respond(BOB, tx, session(183, 5000).reliable(true)).unwrap();
    let (_, alice, response) = bench.phones[ALICE].response(183);
    assert!(response.lists(Header::Require, "100rel") && !response.body().is_empty());
    assert!(bench.phones[BOB].has_nothing(), "Alice has not acknowledged yet");
    bench.in_dialog(ALICE, alice.unwrap(), Method::Prack, Fields::new());
    let (prack, _, request) = bench.phones[BOB].request(Method::Prack);
    assert!(request.body().is_empty());
    bench.respond(BOB, prack, Reply::new(200));
    bench.phones[ALICE].response(200);
    (tx, alice.unwrap(), bob)
}

#[test]
fn the_prack_of_the_caller_acknowledges_the_callee() {
    let mut bench = Bench::new();
    let (tx, alice, _) = settled(&mut bench);
    bench.respond(BOB, tx, Reply::new(200));
    let (_, _, ok) = bench.phones[ALICE].response(200);
    assert!(ok.body().is_empty(), "offer and answer were complete");
    bench.ack(ALICE, alice, Fields::new());
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
    let remotes: Vec<_> = bench.link.state().put.values().map(|it| it.remote_rtp.port()).collect();
    assert_eq!(remotes.len(), 2);
    assert!(remotes.contains(&4000) && remotes.contains(&5000));
    bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
    bench.phones[BOB].request(Method::Bye);
    assert_eq!(bench.only_record().cause.sip_status, 200);
}

#[test]
fn a_2xx_waits_for_the_prack_of_early_media() {
    let mut bench = Bench::new();
    let (tx, _) = call(&mut bench, RELIABLE, true);
    // Bob sends early media unreliably; towards Alice it is reliable.
    bench.respond(BOB, tx, session(183, 5000));
    let (_, alice, _) = bench.phones[ALICE].response(183);
    bench.respond(BOB, tx, session(200, 5000));
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    assert!(bench.phones[ALICE].has_nothing());
    bench.in_dialog(ALICE, alice.unwrap(), Method::Prack, Fields::new());
    for method in [Method::Prack, Method::Invite] {
        let (_, _, response) = bench.phones[ALICE].response(200);
        assert_eq!(response.method(), method);
    }
}

#[test]
fn a_caller_that_speaks_it_alone_is_acknowledged_here() {
    let mut bench = Bench::new();
    let (tx, _) = call(&mut bench, &[("Require", "100rel")], true);
    bench.respond(BOB, tx, Reply::new(180));
    let (_, alice, ringing) = bench.phones[ALICE].response(180);
    assert!(ringing.has(Header::RSeq));
    bench.in_dialog(ALICE, alice.unwrap(), Method::Prack, Fields::new());
    bench.phones[ALICE].response(200);
    assert!(bench.phones[BOB].has_nothing());
    bench.respond(BOB, tx, session(200, 5000));
    let (_, _, ok) = bench.phones[ALICE].response(200);
    assert!(!ok.body().is_empty());
}

#[test]
fn a_callee_that_speaks_it_alone_is_acknowledged_at_once() {
    let mut bench = Bench::new();
    let (tx, invite) = call(&mut bench, &[], true);
    assert!(invite.lists(Header::Supported, "100rel"));
    bench.respond(BOB, tx, session(183, 5000).reliable(true));
    let (prack, _, _) = bench.phones[BOB].request(Method::Prack);
    bench.respond(BOB, prack, Reply::new(200));
    let (_, _, early) = bench.phones[ALICE].response(183);
    assert!(!early.has(Header::RSeq) && !early.has(Header::Require));
    bench.respond(BOB, tx, Reply::new(200));
    let (_, _, ok) = bench.phones[ALICE].response(200);
    assert_eq!(media_port(&ok), media_port(&early), "she has no reliable answer yet");
}

#[test]
fn reliable_responses_can_be_left_to_those_who_require_them() {
    let mut bench = Bench::with("[call]\nreliable_provisional = false\n");
    let (tx, _) = call(&mut bench, RELIABLE, true);
    bench.respond(BOB, tx, Reply::new(180));
    assert!(!bench.phones[ALICE].response(180).2.has(Header::RSeq));
}

#[test]
fn an_offer_of_the_callee_is_answered_by_the_callers_prack() {
    let mut bench = Bench::new();
    let (tx, invite) = call(&mut bench, RELIABLE, false);
    assert!(invite.lists(Header::Supported, "100rel"));
    bench.respond(BOB, tx, session(183, 5000).reliable(true));
    let (_, alice, offer) = bench.phones[ALICE].response(183);
    assert_ne!(media_port(&offer), 5000);
    bench.in_dialog(ALICE, alice.unwrap(), Method::Prack, sdp_fields(4000));
    let (prack, _, answer) = bench.phones[BOB].request(Method::Prack);
    assert_ne!(media_port(&answer), 4000);
    bench.respond(BOB, prack, Reply::new(200));
    bench.phones[ALICE].response(200);
    bench.respond(BOB, tx, Reply::new(200));
    let (_, _, ok) = bench.phones[ALICE].response(200);
    assert!(ok.body().is_empty());
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    // The session can be changed at once.
    bench.in_dialog(ALICE, alice.unwrap(), Method::Update, sdp_fields(4002));
    bench.phones[BOB].request(Method::Update);
}

#[test]
fn without_100rel_of_the_caller_no_early_offer_is_asked_for() {
    let mut bench = Bench::new();
    let (tx, invite) = call(&mut bench, &[], false);
    assert!(!invite.lists(Header::Supported, "100rel"));
    bench.respond(BOB, tx, session(183, 5000));
    assert!(bench.phones[ALICE].response(183).2.body().is_empty());
}

#[test]
fn a_prack_brings_another_offer() {
    let mut bench = Bench::new();
    let (tx, _) = call(&mut bench, RELIABLE, true);
    bench.respond(BOB, tx, session(183, 5000).reliable(true));
    let (_, alice, _) = bench.phones[ALICE].response(183);
    bench.in_dialog(ALICE, alice.unwrap(), Method::Prack, sdp_fields(4004));
    let (prack, _, offer) = bench.phones[BOB].request(Method::Prack);
    assert_ne!(media_port(&offer), 4004);
    bench.respond(BOB, prack, session(200, 5004));
    let (_, _, answer) = bench.phones[ALICE].response(200);
    assert_ne!(media_port(&answer), 5004);
    let remotes: Vec<_> = bench.link.state().put.values().map(|it| it.remote_rtp.port()).collect();
    assert!(remotes.contains(&4004) && remotes.contains(&5004), "{remotes:?}");
}

#[test]
fn updates_change_the_session_before_the_answer() {
    let mut bench = Bench::new();
    let (tx, alice, bob) = settled(&mut bench);
    for (who, dialog, other, port) in [(ALICE, alice, BOB, 4010), (BOB, bob, ALICE, 5010)] {
        bench.in_dialog(who, dialog, Method::Update, sdp_fields(port));
        let (update, _, offer) = bench.phones[other].request(Method::Update);
        assert_ne!(media_port(&offer), port);
        assert!(!offer.has(Header::SessionExpires), "no session yet");
        bench.respond(other, update, session(200, port + 2));
        let (_, _, answer) = bench.phones[who].response(200);
        assert_ne!(media_port(&answer), port + 2);
    }
    bench.respond(BOB, tx, Reply::new(200));
    bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice, Fields::new());
    let remotes: Vec<_> = bench.link.state().put.values().map(|it| it.remote_rtp.port()).collect();
    assert!(remotes.contains(&5012) && remotes.contains(&5010), "{remotes:?}");
}

#[test]
fn offers_before_the_first_is_answered_are_met_with_a_time_to_wait() {
    let mut bench = Bench::new();
    let (tx, _) = call(&mut bench, &[], true);
    let bob = bench.respond(BOB, tx, Reply::new(180)).unwrap();
    let (_, alice, _) = bench.phones[ALICE].response(180);
    bench.in_dialog(ALICE, alice.unwrap(), Method::Update, sdp_fields(4002));
    assert!(bench.phones[ALICE].response(500).2.retry_after().is_some());
    bench.in_dialog(BOB, bob, Method::Update, sdp_fields(5002));
    bench.phones[BOB].response(491);
    assert!(bench.phones[ALICE].has_nothing());
}

#[test]
fn an_offer_while_another_is_open() {
    let mut bench = Bench::new();
    let (_, alice, bob) = settled(&mut bench);
    bench.in_dialog(ALICE, alice, Method::Update, sdp_fields(4010));
    let (update, _, _) = bench.phones[BOB].request(Method::Update);
    bench.in_dialog(ALICE, alice, Method::Update, sdp_fields(4012));
    assert!(bench.phones[ALICE].response(500).2.retry_after().is_some());
    bench.in_dialog(BOB, bob, Method::Update, sdp_fields(5010));
    bench.phones[BOB].response(491);
    bench.respond(BOB, update, session(200, 5002));
    bench.phones[ALICE].response(200);
}

#[test]
fn several_branches_bind_the_caller_only_by_the_answer() {
    for (rows, reliable) in [(RELIABLE, false), (&[("Require", "100rel")][..], true)] {
        let mut bench = Bench::new();
        bench.register(BOB2);
        let (first, _) = call(&mut bench, rows, true);
        let (second, _, _) = bench.phones[BOB2].request(Method::Invite);
        for (who, tx) in [(BOB, first), (BOB2, second)] {
            bench.respond(who, tx, session(183, 5000).reliable(true));
            let (prack, _, _) = bench.phones[who].request(Method::Prack);
            bench.respond(who, prack, Reply::new(200));
            let (_, alice, early) = bench.phones[ALICE].response(183);
            assert_eq!((early.has(Header::RSeq), early.body().is_empty()), (reliable, reliable));
            if reliable {
                bench.in_dialog(ALICE, alice.unwrap(), Method::Prack, Fields::new());
                bench.phones[ALICE].response(200);
            }
        }
        bench.respond(BOB2, second, Reply::new(200));
        let (_, _, ok) = bench.phones[ALICE].response(200);
        assert!(!ok.body().is_empty());
        assert_eq!(bench.switch.stats(None).calls_answered, 1);
    }
}

#[test]
fn who_never_acknowledges_gets_504() {
    let mut bench = Bench::new();
    let (tx, _) = call(&mut bench, RELIABLE, true);
    bench.respond(BOB, tx, Reply::new(180));
    bench.phones[ALICE].response(180);
    bench.advance(Duration::from_secs(33));
    bench.phones[ALICE].response(504);
    bench.phones[BOB].take(|event| matches!(event, Event::Cancelled { .. }).then_some(()));
    assert_eq!(bench.only_record().cause.text, "no PRACK");
}

#[test]
fn an_answer_that_is_never_acknowledged_early_ends_both_legs() {
    let mut bench = Bench::new();
    let (tx, _) = call(&mut bench, RELIABLE, true);
    bench.respond(BOB, tx, session(183, 5000));
    bench.phones[ALICE].response(183);
    bench.respond(BOB, tx, session(200, 5000));
    bench.advance(Duration::from_secs(33));
    bench.phones[ALICE].response(504);
    bench.phones[BOB].request(Method::Bye);
    assert_eq!(bench.only_record().cause.text, "no PRACK");
}
