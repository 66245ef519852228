//! Several phones of one user.

use super::*;

fn ringing(bench: &mut Bench) -> (ServerTx, ServerTx) {
    bench.register(BOB);
    bench.register(BOB2);
    bench.invite(ALICE, "bob");
    let (first, _, _) = bench.phones[BOB].request(Method::Invite);
    let (second, _, _) = bench.phones[BOB2].request(Method::Invite);
    bench.respond(BOB, first, Reply::new(180));
    bench.respond(BOB2, second, Reply::new(180));
    bench.phones[ALICE].response(180);
    bench.phones[ALICE].response(180);
    (first, second)
}

#[test]
fn both_ring_and_the_loser_is_cancelled() {
    let mut bench = Bench::new();
    let (first, second) = ringing(&mut bench);
    bench.respond(BOB2, second, Reply::new(200).body("application/sdp", sdp(5000)));
    let (_, alice, _) = bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    bench.phones[BOB].take(|event| matches!(event, Event::Cancelled { .. }).then_some(()));
    bench.respond(BOB, first, Reply::new(487));
    bench.phones[BOB2].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
    assert_eq!(bench.link.state().put.len(), 2);
    bench.in_dialog(ALICE, alice.unwrap(), Method::Bye, Fields::new());
    let (tx, _, _) = bench.phones[BOB2].request(Method::Bye);
    bench.respond(BOB2, tx, Reply::new(200));
    assert_eq!(bench.calls(), 0);
    let legs: Vec<_> = bench.only_record().legs.iter().map(|leg| leg.leg.clone()).collect();
    assert!(legs.contains(&"caller".to_owned()) && legs.contains(&"callee".to_owned()), "{legs:?}");
}

#[test]
fn two_answers_at_once_leave_one_call() {
    let mut bench = Bench::new();
    let (first, second) = ringing(&mut bench);
    for (who, tx) in [(BOB, first), (BOB2, second)] {
        let answer = Reply::new(200).body("application/sdp", sdp(5000));
        bench.phones[who].stack.respond(bench.now, tx, answer).unwrap();
    }
    bench.pump();
    let (_, alice, _) = bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    for who in [BOB, BOB2] {
        bench.phones[who].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    }
    let loser = if bench.phones[BOB].has_nothing() { BOB2 } else { BOB };
    let (tx, _, _) = bench.phones[loser].request(Method::Bye);
    bench.respond(loser, tx, Reply::new(200));
    let stats = bench.switch.stats(None);
    assert_eq!((stats.calls_answered, stats.sip.dialogs), (1, 2));
}

#[test]
fn one_busy_phone_does_not_stop_the_other() {
    let mut bench = Bench::new();
    let (first, second) = ringing(&mut bench);
    bench.respond(BOB, first, Reply::new(486));
    assert!(bench.phones[ALICE].has_nothing());
    bench.respond(BOB2, second, Reply::new(480));
    bench.phones[ALICE].response(486);
    assert_eq!(bench.calls(), 0);
}

#[test]
fn a_decline_stops_all() {
    let mut bench = Bench::new();
    let (first, second) = ringing(&mut bench);
    bench.respond(BOB, first, Reply::new(603));
    bench.phones[ALICE].response(603);
    bench.phones[BOB2].take(|event| matches!(event, Event::Cancelled { .. }).then_some(()));
    bench.respond(BOB2, second, Reply::new(487));
    assert_eq!(bench.calls(), 0);
}

#[test]
fn priorities_ring_one_after_the_other() {
    let mut bench = Bench::with("[call]\nring = \"by_priority\"\nring_next_s = 10\n");
    let low = format!("{};q=0.5", bench.phones[BOB].contact());
    bench.register_with(BOB, &[("Contact", &low)], 200);
    bench.register(BOB2);
    bench.invite(ALICE, "bob");
    let (second, _, _) = bench.phones[BOB2].request(Method::Invite);
    assert!(bench.phones[BOB].has_nothing());
    bench.respond(BOB2, second, Reply::new(180));
    bench.advance(Duration::from_secs(11));
    bench.phones[BOB2].take(|event| matches!(event, Event::Cancelled { .. }).then_some(()));
    bench.respond(BOB2, second, Reply::new(487));
    let (first, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, first, Reply::new(200).body("application/sdp", sdp(5000)));
    bench.phones[ALICE].response(200);
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
}

#[test]
fn early_media_of_two_phones_reaches_the_caller_and_the_winner_stays() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.register(BOB2);
    bench.invite(ALICE, "bob");
    let (first, _, _) = bench.phones[BOB].request(Method::Invite);
    let (second, _, _) = bench.phones[BOB2].request(Method::Invite);
    for (who, tx) in [(BOB, first), (BOB2, second)] {
        bench.respond(who, tx, Reply::new(183).body("application/sdp", sdp(5000)));
        bench.phones[ALICE].response(183);
    }
    bench.respond(BOB, first, Reply::new(200).body("application/sdp", sdp(5000)));
    bench.phones[ALICE].response(200);
    bench.phones[BOB2].take(|event| matches!(event, Event::Cancelled { .. }).then_some(()));
    bench.respond(BOB2, second, Reply::new(487));
    assert_eq!(bench.link.state().put.len(), 2);
}
