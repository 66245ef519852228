//! Requests inside an answered call.

use super::*;
use crate::link::LinkEvent;
use crate::record::ReleasedBy;

fn sdp_fields(body: Vec<u8>) -> Fields {
    Fields::new().body("application/sdp", body)
}

#[test]
fn hold_and_resume_from_both_sides() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    for (who, dialog, other) in [(ALICE, alice, BOB), (BOB, bob, ALICE)] {
        bench.in_dialog(who, dialog, Method::Invite, sdp_fields(held_sdp(4000)));
        let (tx, _, reinvite) = bench.phones[other].request(Method::Invite);
        assert!(String::from_utf8_lossy(reinvite.body()).contains("a=sendonly"));
        let answer = String::from_utf8(sdp(5000)).unwrap().replace("sendrecv", "recvonly");
        bench.respond(other, tx, Reply::new(200).body("application/sdp", answer));
        let (_, _, ok) = bench.phones[who].response(200);
        assert!(String::from_utf8_lossy(ok.body()).contains("a=recvonly"));
        bench.phones[other].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
        bench.ack(who, dialog, Fields::new());
        let view = &bench.switch.calls.views(&bench.switch.world)[0];
        assert_eq!(view.state, crate::snapshot::CallState::Held);
        bench.in_dialog(who, dialog, Method::Invite, sdp_fields(sdp(4000)));
        let (tx, _, _) = bench.phones[other].request(Method::Invite);
        bench.respond(other, tx, Reply::new(200).body("application/sdp", sdp(5000)));
        bench.phones[who].response(200);
        bench.ack(who, dialog, Fields::new());
        bench.phones[other].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
        let view = &bench.switch.calls.views(&bench.switch.world)[0];
        assert_eq!(view.state, crate::snapshot::CallState::Answered);
    }
    assert_eq!(bench.link.state().put.len(), 2);
}

#[test]
fn a_refused_re_invite_leaves_the_call_as_it_was() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    let before = bench.link.state().put.clone();
    bench.in_dialog(ALICE, alice, Method::Invite, sdp_fields(sdp(4444)));
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(488).header("Warning", "304 bob \"no\""));
    let (_, _, response) = bench.phones[ALICE].response(488);
    assert!(response.has(Header::Warning));
    assert_eq!(format!("{:?}", bench.link.state().put), format!("{before:?}"));
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
}

#[test]
fn a_re_invite_without_an_offer_takes_the_others() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    bench.in_dialog(ALICE, alice, Method::Invite, Fields::new());
    let (tx, _, reinvite) = bench.phones[BOB].request(Method::Invite);
    assert!(reinvite.body().is_empty());
    bench.respond(BOB, tx, Reply::new(200).body("application/sdp", sdp(5000)));
    bench.phones[ALICE].response(200);
    assert!(bench.phones[BOB].has_nothing());
    bench.ack(ALICE, alice, sdp_fields(sdp(4000)));
    let ack = bench.phones[BOB].take(|event| match event {
        Event::Ack { request, .. } => Some(request.clone()),
        _ => None,
    });
    assert_ne!(media_port(&ack), 4000);
}

#[test]
fn crossing_re_invites_are_491() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    for (who, dialog) in [(ALICE, alice), (BOB, bob)] {
        let stack = &mut bench.phones[who].stack;
        stack.request_in_dialog(bench.now, dialog, Method::Invite, sdp_fields(sdp(4000))).unwrap();
    }
    bench.pump();
    let pending = |phone: &Phone| {
        phone.events.iter().any(
            |event| matches!(event, Event::Response { response, .. } if response.status() == Some(491)),
        )
    };
    assert!(bench.phones.iter().any(pending));
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
}

#[test]
fn a_cancelled_re_invite_leaves_the_call() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    let reinvite = bench.in_dialog(ALICE, alice, Method::Invite, sdp_fields(sdp(4000)));
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(180));
    bench.phones[ALICE].response(180);
    bench.phones[ALICE].stack.cancel(bench.now, reinvite, Fields::new()).unwrap();
    bench.pump();
    bench.phones[BOB].take(|event| matches!(event, Event::Cancelled { .. }).then_some(()));
    bench.respond(BOB, tx, Reply::new(487));
    bench.phones[ALICE].response(487);
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
}

#[test]
fn info_message_and_update_are_passed_with_their_answers() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    for (who, dialog, other) in [(ALICE, alice, BOB), (BOB, bob, ALICE)] {
        for method in [Method::Info, Method::Message] {
            let fields = Fields::new()
                .header("X-Mine", "1")
                .body("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n".to_vec());
            bench.in_dialog(who, dialog, method, fields);
            let (tx, _, request) = bench.phones[other].request(method);
            assert_eq!(request.body(), b"Signal=5\r\nDuration=160\r\n");
            assert_eq!(request.value(Header::ContentType), Some(&b"application/dtmf-relay"[..]));
            assert_eq!(request.value_named("X-Mine"), Some(&b"1"[..]));
            bench.respond(other, tx, Reply::new(202).reason("Later"));
            let (_, _, response) = bench.phones[who].response(202);
            assert_eq!(response.reason(), Some("Later"));
        }
    }
    bench.in_dialog(ALICE, alice, Method::Update, sdp_fields(sdp(4002)));
    let (tx, _, update) = bench.phones[BOB].request(Method::Update);
    assert_ne!(media_port(&update), 4002);
    bench.respond(BOB, tx, Reply::new(200).body("application/sdp", sdp(5000)));
    let (_, _, ok) = bench.phones[ALICE].response(200);
    assert_ne!(media_port(&ok), 5000);
}

#[test]
fn other_methods_are_answered_here() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    for (method, status) in [(Method::Publish, 405), (Method::parse(b"NONSENSE").unwrap(), 501)] {
        bench.in_dialog(ALICE, alice, method, Fields::new());
        let (_, _, response) = bench.phones[ALICE].response(status);
        assert!(response.lists(Header::Allow, "BYE"));
    }
    assert!(bench.phones[BOB].has_nothing());
}

#[test]
fn a_party_that_does_not_know_the_call_ends_it() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    let now = bench.now;
    bench.phones[BOB].stack.drop_dialog(now, bob);
    bench.in_dialog(ALICE, alice, Method::Info, Fields::new());
    bench.phones[ALICE].response(500);
    let (tx, _, _) = bench.phones[ALICE].request(Method::Bye);
    bench.respond(ALICE, tx, Reply::new(200));
    assert_eq!(bench.calls(), 0);
    assert_eq!(bench.only_record().cause.by, ReleasedBy::Tandem);
}

#[test]
fn a_party_that_never_answers_ends_it() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    bench.phones[BOB].dark = true;
    bench.in_dialog(ALICE, alice, Method::Invite, sdp_fields(sdp(4000)));
    bench.advance(Duration::from_secs(40));
    bench.phones[ALICE].response(504);
    bench.phones[ALICE].request(Method::Bye);
    let record = bench.only_record();
    assert_eq!(record.cause.text, "the callee does not answer any more");
}

#[test]
fn a_caller_that_never_acknowledges_ends_it() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(200).body("application/sdp", sdp(5000)));
    bench.phones[ALICE].response(200);
    bench.advance(Duration::from_secs(33));
    bench.phones[BOB].request(Method::Bye);
    assert_eq!(bench.only_record().cause.text, "no ACK");
}

#[test]
fn crossing_byes_end_one_call_once() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    for (who, dialog) in [(ALICE, alice), (BOB, bob)] {
        let stack = &mut bench.phones[who].stack;
        stack.request_in_dialog(bench.now, dialog, Method::Bye, Fields::new()).unwrap();
    }
    bench.pump();
    bench.advance(Duration::from_secs(40));
    assert_eq!((bench.calls(), bench.switch.stats(None).sip.dialogs), (0, 0));
    assert_eq!(bench.records().len(), 1);
}

#[test]
fn a_lost_lease_ends_the_call() {
    let mut bench = Bench::new();
    let _ = bench.established();
    let (handle, context) = {
        let state = bench.link.state();
        let (handle, spec) = state.put.iter().next().unwrap();
        (*handle, spec.context)
    };
    let cause = tandem_contract::event::EndCause::LeaseExpired;
    bench.link.state().events.push_back(LinkEvent::Ended { handle, context, cause });
    bench.switch.handle_engine();
    bench.pump();
    bench.phones[ALICE].request(Method::Bye);
    bench.phones[BOB].request(Method::Bye);
    assert_eq!(bench.only_record().cause.text, "media lost");
}

#[test]
fn an_engine_that_does_not_answer_delays_the_record_for_a_moment_only() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    bench.link.state().mute = true;
    let bye =
        bench.phones[ALICE].stack.request_in_dialog(bench.now, alice, Method::Bye, Fields::new());
    bye.unwrap();
    bench.advance(Duration::from_millis(49));
    assert!(bench.phones[ALICE].has_nothing() && bench.phones[BOB].has_nothing());
    bench.advance(Duration::from_millis(1));
    bench.phones[ALICE].response(200);
    bench.phones[BOB].request(Method::Bye);
    assert_eq!(bench.only_record().cause.text, "hung up");
}

#[test]
fn a_silent_party_ends_the_call_if_the_operator_wants_it() {
    for (config, ends) in [("", true), ("[call]\nend_on_media_timeout = false\n", false)] {
        let mut bench = Bench::with(config);
        let _ = bench.established();
        let handle = *bench.link.state().put.keys().next().unwrap();
        let silent = LinkEvent::MediaTimeout { handle, silent_ms: 30_000 };
        bench.link.state().events.push_back(silent);
        bench.switch.handle_engine();
        bench.pump();
        assert_eq!(bench.phones[ALICE].has_nothing(), !ends);
        assert_eq!(bench.records().len(), usize::from(ends));
    }
}

#[test]
fn telephone_events_become_info_for_who_takes_that_alone() {
    for (config, allow, taken) in [
        ("[call]\ndtmf_info = true\n", "INVITE, ACK, BYE, INFO", true),
        ("[call]\ndtmf_info = true\n", "INVITE, ACK, BYE", false),
        ("", "INVITE, ACK, BYE, INFO", false),
    ] {
        let mut bench = Bench::with(config);
        bench.register(BOB);
        let offer = String::from_utf8(sdp(4000)).unwrap().replace("AVP 8 0", "AVP 8 0 101")
            + "a=rtpmap:101 telephone-event/8000\r\n";
        bench.invite_with(ALICE, "bob", |request| {
            request.body("application/sdp", offer.clone().into_bytes())
        });
        let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
        let reply = Reply::new(200).header("Allow", allow).body("application/sdp", sdp(5000));
        bench.respond(BOB, tx, reply);
        let (_, alice, ok) = bench.phones[ALICE].response(200);
        let answer = String::from_utf8_lossy(ok.body()).into_owned();
        assert_eq!(answer.contains("a=rtpmap:101 telephone-event/8000"), taken, "{answer}");
        assert_eq!(answer.contains("AVP 8 0 101"), taken, "{answer}");
        bench.ack(ALICE, alice.unwrap(), Fields::new());
        bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
        let handle = bench.link.state().put.iter().find(|(_, spec)| spec.leg == 0).map(|it| *it.0);
        let pressed = LinkEvent::Dtmf { handle: handle.unwrap(), code: 11, duration_ms: 160 };
        bench.link.state().events.push_back(pressed);
        bench.switch.handle_engine();
        bench.pump();
        if taken {
            let (tx, _, info) = bench.phones[BOB].request(Method::Info);
            assert_eq!(info.body(), b"Signal=#\r\nDuration=160\r\n");
            assert_eq!(info.value(Header::ContentType), Some(&b"application/dtmf-relay"[..]));
            bench.respond(BOB, tx, Reply::new(200));
        }
        assert!(bench.phones.iter().all(Phone::has_nothing));
    }
}
