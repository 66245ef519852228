//! What lives on when the daemon is killed.

use super::*;
use crate::link::{EngineInfo, Installed, LinkEvent};
use tandem_contract::counters::TerminationCounters;
use tandem_contract::event::Refusal;
use tandem_contract::measure::Measurement;
use tandem_wire::addr::SockAddr;

#[test]
fn registrations_survive() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.advance(Duration::from_secs(100));
    bench.restart();
    assert_eq!(bench.switch.world.registrar.len(), 1);
    bench.invite(ALICE, "bob");
    bench.phones[BOB].request(Method::Invite);
}

#[test]
fn registrations_of_users_who_went_meanwhile_do_not() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.users.replace(Vec::new(), 1);
    bench.restart();
    assert!(bench.switch.world.registrar.is_empty());
    bench.users.replace(users(), 2);
    bench.restart();
    assert!(bench.switch.world.registrar.is_empty(), "it was journalled");
}

#[test]
fn a_phone_with_a_reg_id_is_known_again_at_another_address() {
    let mut bench = Bench::new();
    let contact =
        |address: &str| format!("<sip:bob@{address}>;+sip.instance=\"<urn:uuid:1>\";reg-id=1");
    bench.register_with(BOB, &[("Contact", &contact("10.0.0.7:5060"))], 200);
    bench.advance(Duration::from_secs(1));
    bench.restart();
    let ok = bench.register_with(BOB, &[("Contact", &contact("10.0.0.8:5060"))], 200);
    assert_eq!(ok.values(Header::Contact).count(), 1);
    assert_eq!(bench.switch.world.registrar.len(), 1);
}

/// What the engine holds, as it tells a control that attaches.
fn installed(bench: &Bench) -> Vec<Installed> {
    let state = bench.link.state();
    let all = state.put.iter().map(|(handle, spec)| Installed {
        handle: *handle,
        context: spec.context,
        local_rtp: SockAddr::NONE,
        latched_rtp: SockAddr::NONE,
        latched_rtcp: SockAddr::NONE,
    });
    all.collect()
}

/// The engine is attached and tells of these.
fn attach(bench: &mut Bench, found: Vec<Installed>) {
    bench.link.state().events.push_back(LinkEvent::Attached {
        info: EngineInfo::default(),
        reinstalled: 0,
        found,
        outage: Duration::ZERO,
    });
    bench.switch.handle_engine();
    bench.pump();
}

/// Version of the session that a description is of.
fn version(message: &Message) -> u64 {
    let body = String::from_utf8_lossy(message.body()).into_owned();
    let origin = body.lines().find(|line| line.starts_with("o=")).expect("an origin");
    origin.split(' ').nth(2).unwrap().parse().unwrap()
}

/// One party hangs up, the other one hears of it.
fn hang_up(bench: &mut Bench, who: usize, dialog: DialogId) -> Message {
    bench.in_dialog(who, dialog, Method::Bye, Fields::new());
    let other = if who == ALICE { BOB } else { ALICE };
    let (tx, dialog, bye) = bench.phones[other].request(Method::Bye);
    assert!(dialog.is_some(), "in the dialog that the phone knows");
    bench.respond(other, tx, Reply::new(200));
    bench.phones[who].response(200);
    bye
}

#[test]
fn a_call_goes_on_and_its_record_is_right() {
    for who in [ALICE, BOB] {
        let mut bench = Bench::new();
        let (alice, bob) = bench.established();
        bench.advance(Duration::from_secs(20));
        let before = bench.link.state().put.clone();
        bench.restart();
        assert_eq!(bench.calls(), 1);
        assert_eq!(bench.link.state().put, before, "the same media is wanted");
        attach(&mut bench, Vec::new());
        bench.advance(Duration::from_millis(15_300));
        assert!(bench.phones.iter().all(Phone::has_nothing), "nobody notices");
        hang_up(&mut bench, who, if who == ALICE { alice } else { bob });
        assert!(bench.link.state().put.is_empty());
        assert!(bench.switch.calls.is_clean());
        let record = bench.only_record();
        assert_eq!((record.duration_ms, record.recovered), (Some(35_300), true));
        assert_eq!((record.cause.sip_status, record.cause.text.as_str()), (200, "hung up"));
        assert_eq!(record.legs.len(), 2);
        assert!(record.ringing_at.is_some());
    }
}

#[test]
fn a_call_is_renegotiated_after_each_restart() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    let dialog = |who| if who == ALICE { alice } else { bob };
    let (mut last, mut versions) = ([0; 2], [1; 2]);
    for (round, who) in [ALICE, BOB, ALICE, BOB].into_iter().enumerate() {
        bench.restart();
        let other = if who == ALICE { BOB } else { ALICE };
        let held = round < 2;
        let offer = if held { held_sdp(4000) } else { sdp(4000) };
        let fields = Fields::new().body("application/sdp", offer);
        bench.in_dialog(who, dialog(who), Method::Invite, fields);
        let (tx, _, request) = bench.phones[other].request(Method::Invite);
        let number = request.cseq().unwrap().number;
        assert!(number > last[other], "sequence numbers grow over restarts");
        last[other] = number;
        let body = String::from_utf8_lossy(request.body()).into_owned();
        assert_eq!(body.contains("a=sendonly"), held, "{body}");
        let answer = if held { "recvonly" } else { "sendrecv" };
        let answer = String::from_utf8(sdp(5000)).unwrap().replace("sendrecv", answer);
        bench.respond(other, tx, Reply::new(200).body("application/sdp", answer.into_bytes()));
        let (_, _, answer) = bench.phones[who].response(200);
        for (who, message) in [(other, &request), (who, &answer)] {
            assert!(version(message) >= versions[who], "the session goes on");
            versions[who] = version(message);
        }
        bench.ack(who, dialog(who), Fields::new());
        bench.phones[other].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
        let call = bench.switch.calls.views(&bench.switch.world).remove(0);
        assert_eq!(call.state == crate::snapshot::CallState::Held, held);
    }
    assert_eq!(versions, [4, 4]);
    bench.restart();
    hang_up(&mut bench, BOB, bob);
}

#[test]
fn a_caller_who_missed_the_answer_gets_it_from_the_next_daemon() {
    for missed in [true, false] {
        let mut bench = Bench::new();
        bench.register(BOB);
        bench.invite(ALICE, "bob");
        let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
        bench.phones[ALICE].dark = missed;
        bench.respond(BOB, tx, Reply::new(200).body("application/sdp", sdp(5000)));
        bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
        bench.restart();
        bench.phones[ALICE].dark = false;
        bench.advance(Duration::from_millis(10));
        let (_, alice, _) = bench.phones[ALICE].response(200);
        bench.ack(ALICE, alice.unwrap(), Fields::new());
        bench.advance(Duration::from_secs(40));
        assert!(bench.phones.iter().all(Phone::has_nothing), "the call lives on");
        hang_up(&mut bench, ALICE, alice.unwrap());
    }
}

#[test]
fn a_callee_whose_ack_was_lost_gets_it_from_the_next_daemon() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    let reply = Reply::new(200).body("application/sdp", sdp(5000));
    bench.phones[BOB].stack.respond(bench.now, tx, reply).unwrap();
    let Some(Output::Transmit { flow, bytes }) = bench.phones[BOB].stack.poll_output() else {
        panic!()
    };
    bench.switch.handle_input(Flow::udp(flow.remote, bench.phones[BOB].addr), &bytes);
    // The answer is taken, and the daemon killed before anything leaves.
    while bench.switch.poll_transmit().is_some() {}
    bench.restart();
    bench.advance(Duration::from_millis(600));
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    let (_, alice, _) = bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    bench.advance(Duration::from_secs(40));
    hang_up(&mut bench, ALICE, alice.unwrap());
}

#[test]
fn an_answer_that_comes_with_the_ack_finds_its_offer_after_a_restart() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite_with(ALICE, "bob", |request| request);
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(200).body("application/sdp", sdp(5000)));
    let (_, alice, _) = bench.phones[ALICE].response(200);
    bench.restart();
    bench.ack(ALICE, alice.unwrap(), Fields::new().body("application/sdp", sdp(4000)));
    let body = bench.phones[BOB].take(|event| match event {
        Event::Ack { request, .. } => Some(request.body().to_vec()),
        _ => None,
    });
    assert!(String::from_utf8_lossy(&body).contains("m=audio"), "the answer is passed on");
    let spec = *bench.link.state().put.values().find(|spec| spec.leg == 0).unwrap();
    assert_ne!(spec.edges[0].generation, 0, "they hear each other");
    bench.restart();
    hang_up(&mut bench, ALICE, alice.unwrap());
}

#[test]
fn a_reinvite_of_the_killed_daemon_is_acknowledged() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    let fields = Fields::new().body("application/sdp", held_sdp(4000));
    bench.in_dialog(ALICE, alice, Method::Invite, fields);
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.restart();
    bench.respond(BOB, tx, Reply::new(200).body("application/sdp", sdp(5000)));
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    bench.advance(Duration::from_secs(40));
    hang_up(&mut bench, BOB, bob);
}

#[test]
fn the_longest_duration_counts_from_the_answer() {
    let mut bench = Bench::with("[call]\nmax_duration_s = 60\n");
    let _ = bench.established();
    bench.advance(Duration::from_secs(40));
    bench.restart();
    bench.advance(Duration::from_millis(19_900));
    assert!(bench.phones.iter().all(Phone::has_nothing));
    bench.advance(Duration::from_millis(200));
    for who in [ALICE, BOB] {
        let (tx, _, _) = bench.phones[who].request(Method::Bye);
        bench.respond(who, tx, Reply::new(200));
    }
    assert_eq!(bench.only_record().duration_ms, Some(60_000));
}

#[test]
fn a_call_whose_media_the_engine_gave_up_meanwhile_is_ended() {
    let mut bench = Bench::new();
    let _ = bench.established();
    let it = installed(&bench).remove(0);
    bench.restart();
    let (handle, context, refusal) = (it.handle, it.context, Refusal::StaleHandle);
    let refused = LinkEvent::Refused { handle, context, refusal };
    bench.link.state().events.push_back(refused);
    bench.pump();
    for who in [ALICE, BOB] {
        let (tx, _, bye) = bench.phones[who].request(Method::Bye);
        assert!(bye.reasons().next().is_some());
        bench.respond(who, tx, Reply::new(200));
    }
    assert_eq!(bench.only_record().cause.text, "media lost");
}

#[test]
fn a_bye_that_comes_again_makes_no_second_record() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    bench.phones[ALICE]
        .stack
        .request_in_dialog(bench.now, alice, Method::Bye, Fields::new())
        .unwrap();
    let Some(Output::Transmit { flow, bytes }) = bench.phones[ALICE].stack.poll_output() else {
        panic!()
    };
    bench.switch.handle_input(Flow::udp(flow.remote, bench.phones[ALICE].addr), &bytes);
    bench.switch.poll_transmit();
    bench.switch.handle_engine();
    bench.restart();
    bench.advance(Duration::from_secs(2));
    let told = &bench.phones[ALICE].events;
    let over = |event: &Event| matches!(event, Event::DialogEnded { .. });
    assert!(told.iter().any(over), "the phone knows that it is over: {told:?}");
    assert_eq!(bench.only_record().cause.text, "hung up");
}

#[test]
fn a_call_that_rang_gets_a_record_and_its_media_is_ended() {
    for known in [true, false] {
        let mut bench = Bench::new();
        bench.register(BOB);
        bench.invite(ALICE, "bob");
        let found = installed(&bench);
        let handles: Vec<_> = found.iter().map(|it| it.handle).collect();
        assert_eq!(handles.len(), 2);
        bench.restart();
        assert_eq!((bench.calls(), bench.switch.recovery.len()), (0, 1));
        if known {
            attach(&mut bench, found);
            assert_eq!(bench.link.state().subtracted, handles);
        } else {
            bench.advance(Duration::from_secs(11));
        }
        assert!(bench.switch.recovery.is_empty());
        let record = bench.only_record();
        assert_eq!((record.recovered, record.answered_at), (true, None));
        assert_eq!(record.cause.sip_status, 500);
    }
}

#[test]
fn media_that_nobody_knows_is_ended() {
    let mut bench = Bench::new();
    let _ = bench.established();
    let mut found = installed(&bench);
    found[0].context.0 += 1;
    let stray = found[0].handle;
    bench.restart();
    attach(&mut bench, vec![found[0]]);
    assert_eq!(bench.link.state().subtracted, [stray]);
}

#[test]
fn a_call_that_ended_before_the_restart_keeps_its_figures() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    {
        let mut state = bench.link.state();
        let put = std::mem::take(&mut state.put);
        state.counters = put
            .into_iter()
            .map(|(handle, spec)| {
                let rx = Measurement { packets: 7, expected: 7, ..Measurement::default() };
                let (leg, context) = (spec.leg, spec.context);
                (handle, TerminationCounters { handle, leg, context, rx, ..Default::default() })
            })
            .collect();
    }
    bench.restart();
    attach(&mut bench, Vec::new());
    assert!(bench.switch.recovery.is_empty());
    let record = bench.only_record();
    assert_eq!((record.recovered, record.duration_ms), (true, None), "nobody saw its end");
    let legs: Vec<_> = record.legs.iter().map(|it| (it.leg.as_str(), it.rx_packets)).collect();
    assert_eq!(legs, [("caller", 7), ("callee", 7)]);
}

#[test]
fn a_party_on_a_connection_is_reached_again_when_it_comes_back() {
    for registers in [true, false] {
        let mut bench = Bench::new();
        bench.phones[ALICE].connection = 7;
        bench.register(ALICE);
        let (alice, bob) = bench.established();
        bench.restart();
        bench.phones[ALICE].connection = 3;
        if registers {
            bench.register(ALICE);
        } else {
            bench.in_dialog(ALICE, alice, Method::Info, Fields::new());
            let (tx, _, _) = bench.phones[BOB].request(Method::Info);
            bench.respond(BOB, tx, Reply::new(200));
            bench.phones[ALICE].response(200);
        }
        hang_up(&mut bench, BOB, bob);
        assert_eq!(bench.only_record().cause.by, crate::record::ReleasedBy::Callee);
    }
}
