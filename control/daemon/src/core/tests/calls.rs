//! Calls that come about, and how they end.

use super::*;
use crate::record::ReleasedBy;

#[test]
fn a_call_is_set_up_relayed_and_recorded() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
    // Media and signalling lead to us, and nothing of Alice's dialog is seen.
    assert_ne!(media_port(&invite), 4000);
    let text = String::from_utf8_lossy(invite.bytes()).into_owned();
    assert!(!text.contains("192.0.2.51") && !text.contains("192.0.2.50"), "{text}");
    assert!(!text.contains("call-0") && !text.contains("tag-of-alice"), "{text}");
    assert!(!text.contains("Authorization"), "{text}");
    assert_eq!(invite.max_forwards(), Some(69));
    assert_eq!(invite.value_named("X-Keep"), Some("as it is; ü".as_bytes()));
    assert_eq!(invite.from().unwrap().display_text().as_deref(), Some("Alice A."));
    assert_eq!(invite.to().unwrap().uri().as_str(), "sip:bob@tandem");
    bench.respond(BOB, tx, Reply::new(180).header("X-Ring", "1"));
    let (_, early, ringing) = bench.phones[ALICE].response(180);
    assert_eq!(ringing.value_named("x-ring"), Some(&b"1"[..]));
    assert!(early.is_some());
    bench.advance(Duration::from_secs(3));
    let answer = Reply::new(200).body("application/sdp", sdp(5000));
    let bob = bench.respond(BOB, tx, answer).unwrap();
    let (_, alice, ok) = bench.phones[ALICE].response(200);
    assert_ne!(media_port(&ok), 5000);
    assert_ne!(media_port(&ok), media_port(&invite));
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    assert_eq!(bench.link.state().put.len(), 2);
    bench.advance(Duration::from_secs(10));
    bench.in_dialog(BOB, bob, Method::Bye, Fields::new().header("Reason", "Q.850;cause=16"));
    bench.phones[BOB].response(200);
    let (tx, _, bye) = bench.phones[ALICE].request(Method::Bye);
    assert_eq!(bye.value_named("Reason"), Some(&b"Q.850;cause=16"[..]));
    bench.respond(ALICE, tx, Reply::new(200));
    assert_eq!((bench.calls(), bench.link.state().put.len()), (0, 0));
    let record = bench.only_record();
    assert_eq!((&*record.from, &*record.to), ("sip:alice@tandem", "sip:bob@tandem"));
    assert_eq!((record.ring_ms, record.duration_ms), (Some(3000), Some(10_000)));
    assert_eq!((record.cause.sip_status, record.cause.by), (200, ReleasedBy::Callee));
    assert_eq!(record.cause.text, "hung up (Q.850 cause 16)");
    assert_eq!(record.legs.len(), 2);
}

#[test]
fn the_callee_sees_addresses_of_record_and_names() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite_with(ALICE, "bob", |request| {
        request
            .from("\"Alice; A.\" <sip:alice@10.0.0.7:5099;x=y>")
            .to("Bob <sip:bob@203.0.113.66>")
            .body("application/sdp", sdp(4000))
    });
    let (_, _, invite) = bench.phones[BOB].request(Method::Invite);
    let from = String::from_utf8_lossy(invite.value(Header::From).unwrap()).into_owned();
    assert!(from.starts_with("\"Alice; A.\" <sip:alice@tandem>;tag="), "{from}");
    assert_eq!(invite.value(Header::To), Some(&b"Bob <sip:bob@tandem>"[..]));
}

#[test]
fn the_record_is_journalled_before_the_answer_to_bye_leaves() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    let stack = &mut bench.phones[ALICE].stack;
    stack.request_in_dialog(bench.now, alice, Method::Bye, Fields::new()).unwrap();
    let Some(Output::Transmit { flow, bytes }) = stack.poll_output() else { panic!() };
    let before = bench.journal.counters().entries.load(std::sync::atomic::Ordering::Relaxed);
    bench.switch.handle_input(Flow::udp(flow.remote, flow.local), &bytes);
    assert!(bench.switch.poll_transmit().is_none(), "the engine's last figures are awaited");
    bench.switch.handle_engine();
    let (_, first) = bench.switch.poll_transmit().expect("an answer");
    let after = bench.journal.counters().entries.load(std::sync::atomic::Ordering::Relaxed);
    assert!(first.starts_with(b"SIP/2.0 200"));
    assert_eq!(after, before + 1);
}

#[test]
fn the_caller_hangs_up() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    bench.advance(Duration::from_secs(5));
    bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
    bench.phones[ALICE].response(200);
    let (tx, _, _) = bench.phones[BOB].request(Method::Bye);
    bench.respond(BOB, tx, Reply::new(200));
    let record = bench.only_record();
    assert_eq!((record.cause.by, record.duration_ms), (ReleasedBy::Caller, Some(5000)));
}

#[test]
fn early_media_is_passed_and_its_answer_repeated_in_the_200() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(183).body("application/sdp", sdp(5000)));
    let (_, _, progress) = bench.phones[ALICE].response(183);
    let port = media_port(&progress);
    assert_eq!(bench.link.state().put.len(), 2);
    bench.respond(BOB, tx, Reply::new(200));
    let (_, alice, ok) = bench.phones[ALICE].response(200);
    assert_eq!(media_port(&ok), port);
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
}

#[test]
fn a_call_without_an_offer_gets_one_from_the_callee() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite_with(ALICE, "bob", |request| request);
    let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
    assert!(invite.body().is_empty());
    bench.respond(BOB, tx, Reply::new(200).body("application/sdp", sdp(5000)));
    let (_, alice, ok) = bench.phones[ALICE].response(200);
    assert_ne!(media_port(&ok), 5000);
    // Bob's ACK waits for Alice's answer.
    assert!(bench.phones[BOB].has_nothing());
    bench.ack(ALICE, alice.unwrap(), Fields::new().body("application/sdp", sdp(4000)));
    let ack = bench.phones[BOB].take(|event| match event {
        Event::Ack { request, .. } => Some(request.clone()),
        _ => None,
    });
    assert_ne!(media_port(&ack), 4000);
    assert_eq!(bench.link.state().put.len(), 2);
}

#[test]
fn the_caller_gives_up() {
    let mut bench = Bench::new();
    bench.register(BOB);
    let invite = bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(180));
    bench.phones[ALICE].response(180);
    bench.phones[ALICE].stack.cancel(bench.now, invite, Fields::new()).unwrap();
    bench.pump();
    bench.phones[ALICE].response(487);
    bench.phones[BOB].take(|event| matches!(event, Event::Cancelled { .. }).then_some(()));
    bench.respond(BOB, tx, Reply::new(487));
    assert_eq!((bench.calls(), bench.link.state().put.len()), (0, 0));
    let record = bench.only_record();
    assert_eq!((record.cause.sip_status, record.cause.by), (487, ReleasedBy::Caller));
    assert_eq!(record.duration_ms, None);
}

#[test]
fn an_answer_that_crosses_the_cancel_is_hung_up() {
    let mut bench = Bench::new();
    bench.register(BOB);
    let invite = bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(180));
    bench.phones[ALICE].stack.cancel(bench.now, invite, Fields::new()).unwrap();
    // Bob answers before he sees the CANCEL.
    let answer = Reply::new(200).body("application/sdp", sdp(5000));
    bench.phones[BOB].stack.respond(bench.now, tx, answer).unwrap();
    bench.pump();
    // Whoever came first at Tandem: either the call stands, or Bob gets ACK and BYE.
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    let answered = bench.phones[ALICE].events.iter().any(
        |event| matches!(event, Event::Response { response, .. } if response.status() == Some(200)),
    );
    if !answered {
        bench.phones[ALICE].response(487);
        let (tx, _, _) = bench.phones[BOB].request(Method::Bye);
        bench.respond(BOB, tx, Reply::new(200));
        assert_eq!(bench.calls(), 0);
    }
}

#[test]
fn lost_datagrams_change_nothing() {
    for lost in 1..12 {
        let mut bench = Bench::new();
        bench.register(BOB);
        bench.invite(ALICE, "bob");
        let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
        bench.lose = lost;
        bench.respond(BOB, tx, Reply::new(200).body("application/sdp", sdp(5000)));
        bench.advance(Duration::from_secs(8));
        let (_, alice, _) = bench.phones[ALICE].response(200);
        bench.ack(ALICE, alice.unwrap(), Fields::new());
        bench.advance(Duration::from_secs(8));
        let stats = bench.switch.stats(None);
        assert_eq!((stats.calls_answered, stats.sip.dialogs), (1, 2), "lost {lost}");
    }
}

#[test]
fn the_daemon_stops_and_ends_its_calls() {
    let mut bench = Bench::new();
    let _ = bench.established();
    bench.switch.begin_stop();
    bench.pump();
    for who in [ALICE, BOB] {
        let (tx, _, _) = bench.phones[who].request(Method::Bye);
        bench.respond(who, tx, Reply::new(200));
    }
    assert!(bench.switch.is_quiet());
    assert_eq!(bench.only_record().cause.text, "Tandem stops");
}

#[test]
fn while_it_drains_calls_go_on_and_no_new_ones_are_taken() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    bench.switch.begin_drain();
    let request = bench.invite_request(BOB2, "alice").call_id("late").from_tag("late").cseq(1);
    bench.send(BOB2, request);
    let (_, _, refusal) = bench.phones[BOB2].response(503);
    assert!(refusal.number(Header::RetryAfter).is_some());
    bench.advance(Duration::from_secs(10));
    assert!(!bench.switch.has_no_calls());
    bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
    let (tx, _, _) = bench.phones[BOB].request(Method::Bye);
    bench.respond(BOB, tx, Reply::new(200));
    bench.phones[ALICE].response(200);
    assert!(bench.switch.has_no_calls());
    assert_eq!(bench.only_record().duration_ms, Some(10_000));
}

#[test]
fn other_settings_hold_for_calls_from_then_on() {
    let mut bench = Bench::new();
    bench.register(BOB);
    let text = "[call]\nno_answer_s = 3\n[registrar]\nmax_contacts = 1\n[media]\ndscp = 8\n";
    let config = Config::parse(text).unwrap();
    let media = MediaConfig { dscp: config.media.dscp, ..MediaConfig::default() };
    bench.switch.reconfigure(&config, media);
    bench.register_with(BOB2, &[("Contact", "<sip:bob@192.0.2.53>")], 403);
    bench.invite(ALICE, "bob");
    bench.phones[BOB].request(Method::Invite);
    assert!(bench.link.state().put.values().all(|spec| spec.dscp == 8));
    bench.advance(Duration::from_secs(4));
    bench.phones[ALICE].response(480);
}

#[test]
fn a_call_has_its_longest_duration() {
    let mut bench = Bench::with("[call]\nmax_duration_s = 60\n");
    let _ = bench.established();
    bench.advance(Duration::from_secs(59));
    assert!(bench.phones[ALICE].has_nothing());
    bench.advance(Duration::from_secs(2));
    for who in [ALICE, BOB] {
        bench.phones[who].request(Method::Bye);
    }
    let record = bench.only_record();
    assert_eq!((record.cause.by, record.duration_ms), (ReleasedBy::Tandem, Some(60_000)));
}

#[test]
fn the_advertised_address_is_what_phones_see() {
    let mut bench = Bench::with("[sip]\nadvertised = [\"203.0.113.9\"]\n");
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
    assert_eq!(invite.top_via().unwrap().sent_by(), "203.0.113.9:5060");
    assert!(invite.value_str(Header::Contact).unwrap().contains("203.0.113.9:5060"));
    bench.respond(BOB, tx, Reply::new(200).body("application/sdp", sdp(5000)));
    let (_, _, ok) = bench.phones[ALICE].response(200);
    assert!(ok.value_str(Header::Contact).unwrap().contains("203.0.113.9:5060"));
    assert!(!String::from_utf8_lossy(ok.bytes()).contains("192.0.2.1:5060"));
}

#[test]
fn nothing_is_left_of_ended_calls() {
    let mut bench = Bench::new();
    for round in 0..4 {
        let (alice, bob) = bench.established();
        for (who, dialog, other) in [(ALICE, alice, BOB), (BOB, bob, ALICE)] {
            let fields = Fields::new().body("application/sdp", sdp(4000));
            bench.in_dialog(who, dialog, Method::Invite, fields);
            let (tx, _, _) = bench.phones[other].request(Method::Invite);
            if round % 2 == 0 {
                bench.respond(other, tx, Reply::new(200).body("application/sdp", sdp(5000)));
                bench.phones[who].response(200);
                bench.ack(who, dialog, Fields::new());
            } else {
                bench.respond(other, tx, Reply::new(488));
                bench.phones[who].response(488);
            }
            bench.in_dialog(who, dialog, Method::Info, Fields::new());
            let (tx, _, _) = bench.phones[other].request(Method::Info);
            bench.respond(other, tx, Reply::new(200));
            bench.phones[who].response(200);
        }
        // One is hung up in the middle of a re-INVITE.
        bench.in_dialog(ALICE, alice, Method::Invite, Fields::new());
        bench.in_dialog(BOB, bob, Method::Bye, Fields::new());
        bench.advance(Duration::from_secs(60));
        bench.phones.iter_mut().for_each(|phone| phone.events.clear());
        assert!(bench.switch.calls.is_clean(), "round {round}");
        assert!(bench.link.state().put.is_empty(), "round {round}");
    }
    for status in [486, 487] {
        let invite = bench.invite(ALICE, "bob");
        let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
        bench.respond(BOB, tx, Reply::new(180));
        if status == 487 {
            bench.phones[ALICE].stack.cancel(bench.now, invite, Fields::new()).unwrap();
            bench.pump();
        }
        bench.respond(BOB, tx, Reply::new(status));
        bench.advance(Duration::from_secs(60));
        bench.phones.iter_mut().for_each(|phone| phone.events.clear());
        assert!(bench.switch.calls.is_clean(), "{status}");
    }
    let stats = bench.switch.stats(None);
    assert_eq!((stats.sip.dialogs, stats.sip.transactions), (0, 0));
    assert_eq!(stats.calls_ended.values().sum::<u64>(), 6);
}

#[test]
fn the_api_sees_the_call() {
    let mut bench = Bench::new();
    let _ = bench.established();
    bench.advance(Duration::from_secs(2));
    let views = bench.switch.calls.views(&bench.switch.world);
    assert_eq!(views.len(), 1);
    assert_eq!(views[0].duration_ms, Some(2000));
    let legs: Vec<_> = views[0].legs.iter().map(|leg| leg.leg.as_str()).collect();
    assert_eq!(legs, ["caller", "callee"]);
    assert_eq!(views[0].legs[1].media.len(), 1);
    let id = views[0].id.clone();
    assert_eq!(bench.switch.calls.view(&bench.switch.world, &id), Some(views[0].clone()));
    assert_eq!(bench.switch.calls.view(&bench.switch.world, "nonsense"), None);
}
