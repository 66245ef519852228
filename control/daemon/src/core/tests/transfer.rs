//! REFER and Replaces: who talks to whom, who is told what, and what the records say.

use super::*;
use crate::record::ReleasedBy;

fn refer(to: &str) -> Fields {
    Fields::new().header("Refer-To", to)
}

/// The next NOTIFY of a phone: its state and its fragment.
fn notified(bench: &mut Bench, who: usize) -> (String, String) {
    let (tx, _, notify) = bench.phones[who].request(Method::Notify);
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    assert_eq!(notify.value(Header::ContentType), Some(&b"message/sipfrag;version=2.0"[..]));
    assert!(notify.has(Header::Contact));
    assert!(notify.value_str(Header::Event).unwrap().starts_with("refer"));
    let state = text(notify.value(Header::SubscriptionState).unwrap());
    let body = text(notify.body());
    bench.respond(who, tx, Reply::new(200));
    (state, body)
}

fn told(bench: &mut Bench, who: usize, status: u16) -> String {
    let (state, body) = notified(bench, who);
    assert!(body.starts_with(&format!("SIP/2.0 {status} ")), "{body}");
    state
}

/// A phone answers a re-INVITE; gives what it was offered.
fn reinvited(bench: &mut Bench, who: usize, port: u16) -> Message {
    let (tx, dialog, reinvite) = bench.phones[who].request(Method::Invite);
    assert!(dialog.is_some());
    bench.respond(who, tx, Reply::new(200).body("application/sdp", sdp(port)));
    bench.phones[who].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    reinvite
}

/// Whether nobody is asked for anything.
fn quiet(bench: &Bench) -> bool {
    let mut events = bench.phones.iter().flat_map(|phone| &phone.events);
    !events.any(|event| matches!(event, Event::Request { .. }))
}

fn bye(bench: &mut Bench, who: usize) {
    let (tx, _, _) = bench.phones[who].request(Method::Bye);
    bench.respond(who, tx, Reply::new(200));
}

fn hang_up(bench: &mut Bench, who: usize, dialog: DialogId, other: usize) {
    bench.in_dialog(who, dialog, Method::Bye, Fields::new());
    bench.phones[who].response(200);
    bye(bench, other);
}

/// Alice transfers Bob to Carol, who rings.
fn ringing() -> (Bench, DialogId, DialogId, ServerTx) {
    let mut bench = Bench::new();
    bench.register(CAROL);
    let (alice, bob) = bench.established();
    bench.in_dialog(ALICE, alice, Method::Refer, refer("<sip:carol@tandem>"));
    bench.phones[ALICE].response(202);
    assert!(told(&mut bench, ALICE, 100).starts_with("active;expires="));
    let (tx, _, invite) = bench.phones[CAROL].request(Method::Invite);
    assert_eq!(invite.from().unwrap().uri().as_str(), "sip:bob@tandem");
    assert_eq!(invite.value(Header::ReferredBy), Some(&b"<sip:alice@tandem>"[..]));
    assert!(media_port(&invite) >= 10_000, "our port, not Bob's");
    bench.respond(CAROL, tx, Reply::new(180));
    told(&mut bench, ALICE, 180);
    (bench, alice, bob, tx)
}

#[test]
fn blind_the_other_party_talks_to_the_target_and_the_transferor_is_out() {
    let (mut bench, _, bob, tx) = ringing();
    bench.advance(Duration::from_secs(3));
    assert!(bench.phones[BOB].has_nothing(), "nothing changes for Bob until Carol answers");
    let carol =
        bench.respond(CAROL, tx, Reply::new(200).body("application/sdp", sdp(6000))).unwrap();
    bench.phones[CAROL].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    assert_eq!(told(&mut bench, ALICE, 200), "terminated;reason=noresource");
    bye(&mut bench, ALICE);
    let offer = reinvited(&mut bench, BOB, 5002);
    assert_ne!(media_port(&offer), 6000);
    assert_eq!(bench.calls(), 1);
    assert_eq!(bench.link.state().put.len(), 2, "the media of the first call are over");
    bench.advance(Duration::from_secs(7));
    // The new call is a call like any other: hold, and the end.
    let held = Fields::new().body("application/sdp", held_sdp(6000));
    bench.in_dialog(CAROL, carol, Method::Invite, held);
    let (hold, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, hold, Reply::new(200).body("application/sdp", sdp(5002)));
    bench.phones[CAROL].response(200);
    bench.ack(CAROL, carol, Fields::new());
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    hang_up(&mut bench, BOB, bob, CAROL);
    assert!(quiet(&bench));
    assert!(bench.switch.calls.is_clean());
    let records = bench.records();
    let of = |at: usize| {
        let it: &CallRecord = &records[at];
        (it.from.as_str(), it.to.as_str(), it.cause.text.as_str(), it.cause.by)
    };
    assert_eq!(of(0), ("sip:alice@tandem", "sip:bob@tandem", "transferred", ReleasedBy::Caller));
    assert_eq!(of(1), ("sip:bob@tandem", "sip:carol@tandem", "hung up", ReleasedBy::Caller));
    assert_eq!(records[0].duration_ms, Some(3000));
    assert_eq!((records[1].ring_ms, records[1].duration_ms), (Some(3000), Some(7000)));
    assert_eq!(records[1].referred_by.as_deref(), Some("sip:alice@tandem"));
    assert_eq!(records[1].legs.len(), 2);
}

#[test]
fn a_target_that_is_busy_leaves_the_call_as_it_was() {
    let (mut bench, alice, _, tx) = ringing();
    bench.respond(CAROL, tx, Reply::new(486));
    assert_eq!(told(&mut bench, ALICE, 486), "terminated;reason=noresource");
    assert!(bench.phones[BOB].has_nothing());
    assert_eq!(bench.calls(), 1);
    // Another try: its number tells its NOTIFYs apart (RFC 3515 §2.4.6).
    bench.in_dialog(ALICE, alice, Method::Refer, refer("<sip:nobody@tandem>"));
    bench.phones[ALICE].response(202);
    let (_, _, first) = bench.phones[ALICE].request(Method::Notify);
    assert!(first.value_str(Header::Event).unwrap().starts_with("refer;id="));
    told(&mut bench, ALICE, 404);
    hang_up(&mut bench, ALICE, alice, BOB);
    assert!(bench.switch.calls.is_clean());
    let records = bench.records();
    assert_eq!(records.len(), 3);
    let mut statuses: Vec<_> = records.iter().map(|it| it.cause.sip_status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 404, 486]);
}

#[test]
fn a_transferor_that_hangs_up_at_once_does_not_end_it() {
    let (mut bench, alice, bob, tx) = ringing();
    bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
    bench.phones[ALICE].response(200);
    assert!(bench.phones[BOB].has_nothing());
    bench.respond(CAROL, tx, Reply::new(200).body("application/sdp", sdp(6000)));
    bench.phones[CAROL].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    reinvited(&mut bench, BOB, 5000);
    hang_up(&mut bench, BOB, bob, CAROL);
    assert!(quiet(&bench));
    assert!(bench.switch.calls.is_clean());
    let records = bench.records();
    assert_eq!((records[0].cause.text.as_str(), records.len()), ("transferred", 2));
}

#[test]
fn without_a_transferor_a_target_that_does_not_answer_ends_the_call_of_the_other_too() {
    let (mut bench, alice, _, tx) = ringing();
    bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
    bench.phones[ALICE].response(200);
    bench.respond(CAROL, tx, Reply::new(603));
    bye(&mut bench, BOB);
    assert!(bench.switch.calls.is_clean());
}

#[test]
fn who_is_transferred_may_hang_up_while_the_target_rings() {
    for transferor_left in [false, true] {
        let (mut bench, alice, bob, tx) = ringing();
        if transferor_left {
            bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
            bench.phones[ALICE].response(200);
        }
        bench.in_dialog(BOB, bob, Method::Bye, Fields::new());
        bench.phones[BOB].response(200);
        bench.phones[CAROL].take(|event| matches!(event, Event::Cancelled { .. }).then_some(()));
        bench.respond(CAROL, tx, Reply::new(487));
        if !transferor_left {
            told(&mut bench, ALICE, 487);
            bye(&mut bench, ALICE);
        }
        assert!(bench.switch.calls.is_clean(), "{transferor_left}");
        assert!(quiet(&bench));
    }
}

#[test]
fn who_is_on_hold_is_offered_as_one_who_talks() {
    let mut bench = Bench::new();
    bench.register(CAROL);
    let (alice, _) = bench.established();
    let held = Fields::new().body("application/sdp", held_sdp(4000));
    bench.in_dialog(ALICE, alice, Method::Invite, held);
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    let answer = String::from_utf8(sdp(5000)).unwrap().replace("sendrecv", "recvonly");
    bench.respond(BOB, tx, Reply::new(200).body("application/sdp", answer));
    bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice, Fields::new());
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    bench.in_dialog(ALICE, alice, Method::Refer, refer("<sip:carol@tandem>"));
    let (_, _, invite) = bench.phones[CAROL].request(Method::Invite);
    let text = String::from_utf8_lossy(invite.body()).into_owned();
    assert!(text.contains("a=sendrecv") && !text.contains("recvonly"), "{text}");
}

#[test]
fn nobody_is_told_if_nobody_wants_to_know() {
    let mut bench = Bench::new();
    bench.register(CAROL);
    let (alice, _) = bench.established();
    let fields = refer("<sip:carol@tandem>")
        .header("Refer-Sub", "false")
        .header("Referred-By", "\"A\" <sip:alice@example.com>;cid=1");
    bench.in_dialog(ALICE, alice, Method::Refer, fields);
    let (_, _, accepted) = bench.phones[ALICE].response(202);
    assert_eq!(accepted.value_named("Refer-Sub"), Some(&b"false"[..]));
    let (tx, _, invite) = bench.phones[CAROL].request(Method::Invite);
    assert_eq!(invite.value(Header::ReferredBy), Some(&b"\"A\" <sip:alice@example.com>;cid=1"[..]));
    bench.respond(CAROL, tx, Reply::new(200).body("application/sdp", sdp(6000)));
    bye(&mut bench, ALICE);
    let told = bench.phones[ALICE].events.iter().any(
        |event| matches!(event, Event::Request { request, .. } if request.method() == Method::Notify),
    );
    assert!(!told);
}

#[test]
fn what_policy_does_not_call_is_not_called_for_somebody_either() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    for (to, status) in [
        ("<sip:eve@elsewhere.example>", 404),
        ("<sips:bob@tandem>", 416),
        ("<sip:carol@tandem;method=BYE>", 403),
        ("nonsense", 400),
    ] {
        bench.in_dialog(ALICE, alice, Method::Refer, refer(to));
        bench.phones[ALICE].response(status);
    }
    assert!(bench.phones[BOB].has_nothing());
    assert_eq!(bench.calls(), 1);
}

#[test]
fn one_transfer_at_a_time_and_the_limit_of_calls_holds() {
    let (mut bench, alice, bob, _) = ringing();
    for (who, dialog) in [(ALICE, alice), (BOB, bob)] {
        bench.in_dialog(who, dialog, Method::Refer, refer("<sip:carol@tandem>"));
        bench.phones[who].response(491);
    }
    let mut bench = Bench::with("[call]\nmax_calls = 1\n");
    let (alice, _) = bench.established();
    bench.in_dialog(ALICE, alice, Method::Refer, refer("<sip:carol@tandem>"));
    bench.phones[ALICE].response(503);
}

#[test]
fn a_subscription_of_a_transfer_is_renewed_and_given_up() {
    let (mut bench, alice, _, tx) = ringing();
    let subscribe =
        |expires: &str| Fields::new().header("Event", "refer").header("Expires", expires);
    bench.in_dialog(ALICE, alice, Method::Subscribe, subscribe("60"));
    bench.phones[ALICE].response(200);
    told(&mut bench, ALICE, 180);
    bench.in_dialog(ALICE, alice, Method::Subscribe, subscribe("0"));
    bench.phones[ALICE].response(200);
    told(&mut bench, ALICE, 180);
    bench.respond(CAROL, tx, Reply::new(486));
    assert!(bench.phones[ALICE].has_nothing());
    bench.in_dialog(ALICE, alice, Method::Subscribe, subscribe("60"));
    bench.phones[ALICE].response(481);
}

#[test]
fn who_refuses_the_new_media_ends_the_new_call() {
    let (mut bench, _, _, tx) = ringing();
    bench.respond(CAROL, tx, Reply::new(200).body("application/sdp", sdp(6000)));
    told(&mut bench, ALICE, 200);
    bye(&mut bench, ALICE);
    let (reinvite, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, reinvite, Reply::new(488));
    bye(&mut bench, BOB);
    bye(&mut bench, CAROL);
    assert!(bench.switch.calls.is_clean());
}

#[test]
fn a_re_invite_that_meets_another_one_is_tried_again() {
    let (mut bench, _, bob, tx) = ringing();
    bench.respond(CAROL, tx, Reply::new(200).body("application/sdp", sdp(6000)));
    let (reinvite, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, reinvite, Reply::new(491));
    bench.advance(Duration::from_secs(5));
    reinvited(&mut bench, BOB, 5000);
    bench.phones[ALICE].events.clear();
    hang_up(&mut bench, BOB, bob, CAROL);
}

#[test]
fn a_hold_that_is_under_way_does_not_end_the_new_call() {
    let (mut bench, alice, bob, tx) = ringing();
    let held = Fields::new().body("application/sdp", held_sdp(4000));
    bench.in_dialog(ALICE, alice, Method::Invite, held);
    let (hold, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(CAROL, tx, Reply::new(200).body("application/sdp", sdp(6000)));
    bench.phones[ALICE].response(487);
    bye(&mut bench, ALICE);
    bench.respond(BOB, hold, Reply::new(200).body("application/sdp", sdp(5000)));
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    bench.advance(Duration::from_secs(1));
    reinvited(&mut bench, BOB, 5000);
    hang_up(&mut bench, BOB, bob, CAROL);
    assert!(bench.switch.calls.is_clean());
}

/// Alice has Bob in one call and Carol in another; gives her dialogs and theirs.
fn two_calls(bench: &mut Bench) -> [DialogId; 4] {
    bench.register(CAROL);
    let (to_bob, bob) = bench.established();
    bench.advance(Duration::from_secs(2));
    bench.invite(ALICE, "carol");
    let (tx, _, _) = bench.phones[CAROL].request(Method::Invite);
    let carol =
        bench.respond(CAROL, tx, Reply::new(200).body("application/sdp", sdp(6000))).unwrap();
    let (_, to_carol, _) = bench.phones[ALICE].response(200);
    let to_carol = to_carol.unwrap();
    bench.ack(ALICE, to_carol, Fields::new());
    bench.phones[CAROL].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    bench.advance(Duration::from_secs(3));
    [to_bob, bob, to_carol, carol]
}

/// What names a dialog of a phone for whoever is at its other end.
fn replaces(bench: &Bench, who: usize, dialog: DialogId) -> String {
    let dialog = bench.phones[who].stack.dialog(dialog).unwrap();
    format!("{};to-tag={};from-tag={}", dialog.call_id(), dialog.remote_tag(), dialog.local_tag())
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    tandem_signalling::uri::escape_header_into(&mut out, text);
    out
}

#[test]
fn attended_the_far_parties_are_joined_and_the_near_ones_released() {
    let mut bench = Bench::new();
    let [to_bob, bob, to_carol, carol] = two_calls(&mut bench);
    let named = escaped(&replaces(&bench, ALICE, to_carol));
    let fields = refer(&format!("<sip:carol@tandem?Replaces={named}>"));
    bench.in_dialog(ALICE, to_bob, Method::Refer, fields);
    bench.phones[ALICE].response(202);
    reinvited(&mut bench, CAROL, 6002);
    reinvited(&mut bench, BOB, 5002);
    told(&mut bench, ALICE, 100);
    assert_eq!(told(&mut bench, ALICE, 200), "terminated;reason=noresource");
    bye(&mut bench, ALICE);
    bye(&mut bench, ALICE);
    assert_eq!(bench.calls(), 1);
    assert_eq!(bench.link.state().put.len(), 2);
    bench.advance(Duration::from_secs(4));
    let info = Fields::new().body("text/plain", b"x".to_vec());
    bench.in_dialog(BOB, bob, Method::Info, info);
    let (tx, _, _) = bench.phones[CAROL].request(Method::Info);
    bench.respond(CAROL, tx, Reply::new(200));
    bench.phones[BOB].response(200);
    hang_up(&mut bench, CAROL, carol, BOB);
    assert!(bench.switch.calls.is_clean());
    assert!(quiet(&bench));
    let records = bench.records();
    let mut seen: Vec<_> = records
        .iter()
        .map(|it| (it.from.as_str(), it.to.as_str(), it.duration_ms, it.cause.text.as_str()))
        .collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            ("sip:alice@tandem", "sip:bob@tandem", Some(5000), "transferred"),
            ("sip:alice@tandem", "sip:carol@tandem", Some(3000), "transferred"),
            ("sip:bob@tandem", "sip:carol@tandem", Some(4000), "hung up"),
        ]
    );
}

#[test]
fn attended_a_party_that_refuses_leaves_both_calls() {
    let mut bench = Bench::new();
    let [to_bob, _, to_carol, _] = two_calls(&mut bench);
    let named = escaped(&replaces(&bench, ALICE, to_carol));
    let fields = refer(&format!("<sip:carol@tandem?Replaces={named}>"));
    bench.in_dialog(ALICE, to_bob, Method::Refer, fields);
    let (tx, _, _) = bench.phones[CAROL].request(Method::Invite);
    bench.respond(CAROL, tx, Reply::new(488));
    bench.phones[ALICE].response(202);
    told(&mut bench, ALICE, 100);
    told(&mut bench, ALICE, 488);
    assert_eq!(bench.calls(), 2);
    hang_up(&mut bench, ALICE, to_bob, BOB);
    hang_up(&mut bench, ALICE, to_carol, CAROL);
    assert!(bench.switch.calls.is_clean());
}

#[test]
fn attended_the_transferor_may_hang_up_both_at_once() {
    let mut bench = Bench::new();
    let [to_bob, bob, to_carol, _] = two_calls(&mut bench);
    let named = escaped(&replaces(&bench, ALICE, to_carol));
    let fields = refer(&format!("<sip:carol@tandem?Replaces={named}>"));
    bench.in_dialog(ALICE, to_bob, Method::Refer, fields);
    let (tx, _, _) = bench.phones[CAROL].request(Method::Invite);
    for dialog in [to_carol, to_bob] {
        bench.in_dialog(ALICE, dialog, Method::Bye, Fields::new());
        bench.phones[ALICE].response(200);
    }
    assert!(bench.phones[BOB].has_nothing());
    bench.respond(CAROL, tx, Reply::new(200).body("application/sdp", sdp(6002)));
    reinvited(&mut bench, BOB, 5002);
    bench.phones[CAROL].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    hang_up(&mut bench, BOB, bob, CAROL);
    assert!(bench.switch.calls.is_clean());
}

#[test]
fn a_replaces_of_a_call_elsewhere_goes_on_to_the_target() {
    let mut bench = Bench::new();
    bench.register(CAROL);
    let (alice, _) = bench.established();
    let named = escaped("far@elsewhere;to-tag=1;from-tag=2");
    let fields = refer(&format!("<sip:carol@tandem?Replaces={named}>"));
    bench.in_dialog(ALICE, alice, Method::Refer, fields);
    let (_, _, invite) = bench.phones[CAROL].request(Method::Invite);
    let value = invite.value(Header::Replaces).unwrap();
    assert_eq!(value, b"far@elsewhere;to-tag=1;from-tag=2");
}

#[test]
fn invite_with_replaces_takes_the_place_of_a_party() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    bench.advance(Duration::from_secs(2));
    let named = replaces(&bench, BOB, bob);
    bench.invite_with(CAROL, "bob", |request| {
        request
            .from("<sip:carol@tandem>")
            .header("Replaces", &named)
            .header("Require", "replaces")
            .body("application/sdp", sdp(6000))
    });
    reinvited(&mut bench, ALICE, 4002);
    let (_, carol, _) = bench.phones[CAROL].response(200);
    bench.ack(CAROL, carol.unwrap(), Fields::new());
    bye(&mut bench, BOB);
    assert_eq!(bench.calls(), 1);
    bench.advance(Duration::from_secs(4));
    hang_up(&mut bench, ALICE, alice, CAROL);
    assert!(bench.switch.calls.is_clean());
    assert!(quiet(&bench));
    let records = bench.records();
    let seen: Vec<_> =
        records.iter().map(|it| (it.from.as_str(), it.to.as_str(), it.duration_ms)).collect();
    assert_eq!(
        seen,
        [
            ("sip:alice@tandem", "sip:bob@tandem", Some(2000)),
            ("sip:carol@tandem", "sip:alice@tandem", Some(4000)),
        ]
    );
    assert_eq!(records[0].cause.text, "replaced");
}

#[test]
fn replaces_of_what_cannot_be_replaced_is_refused() {
    let mut bench = Bench::new();
    let (_, bob) = bench.established();
    let named = replaces(&bench, BOB, bob);
    let mut again = 0;
    let mut refused = |rows: &[(&str, &str)], status| {
        again += 1;
        bench.advance(Duration::from_millis(again));
        bench.invite_with(CAROL, "bob", |request| {
            let request = request.from("<sip:carol@tandem>");
            rows.iter()
                .fold(request, |request, (name, value)| request.header(name, value))
                .body("application/sdp", sdp(6000))
        });
        bench.phones[CAROL].response(status);
    };
    refused(&[("Replaces", "unknown@x;to-tag=1;from-tag=2")], 481);
    refused(&[("Replaces", &format!("{named};early-only"))], 486);
    refused(&[("Replaces", &named), ("Replaces", &named)], 400);
    refused(&[("Replaces", &named), ("Join", &named)], 400);
    refused(&[("Replaces", "nonsense")], 400);
    assert_eq!(bench.calls(), 1);
    assert!(bench.phones[BOB].has_nothing());
}
