//! Requests outside of calls are carried to the contacts of whom they name.

use super::*;

/// A request of a method from a phone to a user, with credentials.
fn send(
    bench: &mut Bench,
    who: usize,
    method: Method,
    to: &str,
    edit: impl Fn(NewRequest) -> NewRequest,
) -> ClientTx {
    let uri = format!("sip:{to}@tandem");
    bench.now = bench.now + Duration::from_millis(1);
    let call_id = format!("relay-{who}-{}", bench.now.as_nanos());
    let request = |bench: &Bench, cseq| {
        edit(
            NewRequest::new(method, uri.as_str())
                .from(format!("\"A\" {}", bench.phones[who].aor()))
                .to(format!("<{uri}>"))
                .call_id(&call_id)
                .from_tag("tag-of-sender")
                .cseq(cseq),
        )
    };
    let first = request(bench, 1);
    bench.send(who, first);
    let (_, _, challenge) = bench.phones[who].response(407);
    let (name, value) = bench.credentials(who, &challenge, method.as_str(), &uri);
    let second = request(bench, 2).header(name, value);
    bench.send(who, second)
}

fn text(request: NewRequest) -> NewRequest {
    request.header("Expires", "60").header("X-Mine", "1").body("text/plain", b"hello".to_vec())
}

#[test]
fn a_message_goes_to_all_phones_and_the_first_2xx_counts() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.register(BOB2);
    send(&mut bench, ALICE, Method::Message, "bob", text);
    let (first, _, message) = bench.phones[BOB].request(Method::Message);
    let (second, _, _) = bench.phones[BOB2].request(Method::Message);
    assert_eq!(message.body(), b"hello");
    assert_eq!(message.value(Header::ContentType), Some(&b"text/plain"[..]));
    assert_eq!(message.expires(), Some(60));
    assert_eq!(message.value_named("X-Mine"), Some(&b"1"[..]));
    assert_eq!(message.from().unwrap().uri().as_str(), "sip:alice@tandem");
    assert!(!message.has(Header::ProxyAuthorization));
    bench.respond(BOB, first, Reply::new(486));
    assert!(bench.phones[ALICE].has_nothing());
    bench.respond(BOB2, second, Reply::new(202).reason("Later"));
    let (_, _, response) = bench.phones[ALICE].response(202);
    assert_eq!(response.reason(), Some("Later"));
    assert!(bench.switch.relays.is_empty());
}

#[test]
fn a_message_that_nobody_takes_is_refused_in_the_best_words() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.register(BOB2);
    send(&mut bench, ALICE, Method::Message, "bob", text);
    let (first, _, _) = bench.phones[BOB].request(Method::Message);
    let (second, _, _) = bench.phones[BOB2].request(Method::Message);
    bench.respond(BOB, first, Reply::new(415).header("Accept", "text/html"));
    bench.respond(BOB2, second, Reply::new(480));
    let (_, _, response) = bench.phones[ALICE].response(415);
    assert!(response.has(Header::Accept));
    assert!(bench.switch.relays.is_empty());
}

#[test]
fn options_info_and_publish_go_to_one_phone_after_the_other() {
    for method in [Method::Options, Method::Info, Method::Publish] {
        let mut bench = Bench::new();
        let low = format!("{};q=0.5", bench.phones[BOB].contact());
        bench.register_with(BOB, &[("Contact", &low)], 200);
        bench.register(BOB2);
        send(&mut bench, ALICE, method, "bob", |request| request.header("Event", "presence"));
        let (tx, _, _) = bench.phones[BOB2].request(method);
        assert!(bench.phones[BOB].has_nothing());
        bench.respond(BOB2, tx, Reply::new(405));
        let (tx, _, request) = bench.phones[BOB].request(method);
        assert_eq!(request.value(Header::Event), Some(&b"presence"[..]));
        let reply = Reply::new(200)
            .header("SIP-ETag", "abc")
            .header("Allow-Events", "presence")
            .body("application/sdp", sdp(5000));
        bench.respond(BOB, tx, reply);
        let (_, _, ok) = bench.phones[ALICE].response(200);
        assert_eq!(ok.value(Header::SipETag), Some(&b"abc"[..]));
        assert_eq!(ok.body().is_empty(), method == Method::Options, "{method}");
    }
}

#[test]
fn who_is_not_there_and_who_is_not_known() {
    let mut bench = Bench::new();
    send(&mut bench, ALICE, Method::Message, "bob", text);
    bench.phones[ALICE].response(480);
    send(&mut bench, ALICE, Method::Message, "nobody", text);
    bench.phones[ALICE].response(404);
    bench.register(BOB);
    send(&mut bench, ALICE, Method::Message, "bob", text);
    bench.phones[BOB].dark = true;
    bench.phones[BOB].events.clear();
    bench.advance(Duration::from_secs(40));
    // RFC 4320 §4.2: both sides give up at the same time, and a 408 would tell nobody anything.
    bench.phones[ALICE].take(|event| matches!(event, Event::TimedOut { .. }).then_some(()));
    assert!(bench.switch.relays.is_empty());
}

#[test]
fn nobody_sends_in_anothers_name_or_around_in_circles() {
    let mut bench = Bench::new();
    bench.register(BOB);
    send(&mut bench, ALICE, Method::Message, "bob", |request| {
        text(request).from("<sip:carol@tandem>")
    });
    bench.phones[ALICE].response(403);
    let request = NewRequest::new(Method::Message, "sip:bob@tandem").max_forwards(0);
    bench.send(ALICE, request);
    bench.phones[ALICE].response(483);
    let mark = bench.switch.world.hop_mark("sip:bob@tandem");
    let request = NewRequest::new(Method::Message, "sip:bob@tandem").header("Tandem-Hop", mark);
    bench.send(ALICE, request);
    bench.phones[ALICE].response(482);
    assert!(bench.phones[BOB].has_nothing());
}

#[test]
fn as_many_as_the_limit_allows() {
    let mut bench = Bench::with("[sip]\nmax_relayed = 1\n");
    bench.register(BOB);
    send(&mut bench, ALICE, Method::Message, "bob", text);
    let (tx, _, _) = bench.phones[BOB].request(Method::Message);
    bench.send(ALICE, NewRequest::new(Method::Message, "sip:bob@tandem"));
    let (_, _, response) = bench.phones[ALICE].response(503);
    let warning = String::from_utf8_lossy(response.value(Header::Warning).unwrap()).into_owned();
    assert!(warning.contains("sip.max_relayed"), "{warning}");
    bench.respond(BOB, tx, Reply::new(200));
    bench.phones[ALICE].response(200);
}

#[test]
fn options_to_tandem_itself_needs_no_password() {
    let mut bench = Bench::new();
    bench.send(ALICE, NewRequest::new(Method::Options, "sip:tandem"));
    let (_, _, response) = bench.phones[ALICE].response(200);
    assert!(response.lists(Header::Allow, "PUBLISH"));
}

#[test]
fn options_in_a_call_reach_the_other_party_without_descriptions() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    for (who, dialog, other) in [(ALICE, alice, BOB), (BOB, bob, ALICE)] {
        bench.in_dialog(who, dialog, Method::Options, Fields::new());
        let (tx, _, _) = bench.phones[other].request(Method::Options);
        bench.respond(other, tx, Reply::new(200).body("application/sdp", sdp(9)));
        let (_, _, ok) = bench.phones[who].response(200);
        assert!(ok.body().is_empty());
    }
}
