//! The trace as its readers see it.

use super::*;
use tandem_hw::port::pcap::{Reader, Record};

fn invite(call_id: &str, to: &str) -> Vec<u8> {
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
               m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendonly\r\n\
               m=video 0 RTP/AVP 99\r\n";
    format!(
        "INVITE sip:{to}@tandem SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK{call_id}\r\n\
         From: <sip:a@tandem>;tag=1\r\nTo: <sip:{to}@tandem>\r\nCall-ID: {call_id}\r\n\
         CSeq: 7 INVITE\r\nProxy-Authorization: Digest response=\"0123456789abcdef\"\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
    .into_bytes()
}

fn flow(port: u16) -> Flow {
    Flow::udp("192.0.2.1:5060".parse().unwrap(), ([192, 0, 2, 7], port).into())
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
}

fn trace() -> Trace {
    let trace = Trace::new(4 * ring::BLOCK, None);
    let call = CallId(0x0672_f3c4_a1b2_c3d4);
    trace.message(at(0), Direction::In, &flow(5070), &invite("one", "b"));
    trace.leg(call, "one");
    trace.message(at(1), Direction::In, &flow(5099), &invite("other", "c"));
    trace.message(at(2), Direction::Out, &flow(5080), &invite("two", "b"));
    trace.leg(call, "two");
    trace.message(at(502), Direction::Out, &flow(5080), &invite("two", "b"));
    trace.message(at(503), Direction::In, &flow(5080), b"nonsense about one and two");
    trace
}

#[test]
fn a_call_is_found_with_both_legs_by_any_of_its_ids() {
    let trace = trace();
    let call = trace.find("0672f3c4a1b2c3d4").unwrap();
    assert_eq!(call.call_ids, ["one", "two"]);
    let shape: Vec<_> = call
        .messages
        .iter()
        .map(|it| (it.direction, it.call_id.as_str(), it.summary.as_str(), it.repeated))
        .collect();
    assert_eq!(
        shape,
        [
            (Direction::In, "one", "INVITE", false),
            (Direction::Out, "two", "INVITE", false),
            (Direction::Out, "two", "INVITE", true),
        ]
    );
    let message = &call.messages[0];
    assert_eq!((message.cseq.as_str(), message.transport.as_str()), ("7 INVITE", "udp"));
    assert_eq!(
        message.media,
        ["audio 192.0.2.7:4000 PCMA telephone-event sendonly", "video rejected"]
    );
    assert!(!message.text.contains("0123456789abcdef"), "{}", message.text);
    assert_eq!(trace.find("two").unwrap(), call);
    assert_eq!(trace.find("other").unwrap().call, None);
    assert_eq!(trace.find("none"), None);
    assert_eq!(trace.find(""), None);
}

#[test]
fn a_capture_holds_the_octets_and_addresses_of_each_message() {
    let file = pcap::file(&trace().find("one").unwrap()).unwrap();
    let mut reader = Reader::new(file.as_slice()).unwrap();
    let mut record = Record::default();
    let mut found = Vec::new();
    while reader.read(&mut record).unwrap() {
        let datagram = reader.link().datagram(&record.bytes).unwrap();
        found.push((
            datagram.source.port(),
            datagram.destination.port(),
            datagram.payload.to_vec(),
        ));
    }
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], (5070, 5060, invite("one", "b")));
    assert_eq!(found[1], (5060, 5080, invite("two", "b")));
}
