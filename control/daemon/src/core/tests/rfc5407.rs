//! Race conditions of RFC 5407, by section. Alice's leg is the one that the document shows, with
//! Tandem as the callee, unless Bob is named.

use super::*;

const BODY: &str = "application/sdp";

fn fields(port: u16) -> Fields {
    Fields::new().body(BODY, sdp(port))
}

/// What reaches Alice is lost while this is done.
fn unheard<T>(bench: &mut Bench, work: impl FnOnce(&mut Bench) -> T) -> T {
    bench.phones[ALICE].dark = true;
    let outcome = work(bench);
    bench.phones[ALICE].dark = false;
    outcome
}

/// Alice rings at Bob; gives her INVITE and his transaction.
fn ringing(bench: &mut Bench) -> (ClientTx, DialogId, ServerTx) {
    bench.register(BOB);
    let invite = bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(180));
    let (_, alice, _) = bench.phones[ALICE].response(180);
    (invite, alice.unwrap(), tx)
}

fn answer(bench: &mut Bench, tx: ServerTx) -> DialogId {
    let bob = bench.respond(BOB, tx, Reply::new(200).body(BODY, sdp(5000))).unwrap();
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    bob
}

/// Time goes by until nobody repeats anything; nothing is left.
fn settle(bench: &mut Bench) {
    bench.advance(Duration::from_secs(70));
    assert!(bench.switch.calls.is_clean());
    assert_eq!(bench.switch.stats(None).sip.dialogs, 0);
    assert_eq!(bench.records().len(), 1);
}

#[test]
fn s3_1_1_the_invite_comes_again_after_the_200() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    unheard(&mut bench, |bench| answer(bench, tx));
    bench.advance(Duration::from_millis(600));
    let (_, alice, _) = bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    bench.advance(Duration::from_secs(40));
    assert!(bench.phones.iter().all(Phone::has_nothing));
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
}

#[test]
fn s3_1_2_a_cancel_comes_after_the_200() {
    let mut bench = Bench::new();
    let (invite, _, tx) = ringing(&mut bench);
    unheard(&mut bench, |bench| answer(bench, tx));
    bench.phones[ALICE].stack.cancel(bench.now, invite, Fields::new()).unwrap();
    bench.advance(Duration::from_millis(600));
    // The CANCEL changes nothing; the 200 comes again.
    let (_, alice, _) = bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    bench.in_dialog(ALICE, alice.unwrap(), Method::Bye, Fields::new());
    let (bye, _, _) = bench.phones[BOB].request(Method::Bye);
    bench.respond(BOB, bye, Reply::new(200));
    settle(&mut bench);
}

#[test]
fn s3_1_3_an_early_bye_comes_after_the_200() {
    let mut bench = Bench::new();
    let (_, alice, tx) = ringing(&mut bench);
    unheard(&mut bench, |bench| answer(bench, tx));
    bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
    let (bye, _, _) = bench.phones[BOB].request(Method::Bye);
    bench.respond(BOB, bye, Reply::new(200));
    settle(&mut bench);
}

#[test]
fn s3_1_4_a_re_invite_overtakes_the_ack() {
    let mut bench = Bench::new();
    let (_, alice, tx) = ringing(&mut bench);
    answer(&mut bench, tx);
    bench.phones[ALICE].response(200);
    unheard(&mut bench, |bench| bench.ack(ALICE, alice, Fields::new()));
    bench.in_dialog(ALICE, alice, Method::Invite, fields(4002));
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    answer(&mut bench, tx);
    bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice, Fields::new());
    bench.advance(Duration::from_secs(40));
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
    assert!(bench.phones.iter().all(Phone::has_nothing));
}

#[test]
fn s3_1_5_a_re_invite_overtakes_the_ack_with_the_answer() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite_with(ALICE, "bob", |request| request);
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(200).body(BODY, sdp(5000)));
    let (_, alice, _) = bench.phones[ALICE].response(200);
    let alice = alice.unwrap();
    unheard(&mut bench, |bench| bench.ack(ALICE, alice, fields(4000)));
    bench.in_dialog(ALICE, alice, Method::Invite, fields(4002));
    bench.phones[ALICE].response(491);
    // The 200 comes again and brings the ACK, with which the call is up.
    bench.advance(Duration::from_secs(1));
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
}

#[test]
fn s3_1_6_a_bye_overtakes_the_ack() {
    let mut bench = Bench::new();
    let (_, alice, tx) = ringing(&mut bench);
    answer(&mut bench, tx);
    bench.phones[ALICE].response(200);
    unheard(&mut bench, |bench| bench.ack(ALICE, alice, Fields::new()));
    bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
    bench.phones[ALICE].response(200);
    let (bye, _, _) = bench.phones[BOB].request(Method::Bye);
    bench.respond(BOB, bye, Reply::new(200));
    settle(&mut bench);
}

#[test]
fn s3_2_1_both_hang_up() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    for (who, dialog) in [(ALICE, alice), (BOB, bob)] {
        let stack = &mut bench.phones[who].stack;
        stack.request_in_dialog(bench.now, dialog, Method::Bye, Fields::new()).unwrap();
    }
    bench.pump();
    settle(&mut bench);
}

#[test]
fn s3_2_2_a_re_invite_crosses_the_bye() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    for (who, dialog, method) in [(ALICE, alice, Method::Bye), (BOB, bob, Method::Invite)] {
        let stack = &mut bench.phones[who].stack;
        stack.request_in_dialog(bench.now, dialog, method, fields(5002)).unwrap();
    }
    bench.pump();
    // Whichever the stack saw first: Bob's offer fails, and he is hung up.
    let failed = bench.phones[BOB].take(|event| match event {
        Event::Response { response, .. } if response.method() == Method::Invite => {
            response.status()
        }
        _ => None,
    });
    assert!(matches!(failed, 481 | 487), "{failed}");
    // His 481 has ended the dialog for him already, so that his stack answers the BYE.
    bench.phones[BOB].request(Method::Bye);
    settle(&mut bench);
}

#[test]
fn s3_2_3_the_200_to_a_re_invite_crosses_the_bye() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    bench.in_dialog(ALICE, alice, Method::Invite, fields(4002));
    let (reinvite, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.phones[BOB]
        .stack
        .respond(bench.now, reinvite, Reply::new(200).body(BODY, sdp(5000)))
        .unwrap();
    bench.phones[ALICE]
        .stack
        .request_in_dialog(bench.now, alice, Method::Bye, Fields::new())
        .unwrap();
    bench.pump();
    let (bye, _, _) = bench.phones[BOB].request(Method::Bye);
    bench.respond(BOB, bye, Reply::new(200));
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    settle(&mut bench);
}

#[test]
fn s3_2_4_the_ack_crosses_the_bye_of_the_callee() {
    let mut bench = Bench::new();
    let (_, alice, tx) = ringing(&mut bench);
    let bob = answer(&mut bench, tx);
    bench.phones[ALICE].response(200);
    // Our BYE to Alice waits for her ACK, which is on its way.
    bench.in_dialog(BOB, bob, Method::Bye, Fields::new());
    bench.phones[BOB].response(200);
    assert!(bench.phones[ALICE].has_nothing());
    bench.ack(ALICE, alice, Fields::new());
    let (bye, _, _) = bench.phones[ALICE].request(Method::Bye);
    bench.respond(ALICE, bye, Reply::new(200));
    settle(&mut bench);
}

/// Both ask at once.
fn cross(bench: &mut Bench, asked: [(usize, DialogId, Method, Fields); 2]) {
    for (who, dialog, method, fields) in asked {
        let stack = &mut bench.phones[who].stack;
        stack.request_in_dialog(bench.now, dialog, method, fields).unwrap();
    }
    bench.pump();
}

/// One offer goes through.
fn offers(bench: &mut Bench, who: usize, dialog: DialogId, method: Method) {
    let other = if who == ALICE { BOB } else { ALICE };
    bench.in_dialog(who, dialog, method, fields(4010));
    let (tx, _, _) = bench.phones[other].request(method);
    bench.respond(other, tx, Reply::new(200).body(BODY, sdp(5010)));
    bench.phones[who].response(200);
    if method == Method::Invite {
        bench.ack(who, dialog, Fields::new());
        bench.phones[other].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    }
}

#[test]
fn s3_3_1_re_invites_cross_between_the_legs() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    // Both are lost at first, so that Bob's and ours meet on their way.
    bench.phones[BOB].dark = true;
    cross(
        &mut bench,
        [(ALICE, alice, Method::Invite, fields(4002)), (BOB, bob, Method::Invite, fields(5002))],
    );
    bench.phones[BOB].dark = false;
    bench.advance(Duration::from_millis(500));
    bench.phones[ALICE].response(491);
    bench.phones[BOB].response(491);
    // Alice owns the Call-ID of her leg, Bob does not own his: they try again at different times.
    let (late, soon) =
        (bench.phones[ALICE].stack.glare_delay(alice), bench.phones[BOB].stack.glare_delay(bob));
    assert!(late >= Duration::from_millis(2_100) && soon <= Duration::from_secs(2));
    bench.advance(soon);
    offers(&mut bench, BOB, bob, Method::Invite);
    bench.advance(late - soon);
    offers(&mut bench, ALICE, alice, Method::Invite);
}

#[test]
fn s3_3_2_an_update_crosses_a_re_invite() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    cross(
        &mut bench,
        [(ALICE, alice, Method::Update, fields(4002)), (BOB, bob, Method::Invite, fields(5002))],
    );
    // Alice's UPDATE was passed on; Bob's re-INVITE met it.
    bench.phones[BOB].response(491);
    let (update, _, _) = bench.phones[BOB].request(Method::Update);
    bench.respond(BOB, update, Reply::new(491));
    bench.phones[ALICE].response(491);
    offers(&mut bench, BOB, bob, Method::Invite);
    offers(&mut bench, ALICE, alice, Method::Update);
}

#[test]
fn s3_3_3_a_request_without_an_offer_crosses_a_re_invite() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    cross(
        &mut bench,
        [(ALICE, alice, Method::Invite, fields(4002)), (BOB, bob, Method::Info, Fields::new())],
    );
    let (info, _, _) = bench.phones[ALICE].request(Method::Info);
    let (reinvite, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(ALICE, info, Reply::new(200));
    bench.phones[BOB].response(200);
    answer(&mut bench, reinvite);
    bench.phones[ALICE].response(200);
}
