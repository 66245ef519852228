//! Session timers, and parties that are gone.

use super::*;

const BODY: &str = "application/sdp";

/// A call whose parties have these rows in INVITE and 200; gives dialogs and the 200 that Alice
/// got.
fn up(
    bench: &mut Bench,
    alice_rows: &[(&str, &str)],
    bob_rows: &[(&str, &str)],
) -> (DialogId, DialogId, Message) {
    bench.register(BOB);
    bench.invite_with(ALICE, "bob", |mut request| {
        for (name, value) in alice_rows {
            request = request.header(name, value);
        }
        request.body(BODY, sdp(4000))
    });
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    let mut reply = Reply::new(200);
    for (name, value) in bob_rows {
        reply = reply.header(name, value);
    }
    let bob = bench.respond(BOB, tx, reply.body(BODY, sdp(5000))).unwrap();
    let (_, alice, ok) = bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    (alice.unwrap(), bob, ok)
}

fn answers_options(bench: &mut Bench, who: usize) {
    let (tx, _, _) = bench.phones[who].request(Method::Options);
    bench.respond(who, tx, Reply::new(200));
}

/// Nothing is asked of Bob: he refreshes, hourly.
const BOB_REFRESHES: &[(&str, &str)] = &[("Session-Expires", "7200;refresher=uas")];

#[test]
fn too_short_a_session_is_422() {
    let mut bench = Bench::new();
    let request = bench
        .invite_request(ALICE, "bob")
        .header("Supported", "timer")
        .header("Session-Expires", "60");
    bench.send(ALICE, request);
    let (_, _, response) = bench.phones[ALICE].response(422);
    assert_eq!(response.number(Header::MinSe), Some(90));
}

#[test]
fn each_leg_negotiates_for_itself() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite_with(ALICE, "bob", |request| {
        let request = request.header("Supported", "timer").header("Session-Expires", "300");
        request.body(BODY, sdp(4000))
    });
    let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
    assert_eq!(invite.session_expires().unwrap().seconds, 1_800);
    assert!(invite.lists(Header::Supported, "timer"));
    let reply = Reply::new(200).header("Session-Expires", "1000;refresher=uas");
    bench.respond(BOB, tx, reply.header("Require", "timer").body(BODY, sdp(5000)));
    let (_, _, ok) = bench.phones[ALICE].response(200);
    let told = ok.session_expires().unwrap();
    assert_eq!((told.seconds, told.refresher), (300, Some("uac")));
    assert!(ok.lists(Header::Require, "timer"));
}

#[test]
fn who_does_not_refresh_is_hung_up_a_little_before_the_end() {
    let mut bench = Bench::new();
    let timer = [("Supported", "timer"), ("Session-Expires", "300;refresher=uac")];
    let (alice, _, _) = up(&mut bench, &timer, BOB_REFRESHES);
    bench.advance(Duration::from_secs(200));
    bench.in_dialog(
        ALICE,
        alice,
        Method::Update,
        Fields::new().header("Supported", "timer").header("Session-Expires", "300;refresher=uac"),
    );
    let (_, _, ok) = bench.phones[ALICE].response(200);
    assert_eq!(ok.session_expires().unwrap().refresher, Some("uac"));
    assert!(bench.phones[BOB].has_nothing(), "a refresh is of one leg");
    bench.advance(Duration::from_secs(267));
    assert!(bench.phones[ALICE].has_nothing());
    bench.advance(Duration::from_secs(2));
    let (_, _, bye) = bench.phones[ALICE].request(Method::Bye);
    assert_eq!(bye.reasons().next().unwrap().cause, Some(408));
    bench.phones[BOB].request(Method::Bye);
    let record = bench.only_record();
    assert_eq!(record.cause.text, "the caller does not refresh the session");
    assert_eq!(record.duration_ms, Some(468_000));
}

#[test]
fn we_refresh_by_update_where_it_is_taken() {
    let mut bench = Bench::new();
    let bob = [("Allow", "INVITE, ACK, BYE, UPDATE"), ("Session-Expires", "400;refresher=uac")];
    let _ = up(&mut bench, &[("Supported", "timer"), ("Session-Expires", "7000")], &bob);
    for _ in 0..3 {
        bench.advance(Duration::from_secs(200));
        let (tx, _, update) = bench.phones[BOB].request(Method::Update);
        assert!(update.body().is_empty());
        let asked = update.session_expires().unwrap();
        assert_eq!((asked.seconds, asked.refresher), (400, Some("uac")));
        let reply = Reply::new(200).header("Session-Expires", "400;refresher=uac");
        bench.respond(BOB, tx, reply);
    }
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
}

#[test]
fn else_we_refresh_by_the_same_offer_again() {
    let mut bench = Bench::new();
    bench.register(BOB);
    let timer = |request: NewRequest| {
        request.header("Supported", "timer").header("Session-Expires", "7000")
    };
    bench.invite_with(ALICE, "bob", |request| timer(request).body(BODY, sdp(4000)));
    let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
    let reply = Reply::new(200).header("Session-Expires", "400;refresher=uac");
    bench.respond(BOB, tx, reply.body(BODY, sdp(5000)));
    let (_, alice, _) = bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    let puts = bench.link.state().puts;
    bench.advance(Duration::from_secs(200));
    let (tx, _, refresh) = bench.phones[BOB].request(Method::Invite);
    assert_eq!(refresh.body(), invite.body(), "unchanged, its version too");
    // Whoever offers meanwhile waits.
    let offer = Fields::new().body(BODY, sdp(4002));
    bench.in_dialog(ALICE, alice.unwrap(), Method::Invite, offer);
    bench.phones[ALICE].response(491);
    let reply = Reply::new(200).header("Session-Expires", "400;refresher=uac");
    bench.respond(BOB, tx, reply.body(BODY, sdp(5000)));
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    assert_eq!(bench.link.state().puts, puts);
    assert!(bench.phones[ALICE].has_nothing());
}

#[test]
fn a_refresh_that_meets_glare_is_tried_again() {
    let mut bench = Bench::new();
    let (_, bob, _) =
        up(&mut bench, &[("Supported", "timer"), ("x", "7000")], &[("x", "400;refresher=uac")]);
    let stack = &mut bench.phones[BOB].stack;
    bench.now = bench.now + Duration::from_millis(199_999);
    bench.switch.set_time(bench.now, wall(bench.now));
    // Bob's own re-INVITE is on its way when ours comes.
    stack
        .request_in_dialog(bench.now, bob, Method::Invite, Fields::new().body(BODY, sdp(5002)))
        .unwrap();
    bench.now = bench.now + Duration::from_millis(1);
    bench.switch.set_time(bench.now, wall(bench.now));
    bench.switch.handle_timeout();
    bench.pump();
    bench.phones[BOB].response(491);
    bench.advance(Duration::from_millis(2_000));
    assert!(bench.phones[BOB].has_nothing(), "the owner of the Call-ID waits 2.1 s at least");
    bench.advance(Duration::from_millis(2_000));
    bench.phones[BOB].request(Method::Invite);
}

#[test]
fn a_422_of_the_callee_is_met_by_another_try() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (tx, _, first) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(422).header("Min-SE", "3600"));
    let (tx, _, second) = bench.phones[BOB].request(Method::Invite);
    assert_eq!((second.call_id(), second.from_tag()), (first.call_id(), first.from_tag()));
    assert_eq!(second.cseq().unwrap().number, first.cseq().unwrap().number + 1);
    assert_eq!(second.session_expires().unwrap().seconds, 3_600);
    assert_eq!(second.number(Header::MinSe), Some(3_600));
    assert_eq!(second.body(), first.body());
    // It is asked once.
    bench.respond(BOB, tx, Reply::new(422).header("Min-SE", "4000"));
    bench.phones[ALICE].response(500);
    assert_eq!(bench.calls(), 0);
}

#[test]
fn a_422_to_a_refresh_raises_the_interval() {
    let mut bench = Bench::new();
    let bob = [("Allow", "UPDATE"), ("Session-Expires", "400;refresher=uac")];
    let _ = up(&mut bench, &[("Supported", "timer"), ("Session-Expires", "7000")], &bob);
    bench.advance(Duration::from_secs(200));
    let (tx, _, _) = bench.phones[BOB].request(Method::Update);
    bench.respond(BOB, tx, Reply::new(422).header("Min-SE", "600"));
    let (tx, _, update) = bench.phones[BOB].request(Method::Update);
    assert_eq!(update.session_expires().unwrap().seconds, 600);
    bench.respond(BOB, tx, Reply::new(200).header("Session-Expires", "600;refresher=uac"));
    bench.advance(Duration::from_secs(299));
    assert!(bench.phones[BOB].has_nothing());
}

#[test]
fn a_refresh_that_fails_ends_the_call_or_not() {
    for (status, ends) in [(481, true), (408, true), (500, false), (488, false)] {
        let mut bench = Bench::new();
        let bob = [("Allow", "UPDATE"), ("Session-Expires", "400;refresher=uac")];
        let _ = up(&mut bench, &[("Supported", "timer"), ("Session-Expires", "7000")], &bob);
        bench.advance(Duration::from_secs(200));
        let (tx, _, _) = bench.phones[BOB].request(Method::Update);
        bench.respond(BOB, tx, Reply::new(status));
        assert_eq!(bench.phones[ALICE].has_nothing(), !ends, "{status}");
        if !ends {
            bench.advance(Duration::from_secs(100));
            bench.phones[BOB].request(Method::Update);
            continue;
        }
        let (_, _, bye) = bench.phones[ALICE].request(Method::Bye);
        assert_eq!(bye.reasons().next().unwrap().cause, Some(u32::from(status)));
        let text = bench.only_record().cause.text;
        assert!(text.starts_with("the callee does not") && text.ends_with("any more"), "{text}");
    }
}

#[test]
fn a_party_that_is_gone_is_found_out() {
    // By a refresh, and by OPTIONS where there are no session timers.
    let with_timer = [("Allow", "UPDATE"), ("Session-Expires", "1800;refresher=uac")];
    for bob in [&with_timer[..], &[]] {
        let mut bench = Bench::new();
        let _ = up(&mut bench, &[("Supported", "timer"), ("Session-Expires", "7000")], bob);
        bench.phones[BOB].dark = true;
        bench.advance(Duration::from_secs(933));
        bench.phones[ALICE].request(Method::Bye);
        assert_eq!(bench.only_record().cause.text, "the callee does not answer any more");
    }
}

#[test]
fn parties_without_timers_are_asked_for_a_sign_of_life() {
    let mut bench = Bench::new();
    let _ = bench.established();
    for _ in 0..3 {
        bench.advance(Duration::from_secs(900));
        for who in [ALICE, BOB] {
            answers_options(&mut bench, who);
        }
    }
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
    let mut bench = Bench::with("[call]\nsession_expires_s = 0\n");
    let _ = bench.established();
    bench.advance(Duration::from_secs(4_000));
    assert!(bench.phones[ALICE].has_nothing() && bench.phones[BOB].has_nothing());
}

#[test]
fn a_re_invite_that_is_passed_on_refreshes_both_legs() {
    let mut bench = Bench::new();
    let timer = [("Supported", "timer"), ("Session-Expires", "300;refresher=uac")];
    let bob = [("Session-Expires", "400;refresher=uas"), ("Require", "timer")];
    let (alice, _, _) = up(&mut bench, &timer, &bob);
    bench.advance(Duration::from_secs(250));
    let fields = Fields::new()
        .header("Supported", "timer")
        .header("Session-Expires", "300;refresher=uac")
        .body(BODY, sdp(4000));
    bench.in_dialog(ALICE, alice, Method::Invite, fields);
    let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
    let asked = invite.session_expires().unwrap();
    assert_eq!((asked.seconds, asked.refresher), (400, Some("uas")), "it stays with who had it");
    let reply = Reply::new(200).header("Session-Expires", "400;refresher=uas");
    bench.respond(BOB, tx, reply.body(BODY, sdp(5000)));
    let (_, _, ok) = bench.phones[ALICE].response(200);
    assert_eq!(ok.session_expires().unwrap().seconds, 300);
    bench.ack(ALICE, alice, Fields::new());
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    bench.advance(Duration::from_secs(260));
    assert!(bench.phones[BOB].has_nothing());
}

#[test]
fn an_update_becomes_a_re_invite_where_it_is_not_taken() {
    let mut bench = Bench::new();
    let (alice, _, ok) = up(&mut bench, &[], &[("Allow", "INVITE, ACK, BYE, CANCEL")]);
    assert!(ok.lists(Header::Allow, "UPDATE"));
    bench.in_dialog(ALICE, alice, Method::Update, Fields::new().body(BODY, sdp(4002)));
    let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
    assert_ne!(media_port(&invite), 4002);
    bench.respond(BOB, tx, Reply::new(200).body(BODY, sdp(5000)));
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    let (_, _, ok) = bench.phones[ALICE].response(200);
    assert_eq!(ok.method(), Method::Update);
    // Nothing is left open: Bob may offer.
    assert!(!ok.body().is_empty());
}

#[test]
fn the_longest_duration_ends_a_call() {
    let mut bench = Bench::with("[call]\nmax_duration_s = 60\n");
    let _ = bench.established();
    bench.advance(Duration::from_secs(61));
    bench.phones[ALICE].request(Method::Bye);
    bench.phones[BOB].request(Method::Bye);
    let record = bench.only_record();
    assert_eq!(
        (&*record.cause.text, record.duration_ms),
        ("longest duration reached", Some(60_000))
    );
}

#[test]
fn the_next_daemon_goes_on_refreshing() {
    for update in [true, false] {
        let mut bench = Bench::new();
        let allow = if update { "INVITE, BYE, UPDATE" } else { "INVITE, BYE" };
        let bob = [("Allow", allow), ("Session-Expires", "400;refresher=uac")];
        let _ = up(&mut bench, &[("Supported", "timer"), ("x", "1600;refresher=uac")], &bob);
        bench.advance(Duration::from_secs(150));
        bench.restart();
        let seconds = (0..100).take_while(|_| {
            bench.advance(Duration::from_secs(1));
            bench.phones[BOB].has_nothing()
        });
        assert!(seconds.count() < 100);
        let method = if update { Method::Update } else { Method::Invite };
        let (tx, _, refresh) = bench.phones[BOB].request(method);
        assert_eq!(refresh.session_expires().unwrap().seconds, 400);
        assert_eq!(refresh.body().is_empty(), update);
        let reply = Reply::new(200).header("Session-Expires", "400;refresher=uac");
        let reply = if update { reply } else { reply.body(BODY, sdp(5000)) };
        bench.respond(BOB, tx, reply);
        if !update {
            bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
        }
        assert!(bench.phones.iter().all(Phone::has_nothing));
        // Alice's own timer is known too.
        bench.phones[BOB].dark = true;
        bench.advance(Duration::from_secs(1_500));
        bench.phones[ALICE].request(Method::Bye);
    }
}
