//! Subscriptions are carried between the phones, both ways, until they are over.

use super::*;

/// Alice subscribes to Bob's state, who accepts; gives their dialogs.
fn subscribed(bench: &mut Bench) -> (DialogId, DialogId) {
    bench.register(BOB);
    let (tx, _) = subscribe(bench);
    let ok = Reply::new(200).header("Expires", "600");
    let bob = bench.respond(BOB, tx, ok).unwrap();
    let (_, alice, ok) = bench.phones[ALICE].response(200);
    assert_eq!(ok.expires(), Some(600));
    assert!(ok.has(Header::Contact));
    (alice.unwrap(), bob)
}

/// Alice's SUBSCRIBE at Bob's phone.
fn subscribe(bench: &mut Bench) -> (ServerTx, Message) {
    let uri = "sip:bob@tandem";
    let request = |bench: &Bench, cseq| {
        NewRequest::new(Method::Subscribe, uri)
            .from(bench.phones[ALICE].aor())
            .to(format!("<{uri}>"))
            .call_id("subscription")
            .from_tag("tag-of-alice")
            .cseq(cseq)
            .header("Event", "dialog;call-id=x")
            .header("Accept", "application/dialog-info+xml")
            .header("Expires", "600")
    };
    let first = request(bench, 1);
    bench.send(ALICE, first);
    let (_, _, challenge) = bench.phones[ALICE].response(407);
    let (name, value) = bench.credentials(ALICE, &challenge, "SUBSCRIBE", uri);
    let second = request(bench, 2).header(name, value);
    bench.send(ALICE, second);
    let (tx, _, subscribe) = bench.phones[BOB].request(Method::Subscribe);
    assert_eq!(subscribe.value(Header::Event), Some(&b"dialog;call-id=x"[..]));
    assert_eq!(subscribe.expires(), Some(600));
    assert!(subscribe.has(Header::Contact) && subscribe.has(Header::Accept));
    (tx, subscribe)
}

fn notify(state: &str) -> Fields {
    Fields::new()
        .header("Event", "dialog;call-id=x")
        .header("Subscription-State", state)
        .body("application/dialog-info+xml", b"<dialog-info/>".to_vec())
}

/// Bob's phone notifies, Alice's answers.
fn notified(bench: &mut Bench, bob: DialogId, state: &str, status: u16) {
    bench.in_dialog(BOB, bob, Method::Notify, notify(state));
    let (tx, dialog, got) = bench.phones[ALICE].request(Method::Notify);
    assert!(dialog.is_some());
    assert_eq!(got.body(), b"<dialog-info/>");
    assert_eq!(got.value(Header::SubscriptionState), Some(state.as_bytes()));
    bench.respond(ALICE, tx, Reply::new(status));
    bench.phones[BOB].response(status);
}

fn count(bench: &Bench) -> (usize, usize) {
    (bench.switch.relays.subscriptions(), bench.switch.world.stack.counters().dialogs)
}

#[test]
fn notifications_and_refreshes_go_through_until_the_last_one() {
    let mut bench = Bench::new();
    let (alice, bob) = subscribed(&mut bench);
    assert_eq!(count(&bench), (1, 2));
    notified(&mut bench, bob, "active;expires=600", 200);
    bench.advance(Duration::from_secs(590));
    let again = Fields::new().header("Event", "dialog;call-id=x").header("Expires", "600");
    bench.in_dialog(ALICE, alice, Method::Subscribe, again);
    let (tx, _, refresh) = bench.phones[BOB].request(Method::Subscribe);
    assert_eq!(refresh.expires(), Some(600));
    bench.respond(BOB, tx, Reply::new(200).header("Expires", "600"));
    bench.phones[ALICE].response(200);
    bench.advance(Duration::from_secs(300));
    notified(&mut bench, bob, "active;expires=300", 200);
    let over = Fields::new().header("Event", "dialog;call-id=x").header("Expires", "0");
    bench.in_dialog(ALICE, alice, Method::Subscribe, over);
    let (tx, _, _) = bench.phones[BOB].request(Method::Subscribe);
    bench.respond(BOB, tx, Reply::new(200).header("Expires", "0"));
    bench.phones[ALICE].response(200);
    notified(&mut bench, bob, "terminated;reason=timeout", 200);
    assert_eq!(count(&bench), (0, 0));
    bench.in_dialog(BOB, bob, Method::Notify, notify("active"));
    bench.phones[BOB].response(481);
}

#[test]
fn a_notify_may_come_before_the_answer() {
    let mut bench = Bench::new();
    bench.register(BOB);
    let (tx, subscribe) = subscribe(&mut bench);
    // Bob's phone says 200 and notifies; the network turns them around.
    let bob = bench.phones[BOB].stack.respond(bench.now, tx, Reply::new(200)).unwrap().unwrap();
    let Some(Output::Transmit { bytes: ok, .. }) = bench.phones[BOB].stack.poll_output() else {
        panic!()
    };
    let active = notify("active;expires=600");
    bench.phones[BOB].stack.request_in_dialog(bench.now, bob, Method::Notify, active).unwrap();
    bench.pump();
    assert!(bench.phones[ALICE].has_nothing(), "it waits: Alice has no dialog yet");
    let from = Flow::udp(SERVER.parse().unwrap(), bench.phones[BOB].addr);
    bench.switch.handle_input(from, &ok);
    bench.pump();
    bench.phones[ALICE].response(200);
    let (tx, dialog, _) = bench.phones[ALICE].request(Method::Notify);
    assert!(dialog.is_some());
    bench.respond(ALICE, tx, Reply::new(200));
    bench.phones[BOB].response(200);
    assert_eq!(count(&bench), (1, 2));
    assert!(subscribe.from_tag().is_some());
}

#[test]
fn who_does_not_know_the_subscription_ends_it() {
    let mut bench = Bench::new();
    let (_, bob) = subscribed(&mut bench);
    notified(&mut bench, bob, "active", 481);
    assert_eq!(count(&bench), (0, 0));
    let mut bench = Bench::new();
    let (_, bob) = subscribed(&mut bench);
    bench.phones[ALICE].dark = true;
    bench.in_dialog(BOB, bob, Method::Notify, notify("active"));
    bench.advance(Duration::from_secs(40));
    assert_eq!(count(&bench), (0, 0));
}

#[test]
fn a_subscription_that_nobody_refreshes_ends() {
    let mut bench = Bench::new();
    let _ = subscribed(&mut bench);
    bench.advance(Duration::from_secs(620));
    assert_eq!(count(&bench), (1, 2));
    bench.advance(Duration::from_secs(30));
    assert_eq!(count(&bench), (0, 0));
}

#[test]
fn a_package_that_the_phone_does_not_know_is_refused_in_its_words() {
    let mut bench = Bench::new();
    bench.register(BOB);
    let (tx, _) = subscribe(&mut bench);
    bench.respond(BOB, tx, Reply::new(489).header("Allow-Events", "presence"));
    bench.phones[ALICE].response(489);
    assert_eq!(count(&bench), (0, 0));
    assert!(bench.switch.relays.is_empty());
}

#[test]
fn subscriptions_are_limited() {
    let mut bench = Bench::with("[sip]\nmax_subscriptions = 1\n");
    let _ = subscribed(&mut bench);
    bench.send(CAROL, NewRequest::new(Method::Subscribe, "sip:bob@tandem"));
    let (_, _, response) = bench.phones[CAROL].response(503);
    let warning = String::from_utf8_lossy(response.value(Header::Warning).unwrap()).into_owned();
    assert!(warning.contains("sip.max_subscriptions"), "{warning}");
}
