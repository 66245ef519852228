//! 3xx answers are followed, within limits.

use super::*;

/// Bob's phone answers with 302 to these contacts.
fn moved(bench: &mut Bench, contacts: &[&str]) -> Message {
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
    let reply = contacts.iter().fold(Reply::new(302), |reply, it| reply.header("Contact", it));
    bench.respond(BOB, tx, reply);
    invite
}

#[test]
fn a_call_follows_to_another_user_and_tells_where_it_came_from() {
    let mut bench = Bench::new();
    bench.register(CAROL);
    moved(&mut bench, &["<sip:carol@tandem>"]);
    let (tx, _, invite) = bench.phones[CAROL].request(Method::Invite);
    let rows = String::from_utf8_lossy(invite.bytes()).into_owned();
    assert!(rows.contains("History-Info: <sip:bob@tandem?Reason=SIP%3Bcause%3D302"), "{rows}");
    assert!(rows.contains("History-Info: <sip:carol@tandem>;index=1.1;mp=1\r\n"), "{rows}");
    assert!(rows.contains("Diversion: <sip:bob@tandem>;reason=unconditional;counter=1\r\n"));
    assert!(!rows.contains("192.0.2.52"), "an address of Bob's phone: {rows}");
    bench.respond(CAROL, tx, Reply::new(180));
    bench.phones[ALICE].response(180);
    bench.respond(CAROL, tx, Reply::new(200).body("application/sdp", sdp(6000)));
    let (_, alice, _) = bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    assert_eq!(bench.link.state().put.len(), 2);
    bench.in_dialog(ALICE, alice.unwrap(), Method::Bye, Fields::new());
    let (tx, _, _) = bench.phones[CAROL].request(Method::Bye);
    bench.respond(CAROL, tx, Reply::new(200));
    let record = bench.only_record();
    assert_eq!((record.from.as_str(), record.to.as_str()), ("sip:alice@tandem", "sip:bob@tandem"));
    assert_eq!(record.cause.sip_status, 200);
}

#[test]
fn contacts_ring_in_the_order_of_their_q_and_a_phone_may_be_named_by_its_own_address() {
    let mut bench = Bench::new();
    bench.register(CAROL);
    bench.register(BOB2);
    let second = format!("{};q=0.2", bench.phones[BOB2].contact());
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    // Both of Bob's phones ring; the first one points to Carol, the second one is busy.
    let (first, _, _) = bench.phones[BOB].request(Method::Invite);
    let (busy, _, _) = bench.phones[BOB2].request(Method::Invite);
    let reply = Reply::new(302)
        .header("Contact", &second)
        .header("Contact", format!("<sip:carol@{};ob>;q=0.1", bench.phones[CAROL].own))
        .header("Contact", format!("{};q=0.7", bench.phones[CAROL].contact()));
    bench.respond(BOB, first, reply);
    let (carol, _, _) = bench.phones[CAROL].request(Method::Invite);
    bench.respond(BOB2, busy, Reply::new(486));
    assert!(bench.phones[BOB2].has_nothing(), "called only once");
    bench.respond(CAROL, carol, Reply::new(404));
    let (_, _, failure) = bench.phones[ALICE].response(302);
    let contacts: Vec<_> = failure.values(Header::Contact).collect();
    assert_eq!(contacts.len(), 2, "those that were not called");
    assert_eq!(bench.calls(), 0);
}

#[test]
fn what_policy_does_not_call_is_handed_to_the_caller() {
    let mut bench = Bench::new();
    moved(&mut bench, &["<sip:eve@203.0.113.9>", "<tel:+123>", "<sips:carol@tandem>"]);
    let (_, _, response) = bench.phones[ALICE].response(302);
    assert_eq!(response.values(Header::Contact).count(), 3);
    assert_eq!(bench.calls(), 0);
}

#[test]
fn loops_end() {
    let mut bench = Bench::new();
    bench.register(CAROL);
    moved(&mut bench, &["<sip:carol@tandem>"]);
    let (tx, _, _) = bench.phones[CAROL].request(Method::Invite);
    bench.respond(CAROL, tx, Reply::new(302).header("Contact", "<sip:bob@tandem>"));
    bench.phones[ALICE].response(302);
    assert!(bench.phones[BOB].has_nothing());
    assert_eq!(bench.calls(), 0);
}

#[test]
fn redirections_in_a_row_are_counted() {
    for (limit, followed) in [(0, false), (1, true)] {
        let mut bench = Bench::with(&format!("[call]\nmax_redirects = {limit}\n"));
        bench.register(CAROL);
        moved(&mut bench, &["<sip:carol@tandem>"]);
        if followed {
            // The phone comes back at another address: a new place, but one step too many.
            let (tx, _, _) = bench.phones[CAROL].request(Method::Invite);
            bench.register(BOB2);
            bench.respond(CAROL, tx, Reply::new(302).header("Contact", "<sip:bob@tandem>"));
            assert!(bench.phones[BOB2].has_nothing());
        }
        bench.phones[ALICE].response(302);
        assert_eq!(bench.calls(), 0);
    }
}

#[test]
fn the_caller_may_give_up_while_the_target_rings() {
    let mut bench = Bench::new();
    bench.register(CAROL);
    bench.register(BOB);
    let call = bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(302).header("Contact", "<sip:carol@tandem>"));
    let (tx, _, _) = bench.phones[CAROL].request(Method::Invite);
    bench.respond(CAROL, tx, Reply::new(180));
    bench.phones[ALICE].response(180);
    let reason = Fields::new().header("Reason", "Q.850;cause=31");
    bench.phones[ALICE].stack.cancel(bench.now, call, reason).unwrap();
    bench.pump();
    let cancel = bench.phones[CAROL].take(|event| match event {
        Event::Cancelled { request, .. } => Some(request.clone()),
        _ => None,
    });
    assert_eq!(cancel.value(Header::Reason), Some(&b"Q.850;cause=31"[..]));
    bench.respond(CAROL, tx, Reply::new(487));
    bench.phones[ALICE].response(487);
    assert_eq!(bench.calls(), 0);
}
