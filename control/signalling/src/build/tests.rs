//! Building and editing messages, by their octets.

use super::*;

const INVITE: &[u8] = b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\n\
v: SIP/2.0/UDP p1.example.com;branch=z9hG4bK2, SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
Record-Route: <sip:p1.example.com;lr>\r\n\
Max-Forwards: 69\r\n\
To: Bob <sip:bob@biloxi.example.com>\r\n\
From: Alice <sip:alice@atlanta.example.com>;tag=1928301774\r\n\
X-First: 1\r\n\
Call-ID: a84b4c76e66710\r\n\
CSeq: 314159 INVITE\r\n\
Route: <sip:a;lr> , <sip:b;lr>\r\n\
x-second:  two\r\n\
Contact: <sip:alice@192.0.2.1>\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 4\r\n\
\r\n\
v=0\n";

fn invite() -> Message {
    Message::parse(INVITE).unwrap()
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.bytes()).into_owned()
}

#[test]
fn a_response_copies_what_rfc_3261_8_2_6_says() {
    let response = MessageBuilder::response_to(&invite(), 180, "").to_tag("xyz").finish().unwrap();
    assert_eq!(
        text(&response),
        "SIP/2.0 180 Ringing\r\n\
         v: SIP/2.0/UDP p1.example.com;branch=z9hG4bK2, SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
         Record-Route: <sip:p1.example.com;lr>\r\n\
         To: Bob <sip:bob@biloxi.example.com>;tag=xyz\r\n\
         From: Alice <sip:alice@atlanta.example.com>;tag=1928301774\r\n\
         Call-ID: a84b4c76e66710\r\n\
         CSeq: 314159 INVITE\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let failure = MessageBuilder::response_to(&invite(), 486, "").to_tag("xyz").to_tag("other");
    let failure = failure.finish().unwrap();
    assert!(!failure.has(Header::RecordRoute));
    assert_eq!(failure.to_tag(), Some("xyz"));
    let trying = MessageBuilder::response_to(&invite(), 100, "").finish().unwrap();
    assert!(!trying.has(Header::RecordRoute));
}

#[test]
fn an_edit_keeps_unknown_headers_and_order() {
    let message = MessageBuilder::edit(&invite())
        .request_uri("sip:bob@192.0.2.4")
        .set(Header::MaxForwards, "68")
        .prepend_via("SIP/2.0/UDP 192.0.2.5;branch=z9hG4bK3")
        .pop_first(Header::Route)
        .remove("X-FIRST")
        .body("application/sdp", "v=0\r\no=-\r\n")
        .finish()
        .unwrap();
    assert_eq!(
        text(&message),
        "INVITE sip:bob@192.0.2.4 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.5;branch=z9hG4bK3\r\n\
         v: SIP/2.0/UDP p1.example.com;branch=z9hG4bK2, SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
         Record-Route: <sip:p1.example.com;lr>\r\n\
         Max-Forwards: 68\r\n\
         To: Bob <sip:bob@biloxi.example.com>\r\n\
         From: Alice <sip:alice@atlanta.example.com>;tag=1928301774\r\n\
         Call-ID: a84b4c76e66710\r\n\
         CSeq: 314159 INVITE\r\n\
         Route: <sip:b;lr>\r\n\
         x-second: two\r\n\
         Contact: <sip:alice@192.0.2.1>\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: 10\r\n\r\n\
         v=0\r\no=-\r\n"
    );
    let message =
        MessageBuilder::edit(&message).pop_first(Header::Route).no_body().finish().unwrap();
    assert!(!message.has(Header::Route) && !message.has(Header::ContentType));
    assert!(message.body().is_empty());
    let message = MessageBuilder::edit(&invite()).pop_first(Header::Via).finish().unwrap();
    assert_eq!(message.value(Header::Via), Some(&b"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"[..]));
}

#[test]
fn values_cannot_add_headers() {
    let request = || MessageBuilder::request(Method::Options, "sip:a@b");
    for (builder, misuse) in [
        (request().header(Header::Subject, "x\r\nRoute: <sip:evil>"), BuildError::Value),
        (request().header(Header::Subject, "x\ny"), BuildError::Value),
        (request().header(Header::Subject, b"x\0y"), BuildError::Value),
        (request().header("X: y\r\nZ", "1"), BuildError::Name),
        (request().header("", "1"), BuildError::Name),
        (request().header("l", "5"), BuildError::Name),
        (request().body("text/plain\r\nX: y", "z"), BuildError::Value),
        (request().request_uri("sip:a@b SIP/2.0\r\nX: y"), BuildError::RequestUri),
        (request().to_tag("x"), BuildError::NoSuchPart),
        (request().header(Header::To, "<sip:a>").to_tag("x;y"), BuildError::Token),
        (MessageBuilder::response(200, "OK\r\nX: y"), BuildError::Value),
        (MessageBuilder::response(99, "x"), BuildError::Status),
        (MessageBuilder::response(200, "no CSeq"), BuildError::NoSuchPart),
        (request().body("text/plain", vec![b'x'; 65_536]), BuildError::TooLarge),
    ] {
        assert_eq!(builder.finish().map(|_| ()), Err(misuse));
    }
}

#[test]
fn set_and_copy() {
    let message = MessageBuilder::request(Method::Bye, "sip:a@b")
        .copy(&invite(), Header::CallId)
        .copy(&invite(), "X-Second")
        .header("X-A", "1")
        .header("x-a", "2")
        .set("X-A", "3")
        .header_fmt(Header::CSeq, format_args!("{} BYE", 5))
        .retain(|header, name| header != Header::Other || name != "nothing")
        .finish()
        .unwrap();
    assert_eq!(
        text(&message),
        "BYE sip:a@b SIP/2.0\r\nCall-ID: a84b4c76e66710\r\nx-second: two\r\nX-A: 3\r\n\
         CSeq: 5 BYE\r\nContent-Length: 0\r\n\r\n"
    );
}
