//! Reading messages: folds, compact forms, limits, broken ones.

use super::*;
use crate::error::{Limit, Malformed, Unsupported};

const HEAD: &str = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
                    To: <sip:c@d>\r\nCall-ID: 1@2\r\nMax-Forwards: 70\r\n";

fn options(more: &str) -> Message {
    let text = format!("OPTIONS sip:c@d SIP/2.0\r\n{HEAD}CSeq: 1 OPTIONS\r\n{more}\r\n");
    Message::parse(text.as_bytes()).unwrap()
}

fn verdict(text: &str) -> Result<(), (ParseError, Option<u16>)> {
    let message = Message::parse(text.as_bytes()).unwrap();
    validate_request(&message).map_err(|it| (it.cause, it.status))
}

#[test]
fn folding_compact_forms_and_case() {
    let message =
        options("s: one\r\n  two\r\n\tthree\r\nSUPPORTED : a,\r\n b\r\nk:c\r\nX-Odd:\r\n");
    assert_eq!(message.value(Header::Subject), Some(&b"one    two  \tthree"[..]));
    assert_eq!(message.tokens(Header::Supported).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(message.value_named("x-odd"), Some(&b""[..]));
    assert_eq!(message.rows().last().map(|it| it.name), Some("X-Odd"));
    assert!(validate_request(&message).is_ok());
}

#[test]
fn line_ends_that_are_tolerated() {
    let text = format!("\r\n\r\nOPTIONS sip:c@d SIP/2.0\r\n{HEAD}CSeq: 1 OPTIONS\r\n\r\n");
    let message = Message::parse(text.as_bytes()).unwrap();
    assert!(message.bytes().starts_with(b"OPTIONS "));
    assert!(validate_request(&message).is_ok());
    let message = Message::parse(text.replace('\r', "").as_bytes()).unwrap();
    assert!(validate_request(&message).is_ok());
    assert_eq!(message.call_id(), Some("1@2"));
}

#[test]
fn stray_control_octets_are_a_defect() {
    for stray in [
        "Subject: a\rRoute: <sip:x>\r\n",
        "Subject: a\0b\r\n",
        "Subject: \"\\\\\0\"\r\n",
        "Subject: a\r\r\n",
    ] {
        let message = options(stray);
        assert_eq!(message.defect(), Some(Malformed::ControlOctet.into()), "{stray:?}");
    }
}

#[test]
fn an_escaped_nul_is_text() {
    let message = options("Subject: \"\\\0\"\r\n");
    assert_eq!(message.defect(), None);
}

#[test]
fn a_request_without_an_empty_line_can_be_answered() {
    let text = format!("OPTIONS sip:c@d SIP/2.0\r\n{HEAD}CSeq: 1 OPTIONS\r\n");
    assert_eq!(verdict(&text), Err((Malformed::Unterminated.into(), Some(400))));
    let message = Message::parse(format!("{text}Subject: cut he").as_bytes()).unwrap();
    assert!(!message.has(Header::Subject) && message.body().is_empty());
}

#[test]
fn the_body_ends_where_content_length_says() {
    let with = |length: &str, body: &str| {
        let more = format!("Content-Length: {length}\r\nc: text/plain\r\n\r\n{body}");
        options(&more)
    };
    // options() puts an empty line behind.
    assert_eq!(with("3", "abcdef").body(), b"abc");
    assert!(with("3", "abcdef").bytes().ends_with(b"\r\n\r\nabc"));
    assert_eq!(with("9", "abc").defect(), Some(Malformed::BodyShort.into()));
    assert_eq!(with("-1", "abc").defect(), Some(Malformed::ContentLength.into()));
    assert_eq!(with("3\r\nl: 4", "abcd").defect(), Some(Malformed::ContentLength.into()));
    assert_eq!(with("3\r\nl: 3", "abcd").body(), b"abc");
    assert_eq!(options("c: text/plain\r\n\r\nabc").body(), b"abc\r\n");
}

#[test]
fn what_is_no_message() {
    for (text, error) in [
        ("", ParseError::from(Malformed::Empty)),
        ("\r\n\r\n", Malformed::Empty.into()),
        ("hello", Malformed::Unterminated.into()),
        ("hello\r\n\r\n", Malformed::StartLine.into()),
        ("GET / HTTP/1.1\r\n\r\n", Malformed::StartLine.into()),
        ("OPTIONS SIP/2.0\r\n\r\n", Malformed::StartLine.into()),
        ("SIP/2.0 200 OK\r\nCSeq: 1 BYE\r\n", Malformed::Unterminated.into()),
        ("SIP/2.0 200 OK\r\n\r\n", Malformed::MissingCSeq.into()),
        ("SIP/2.0 20 OK\r\nCSeq: 1 BYE\r\n\r\n", Malformed::StatusCode.into()),
        ("SIP/2.0 4294967301 x\r\nCSeq: 1 BYE\r\n\r\n", Malformed::StatusCode.into()),
        ("SIP/2.0 099 x\r\nCSeq: 1 BYE\r\n\r\n", Malformed::StatusCode.into()),
        ("SIP/3.0 200 x\r\nCSeq: 1 BYE\r\n\r\n", Unsupported::Version.into()),
        ("SIP/2.0 200 OK\r\nCSeq: 1 BYE\r\nl: 1\r\n\r\n", Malformed::BodyShort.into()),
    ] {
        assert_eq!(Message::parse(text.as_bytes()).map(|_| ()), Err(error), "{text:?}");
    }
}

#[test]
fn limits_hold() {
    let rows = "X: y\r\n".repeat(128);
    assert!(Message::parse(format!("A b:c SIP/2.0\r\n{rows}\r\n").as_bytes()).is_ok());
    let rows = "X: y\r\n".repeat(129);
    let error = Message::parse(format!("A b:c SIP/2.0\r\n{rows}\r\n").as_bytes()).map(|_| ());
    assert_eq!(error, Err(Limit::HeaderRows.into()));
    assert_eq!(Message::parse(&[b'A'; 65_536]).map(|_| ()), Err(Limit::MessageOctets.into()));
    let largest = [&b"A b:c SIP/2.0\r\n\r\n"[..], &[b'x'; 65_535 - 17]].concat();
    assert_eq!(Message::parse(&largest).unwrap().body().len(), 65_535 - 17);
}

#[test]
fn responses() {
    let text = format!("SIP/2.0 200 \r\n{HEAD}CSeq: 7 INVITE\r\n\r\n");
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!((message.status(), message.reason()), (Some(200), Some("")));
    assert_eq!(message.method(), Method::Invite);
    assert!(message.answers("Z9hG4bK1", "192.0.2.1"));
    assert!(!message.answers("z9hG4bK1", "192.0.2.2"));
    assert!(validate_response(&message).is_ok());
    let message = Message::parse(&[b"SIP/2.0 200 caf\xe9\r\n", &text.as_bytes()[14..]].concat());
    assert_eq!(message.unwrap().reason_bytes(), Some(&b"caf\xe9"[..]));
}

#[test]
fn broken_requests_are_answered() {
    let good = format!("OPTIONS sip:c@d SIP/2.0\r\n{HEAD}CSeq: 1 OPTIONS\r\n\r\n");
    assert_eq!(verdict(&good), Ok(()));
    let bad = |from: &str, to: &str| verdict(&good.replace(from, to)).unwrap_err();
    let m = |it: Malformed| (ParseError::from(it), Some(400));
    assert_eq!(bad("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), (Unsupported::Version.into(), Some(505)));
    assert_eq!(bad(" sip:c@d ", " x:opaque "), (Unsupported::UriScheme.into(), Some(416)));
    assert_eq!(bad(" sip:c@d ", " sip:c@d; x "), m(Malformed::RequestUri));
    assert_eq!(bad(" sip:c@d ", " <sip:c@d> "), m(Malformed::RequestUri));
    assert_eq!(bad(" sip:c@d ", " sip:c@d?Subject=x "), m(Malformed::RequestUri));
    assert_eq!(bad("Call-ID: 1@2\r\n", ""), m(Malformed::MissingCallId));
    assert_eq!(bad("Call-ID: 1@2\r\n", "Call-ID: 1 2\r\n"), m(Malformed::CallId));
    assert_eq!(bad("From: <sip:a@b>;tag=1\r\n", ""), m(Malformed::MissingFrom));
    assert_eq!(bad("To: <sip:c@d>\r\n", ""), m(Malformed::MissingTo));
    assert_eq!(bad("To: <sip:c@d>\r\n", "To: \"x <sip:c@d>\r\n"), m(Malformed::To));
    assert_eq!(bad("CSeq: 1 OPTIONS\r\n", ""), m(Malformed::MissingCSeq));
    assert_eq!(bad("CSeq: 1 OPTIONS\r\n", "CSeq: 1 BYE\r\n"), m(Malformed::CSeqMethod));
    assert_eq!(bad("Call-ID:", "CSeq: 1 OPTIONS\r\nCall-ID:"), m(Malformed::Repeated));
    assert_eq!(bad("Max-Forwards: 70", "Max-Forwards: 300"), m(Malformed::MaxForwards));
    assert_eq!(bad("Call-ID:", "no colon here\r\nCall-ID:"), m(Malformed::HeaderLine));
    assert_eq!(bad("Call-ID:", "Contact: <sip:a\r\nCall-ID:"), m(Malformed::Contact));
    assert_eq!(bad("Call-ID:", "Route: x\r\nCall-ID:"), m(Malformed::Route));
    assert_eq!(
        bad("Call-ID:", "Date: Fri, 01 Jan 2010 16:00:00 EST\r\nCall-ID:"),
        m(Malformed::Date)
    );
    // Nowhere to send an answer to.
    let via = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n";
    assert_eq!(bad(via, ""), (Malformed::MissingVia.into(), None));
    assert_eq!(bad(via, "Via: x\r\n"), (Malformed::Via.into(), None));
    // An ACK is never answered.
    let ack = good.replace("OPTIONS", "ACK").replace("Max-Forwards: 70", "Max-Forwards: x");
    assert_eq!(verdict(&ack), Err((Malformed::MaxForwards.into(), None)));
    let invite = good.replace("OPTIONS", "INVITE");
    assert_eq!(verdict(&invite), Err(m(Malformed::MissingContact)));
}

#[test]
fn unknown_extensions_are_named() {
    let message = options("Require: 100rel, nothingSupportsThis\r\nRequire: nor-this\r\n");
    let reject = check_require(&message, Header::Require, &["100rel"]).unwrap_err();
    assert_eq!(reject.status, Some(420));
    assert_eq!(reject.headers, [(Header::Unsupported, "nothingSupportsThis, nor-this".to_owned())]);
    assert!(check_require(&message, Header::ProxyRequire, &[]).is_ok());
}

#[test]
fn the_receiver_stamps_the_topmost_via() {
    let stamp = |via: &str, source: &str| {
        let text =
            format!("OPTIONS sip:c@d SIP/2.0\r\nX: y\r\nVia: {via}\r\nCSeq: 1 OPTIONS\r\n\r\n");
        let message = Message::parse(text.as_bytes()).unwrap();
        let stamped = stamp_received(&message, source.parse().unwrap());
        assert_eq!(stamped.cseq(), message.cseq());
        String::from_utf8_lossy(stamped.value_named("Via").unwrap()).into_owned()
    };
    assert_eq!(
        stamp("SIP/2.0/UDP 192.0.2.1;branch=z1", "192.0.2.1:5060"),
        "SIP/2.0/UDP 192.0.2.1;branch=z1"
    );
    assert_eq!(
        stamp("SIP/2.0/UDP h;branch=z1, SIP/2.0/UDP 192.0.2.9", "192.0.2.1:5060"),
        "SIP/2.0/UDP h;branch=z1;received=192.0.2.1"
    );
    assert_eq!(
        stamp("SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z1", "192.0.2.1:9988"),
        "SIP/2.0/UDP 10.1.1.1:4540;branch=z1;received=192.0.2.1;rport=9988"
    );
    assert_eq!(
        stamp("SIP/2.0/UDP 192.0.2.1 ;received=198.51.100.7;branch=z1", "192.0.2.1:5060"),
        "SIP/2.0/UDP 192.0.2.1;branch=z1"
    );
    assert_eq!(
        stamp("SIP/2.0/UDP [2001:db8::1];rport", "[2001:db8::1]:5060"),
        "SIP/2.0/UDP [2001:db8::1];received=2001:db8::1;rport=5060"
    );
}

#[test]
fn debug_shows_no_numbers_of_the_call() {
    assert_eq!(format!("{:?}", options("")), "Message(OPTIONS)");
}

/// A call set-up as a phone behind two proxies sends it, 1,000 octets.
fn invite_of_1000_octets() -> Vec<u8> {
    let head = "INVITE sip:+4930123456@tandem.example.com;user=phone SIP/2.0\r\n\
        Via: SIP/2.0/UDP 198.51.100.17:5060;branch=z9hG4bK8f1c.67ab2f3.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.44:49152;received=203.0.113.9;rport=49152;branch=z9hG4bKnashds8\r\n\
        Record-Route: <sip:198.51.100.17;lr;ftag=9fxced76sl>\r\n\
        Max-Forwards: 69\r\n\
        From: \"Alice Liddell\" <sip:alice@tandem.example.com>;tag=9fxced76sl\r\n\
        To: <sip:+4930123456@tandem.example.com;user=phone>\r\n\
        Call-ID: 3848276298220188511@192.0.2.44\r\n\
        CSeq: 20 INVITE\r\n\
        Contact: <sip:alice@192.0.2.44:49152;transport=udp>\r\n\
        User-Agent: baresip v1.1.0 (x86_64/linux)\r\n\
        Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, SUBSCRIBE, INFO, MESSAGE, UPDATE\r\n\
        Supported: gruu, replaces, norefersub\r\n\
        Content-Type: application/sdp\r\n";
    let body = "v=0\r\no=- 20518 0 IN IP4 192.0.2.44\r\ns=-\r\nc=IN IP4 192.0.2.44\r\nt=0 0\r\n\
        m=audio 54400 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    let fill = "a=x".to_owned();
    let mut text = format!("{head}Content-Length: 999\r\n\r\n{body}{fill}");
    text.push_str(&"x".repeat(1000 - text.len()));
    let length = text.len() - text.find("\r\n\r\n").unwrap() - 4;
    text.replace("Content-Length: 999", &format!("Content-Length: {length}")).into_bytes()
}

#[test]
#[ignore = "a measurement: run it in release mode and alone"]
fn time_to_parse_an_invite() {
    #[allow(clippy::disallowed_methods, reason = "a measurement")]
    fn best_ns(mut run: impl FnMut()) -> f64 {
        let one = |run: &mut dyn FnMut()| {
            let start = std::time::Instant::now();
            (0..20_000).for_each(|_| run());
            start.elapsed().as_secs_f64() * 1e9 / 20_000.0
        };
        (0..20).map(|_| one(&mut run)).fold(f64::INFINITY, f64::min)
    }
    let octets = invite_of_1000_octets();
    let parse = best_ns(|| {
        std::hint::black_box(Message::parse(std::hint::black_box(&octets)).unwrap());
    });
    let index = best_ns(|| {
        let mut copy = [0; 1100];
        copy[..octets.len()].copy_from_slice(&octets);
        let _ = std::hint::black_box(index::build(&mut copy[..octets.len()]));
    });
    let message = Message::parse(&octets).unwrap();
    let validate = best_ns(|| validate_request(std::hint::black_box(&message)).unwrap());
    println!(
        "{} octets: parse {parse:.0} ns, index {index:.0} ns, validate {validate:.0} ns",
        octets.len()
    );
}
