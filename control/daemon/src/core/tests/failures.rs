//! Calls that do not come about.

use super::*;
use crate::record::ReleasedBy;

fn refused(bench: &mut Bench, edit: impl Fn(NewRequest) -> NewRequest, status: u16) -> Message {
    let request = edit(bench.invite_request(ALICE, "bob"));
    bench.send(ALICE, request);
    bench.phones[ALICE].response(status).2
}

#[test]
fn an_unknown_user_is_404_and_one_without_a_phone_480() {
    for (to, status) in [("nobody", 404), ("bob", 480)] {
        let mut bench = Bench::new();
        bench.invite(ALICE, to);
        bench.phones[ALICE].response(status);
        assert_eq!(bench.calls(), 0);
        let record = bench.only_record();
        assert_eq!((record.cause.sip_status, record.cause.by), (status, ReleasedBy::Tandem));
    }
}

#[test]
fn the_callees_refusal_reaches_the_caller() {
    for status in [404, 486, 488, 603] {
        let mut bench = Bench::new();
        bench.register(BOB);
        bench.invite(ALICE, "bob");
        let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
        let reply = Reply::new(status).reason("Not now").header("Retry-After", "7");
        bench.respond(BOB, tx, reply);
        let (_, _, response) = bench.phones[ALICE].response(status);
        assert_eq!(response.reason(), Some("Not now"));
        assert_eq!(response.retry_after().unwrap().seconds, 7);
        assert_eq!((bench.calls(), bench.link.state().put.len()), (0, 0));
        let record = bench.only_record();
        assert_eq!((record.cause.sip_status, record.cause.by), (status, ReleasedBy::Callee));
    }
}

#[test]
fn statuses_that_mean_something_else_on_our_side_are_translated() {
    for (status, seen) in [(401, 403), (407, 403), (503, 500)] {
        let mut bench = Bench::new();
        bench.register(BOB);
        bench.invite(ALICE, "bob");
        let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
        bench.respond(
            BOB,
            tx,
            Reply::new(status).header("WWW-Authenticate", "Digest realm=\"x\", nonce=\"y\""),
        );
        let (_, _, response) = bench.phones[ALICE].response(seen);
        assert!(!response.has(Header::WwwAuthenticate));
    }
}

#[test]
fn a_redirection_reaches_the_caller_with_its_contacts() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(302).header("Contact", "<sip:bob@elsewhere.example>;q=0.5"));
    let (_, _, response) = bench.phones[ALICE].response(302);
    assert_eq!(response.value(Header::Contact), Some(&b"<sip:bob@elsewhere.example>;q=0.5"[..]));
}

#[test]
fn nobody_answers() {
    let mut bench = Bench::with("[call]\nno_answer_s = 30\n");
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(180));
    bench.phones[ALICE].response(180);
    bench.advance(Duration::from_secs(31));
    bench.phones[ALICE].response(480);
    bench.phones[BOB].take(|event| matches!(event, Event::Cancelled { .. }).then_some(()));
    bench.respond(BOB, tx, Reply::new(487));
    assert_eq!(bench.calls(), 0);
    let record = bench.only_record();
    assert_eq!((&*record.cause.text, record.cause.by), ("no answer", ReleasedBy::Tandem));
    assert_eq!(record.ring_ms, Some(30_000));
}

#[test]
fn a_phone_that_is_gone_is_408() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.phones[BOB].dark = true;
    bench.invite(ALICE, "bob");
    bench.advance(Duration::from_secs(31));
    assert_eq!(bench.calls(), 1);
    bench.advance(Duration::from_secs(2));
    bench.phones[ALICE].response(408);
    assert_eq!(bench.calls(), 0);
    assert_eq!(bench.only_record().cause.text, "no response");
}

#[test]
fn a_phone_that_the_network_cannot_reach_is_480() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.phones[BOB].addr = "192.0.2.99:5060".parse().unwrap();
    bench.invite(ALICE, "bob");
    bench.phones[ALICE].response(480);
    assert_eq!(bench.only_record().cause.text, "not reachable");
}

#[test]
fn a_phone_that_rings_forever_is_cancelled_in_the_end() {
    let mut bench = Bench::with("[call]\nno_answer_s = 600\n");
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(180));
    bench.phones[BOB].dark = true;
    bench.advance(Duration::from_secs(250));
    bench.phones[ALICE].response(480);
    assert_eq!(bench.calls(), 0);
}

#[test]
fn hops_run_out() {
    let mut bench = Bench::new();
    refused(&mut bench, |request| request.max_forwards(0), 483);
}

#[test]
fn extensions_that_nobody_can_promise_are_420() {
    let mut bench = Bench::new();
    let edit = |request: NewRequest| request.header("Require", "timer, 100rel, nonsense, gruu");
    let response = refused(&mut bench, edit, 420);
    let unsupported: Vec<_> = response.tokens(Header::Unsupported).collect();
    assert_eq!(unsupported, ["nonsense", "gruu"]);
}

#[test]
fn bodies_that_are_no_session_description_are_415() {
    let mut bench = Bench::new();
    let response = refused(&mut bench, |request| request.body("text/plain", b"hi".to_vec()), 415);
    assert_eq!(response.value(Header::Accept), Some(&b"application/sdp"[..]));
    let packed = |request: NewRequest| {
        request.header("Content-Encoding", "gzip").body("application/sdp", sdp(4000))
    };
    let response = refused(&mut bench, packed, 415);
    assert_eq!(response.value_named("Accept-Encoding"), Some(&b"identity"[..]));
}

#[test]
fn who_takes_no_session_description_is_406() {
    let mut bench = Bench::new();
    refused(&mut bench, |request| request.header("Accept", "text/plain, multipart/mixed"), 406);
    // Anything else goes on to the challenge.
    refused(&mut bench, |request| request.header("Accept", "text/plain, application/*"), 407);
}

#[test]
fn a_malformed_session_description_is_400() {
    let mut bench = Bench::new();
    bench.register(BOB);
    let edit = |request: NewRequest| request.body("application/sdp", b"nonsense".to_vec());
    bench.invite_with(ALICE, "bob", edit);
    let (_, _, response) = bench.phones[ALICE].response(400);
    assert!(response.has(Header::Warning));
    assert!(bench.phones[BOB].has_nothing());
    assert_eq!(bench.calls(), 0);
}

#[test]
fn no_media_port_is_503() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.link.state().free = [0, 0];
    bench.invite(ALICE, "bob");
    let (_, _, response) = bench.phones[ALICE].response(503);
    assert!(response.retry_after().is_some());
}

#[test]
fn a_loop_is_seen() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (_, _, invite) = bench.phones[BOB].request(Method::Invite);
    let hop = String::from_utf8(invite.value_named("Tandem-Hop").unwrap().to_vec()).unwrap();
    // It comes around as it left: without credentials, over a Tandem that adds its own mark.
    let around = |request: NewRequest| {
        request.header("Tandem-Hop", &hop).header("Tandem-Hop", "00000000000000b2")
    };
    refused(&mut bench, around, 482);
    refused(&mut bench, |request| request.header("Tandem-Hop", format!("b2, {hop}")), 482);
}

#[test]
fn the_marks_of_other_tandems_go_on_and_are_limited() {
    let mut bench = Bench::new();
    bench.register(BOB);
    let through = |request: NewRequest| {
        request
            .header("Tandem-Hop", "b1")
            .header("Tandem-Hop", "b2")
            .body("application/sdp", sdp(4000))
    };
    bench.invite_with(ALICE, "bob", through);
    let (_, _, invite) = bench.phones[BOB].request(Method::Invite);
    let rows = invite.rows().filter(|row| row.name == "Tandem-Hop");
    let marks: Vec<_> = rows.map(|row| String::from_utf8_lossy(row.value).into_owned()).collect();
    assert_eq!((marks.len(), &*marks[0], &*marks[1]), (3, "b1", "b2"));
    let many = (0..16).map(|n| n.to_string()).collect::<Vec<_>>();
    refused(&mut bench, |request| request.header("Tandem-Hop", many.join(",")), 482);
    refused(&mut bench, |request| request.header("Tandem-Hop", many[1..].join(",")), 407);
}

#[test]
fn nobody_calls_in_anothers_name() {
    let mut bench = Bench::new();
    bench.register(BOB);
    let edit =
        |request: NewRequest| request.from("<sip:bob@tandem>").body("application/sdp", sdp(4000));
    bench.invite_with(ALICE, "bob", edit);
    bench.phones[ALICE].response(403);
    assert_eq!(bench.calls(), 0);
}

#[test]
fn other_domains_and_schemes_are_refused() {
    let mut bench = Bench::new();
    for (uri, status) in
        [("sip:bob@elsewhere.example", 404), ("sips:bob@tandem", 416), ("sip:tandem", 484)]
    {
        let request = NewRequest::new(Method::Invite, uri).from("<sip:alice@tandem>");
        bench.send(ALICE, request);
        bench.phones[ALICE].response(status);
    }
}

#[test]
fn the_number_of_calls_is_limited() {
    let mut bench = Bench::with("[call]\nmax_calls = 1\n");
    let _ = bench.established();
    let response = refused(&mut bench, |request| request.body("application/sdp", sdp(4000)), 503);
    assert!(response.retry_after().is_some());
    let warning = response.value_str(Header::Warning).unwrap();
    assert_eq!(warning, "399 tandem \"As many calls as call.max_calls allows\"");
    assert_eq!(bench.switch.stats(None).calls_refused, 1);
}

#[test]
fn methods_outside_of_a_dialog() {
    let mut bench = Bench::new();
    for (method, status) in [
        (Method::Refer, 405),
        (Method::Bye, 481),
        (Method::Update, 481),
        (Method::parse(b"NONSENSE").unwrap(), 501),
    ] {
        let request = NewRequest::new(method, "sip:bob@tandem").from("<sip:alice@tandem>");
        bench.send(ALICE, request);
        let (_, _, response) = bench.phones[ALICE].response(status);
        if matches!(status, 200 | 405 | 501) {
            assert!(response.lists(Header::Allow, "INVITE"), "{method}");
        }
    }
}
