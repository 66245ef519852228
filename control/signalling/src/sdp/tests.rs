//! Descriptions as phones write them, and properties over all of them.

use super::*;
use core::net::IpAddr;
use proptest::prelude::*;

/// RFC 8866 §5, the example, with a second session-level attribute that nobody knows.
const RFC_8866: &str = "v=0\r\n\
    o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1\r\n\
    s=Call to John Smith\r\n\
    i=SDP Offer #1\r\n\
    u=http://www.jdoe.example.com/home.html\r\n\
    e=Jane Doe <jane@jdoe.example.com>\r\n\
    p=+1 617 555-6011\r\n\
    c=IN IP4 198.51.100.1\r\n\
    t=0 0\r\n\
    a=X-unknown:kept: as it is\r\n\
    m=audio 49170 RTP/AVP 0\r\n\
    m=audio 49180 RTP/AVP 0\r\n\
    m=video 51372 RTP/AVP 99\r\n\
    c=IN IP6 2001:db8::2\r\n\
    a=rtpmap:99 h263-1998/90000\r\n";

const PHONE: &str = "v=0\r\n\
    o=- 8 1 IN IP4 192.0.2.10\r\n\
    s=Grüße\r\n\
    c=IN IP4 192.0.2.10\r\n\
    t=0 0\r\n\
    a=sendonly\r\n\
    m=audio 4000/2 RTP/SAVP 96 8 101\r\n\
    a=rtpmap:96 opus/48000/2\r\n\
    a=fmtp:96 useinbandfec=1\r\n\
    a=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-16\r\n\
    a=ptime:20\r\n\
    a=rtcp:53020 IN IP4 192.0.2.11\r\n\
    a=rtcp-mux\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0a2V5\r\n\
    a=ice-ufrag:x\r\n\
    a=ice-pwd:y\r\n\
    a=candidate:1 1 UDP 1 192.0.2.10 4000 typ host\r\n\
    a=inactive\r\n";

fn parse(text: &str) -> SessionDescription {
    SessionDescription::parse(text.as_bytes()).unwrap()
}

fn text(sdp: &SessionDescription) -> String {
    String::from_utf8(sdp.emit()).unwrap()
}

#[test]
fn what_is_not_edited_stays() {
    for original in [RFC_8866, PHONE] {
        assert_eq!(text(&parse(original)), original);
    }
}

#[test]
fn bare_line_feeds_and_a_missing_last_one_are_read() {
    let bare = RFC_8866.replace("\r\n", "\n");
    assert_eq!(text(&parse(&bare)), RFC_8866);
    assert_eq!(text(&parse(bare.trim_end())), RFC_8866);
    assert_eq!(text(&parse(&format!("{RFC_8866}\r\n\r\n"))), RFC_8866);
}

#[test]
fn octets_that_are_not_utf8_stay() {
    let bytes = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=\xff\xfe\r\nt=0 0\r\n";
    assert_eq!(SessionDescription::parse(bytes).unwrap().emit(), bytes);
}

#[test]
fn sections_are_kept_apart() {
    let sdp = parse(RFC_8866);
    assert_eq!(sdp.media_count(), 3);
    assert_eq!(sdp.value(Section::Session, b's'), Some(&b"Call to John Smith"[..]));
    assert_eq!(sdp.attribute(Section::Session, "X-unknown"), Some(&b"kept: as it is"[..]));
    let of = |index: usize| sdp.media_connection(index).unwrap().host.ip().unwrap().to_string();
    assert_eq!([of(0), of(2)], ["198.51.100.1", "2001:db8::2"]);
    assert!(sdp.media_connection(2).unwrap().ipv6);
    assert_eq!(sdp.media(3), None);
    assert_eq!(sdp.lines(Section::Media(3)).count(), 0);
}

#[test]
fn a_phone_is_understood() {
    let sdp = parse(PHONE);
    let line = sdp.media(0).unwrap();
    assert_eq!((line.kind, line.port, line.port_count), ("audio", 4000, 2));
    assert_eq!((line.proto, line.formats), ("RTP/SAVP", "96 8 101"));
    assert_eq!(line.payload_types().collect::<Vec<_>>(), [96, 8, 101]);
    let maps: Vec<_> =
        sdp.rtpmaps(0).map(|m| (m.payload_type, m.encoding, m.clock_rate, m.channels)).collect();
    assert_eq!(
        maps,
        [(96, "opus", 48_000, 2), (8, "PCMA", 8_000, 1), (101, "telephone-event", 8_000, 1)]
    );
    assert_eq!(sdp.fmtp(0, 101), Some(&b"0-16"[..]));
    assert_eq!(sdp.fmtp(0, 8), None);
    assert_eq!(sdp.ptime_ms(0), Some(20));
    assert_eq!(sdp.direction(0), Direction::Inactive);
    assert!(sdp.rtcp_mux(0));
    let ip: IpAddr = "192.0.2.11".parse().unwrap();
    assert_eq!(sdp.rtcp(0), Some(RtcpAddress { port: 53_020, ip: Some(ip) }));
    let origin = sdp.origin().unwrap();
    assert_eq!((origin.username, origin.session_id, origin.version), ("-", "8", "1"));
    assert_eq!(sdp.ice_credentials(0), Some((&b"x"[..], &b"y"[..])));
    assert_eq!(sdp.fingerprint(0), None);
}

#[test]
fn keys_do_not_print() {
    let sdp = parse(PHONE);
    let crypto = sdp.cryptos(0).next().unwrap();
    assert_eq!((crypto.tag, crypto.suite), (1, "AES_CM_128_HMAC_SHA1_80"));
    assert_eq!(crypto.key_params, "inline:c2VjcmV0a2V5");
    let printed = format!("{crypto:?} {sdp:?}");
    assert!(!printed.contains("c2VjcmV0a2V5"), "{printed}");
}

#[test]
fn direction_falls_back_to_the_session() {
    let sdp = parse(&PHONE.replace("a=inactive\r\n", ""));
    assert_eq!(sdp.direction(0), Direction::SendOnly);
    assert_eq!(parse(RFC_8866).direction(0), Direction::SendRecv);
}

#[test]
fn edits_change_their_line_and_no_other() {
    let mut sdp = parse(PHONE);
    let ip: IpAddr = "203.0.113.9".parse().unwrap();
    sdp.set_origin(77, 3, ip);
    sdp.set_connection(Section::Session, ip);
    sdp.set_port(0, 30_000);
    sdp.set_rtcp(0, RtcpAddress { port: 30_001, ip: None });
    sdp.set_direction(0, Direction::RecvOnly);
    let expected = PHONE
        .replace("o=- 8 1 IN IP4 192.0.2.10", "o=- 77 3 IN IP4 203.0.113.9")
        .replace("c=IN IP4 192.0.2.10", "c=IN IP4 203.0.113.9")
        .replace("m=audio 4000/2 ", "m=audio 30000 ")
        .replace("a=rtcp:53020 IN IP4 192.0.2.11", "a=rtcp:30001")
        .replace("a=inactive", "a=recvonly");
    assert_eq!(text(&sdp), expected);
}

#[test]
fn new_lines_go_where_the_grammar_wants_them() {
    let mut sdp = parse(RFC_8866);
    let ip: IpAddr = "2001:db8::9".parse().unwrap();
    sdp.set_connection(Section::Media(0), ip);
    sdp.set_attribute(Section::Media(0), "rtcp-mux", "");
    sdp.set_attribute(Section::Media(1), "rtcp", "9");
    sdp.set_value(Section::Session, b'b', "AS:64");
    let expected = RFC_8866
        .replace(
            "m=audio 49170 RTP/AVP 0\r\n",
            "m=audio 49170 RTP/AVP 0\r\nc=IN IP6 2001:db8::9\r\na=rtcp-mux\r\n",
        )
        .replace("m=audio 49180 RTP/AVP 0\r\n", "m=audio 49180 RTP/AVP 0\r\na=rtcp:9\r\n")
        .replace("t=0 0\r\n", "b=AS:64\r\nt=0 0\r\n");
    assert_eq!(text(&sdp), expected);
}

#[test]
fn ice_dtls_and_bundles_can_be_taken_out() {
    let rest = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\na=group:LS 1 2\r\n\
        m=audio 9 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\na=sendrecv\r\n";
    let full = rest
        .replace(
            "t=0 0\r\n",
            "t=0 0\r\na=group:BUNDLE 1\r\na=fingerprint:sha-256 AA\r\na=ice-lite\r\n",
        )
        .replace(
            "a=sendrecv",
            "a=setup:actpass\r\na=end-of-candidates\r\na=bundle-only\r\na=sendrecv",
        );
    let mut sdp = parse(&full);
    sdp.remove_ice();
    sdp.remove_dtls();
    sdp.remove_bundle();
    assert_eq!(text(&sdp), rest);
}

#[test]
fn written_text_cannot_break_out_of_its_line() {
    let mut sdp = parse(RFC_8866);
    sdp.set_attribute(Section::Session, "X-unknown", "1\r\na=evil");
    assert_eq!(sdp.attribute(Section::Session, "X-unknown"), Some(&b"1a=evil"[..]));
    assert_eq!(parse(&text(&sdp)).lines(Section::Session).count(), 10);
}

#[test]
fn formats_go_with_their_attributes() {
    let mut sdp = parse(
        "v=0\r\nm=audio 4000/2 RTP/AVP 0 96 101\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 x=1\r\n\
         a=rtcp-fb:96 nack\r\na=rtcp-fb:* ccm\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n",
    );
    sdp.set_formats(0, &[]);
    sdp.set_formats(7, &["0"]);
    assert_eq!(sdp.media(0).unwrap().formats, "0 96 101");
    sdp.set_formats(0, &["101", "0"]);
    assert_eq!(
        text(&sdp),
        "v=0\r\nm=audio 4000/2 RTP/AVP 101 0\r\na=rtcp-fb:* ccm\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
    );
}

#[test]
fn media_lines_are_padded_and_cut() {
    let mut sdp = parse("v=0\r\nm=audio 4000 RTP/AVP 0\r\na=x\r\nm=video 0 RTP/AVP 96\r\na=y\r\n");
    sdp.pad_media(1);
    sdp.pad_media(3);
    assert_eq!((sdp.media_count(), sdp.media(2).unwrap().port), (3, 0));
    sdp.set_attribute(Section::Media(1), "z", "");
    assert!(text(&sdp).ends_with("a=y\r\na=z\r\nm=audio 0 RTP/AVP 0\r\n"));
    sdp.truncate_media(3);
    sdp.truncate_media(1);
    assert_eq!(text(&sdp), "v=0\r\nm=audio 4000 RTP/AVP 0\r\na=x\r\n");
    sdp.pad_media(1_000);
    assert_eq!(sdp.media_count(), limits::MAX_MEDIA);
}

#[test]
fn hold_addresses_are_known() {
    for (address, hold) in [
        ("IN IP4 0.0.0.0", true),
        ("IN IP6 ::", true),
        ("IN IP6 host.invalid", true),
        ("IN IP4 192.0.2.1", false),
        ("IN IP4 phone.example.com", false),
    ] {
        let mut sdp = parse(RFC_8866);
        sdp.set_value(Section::Session, b'c', address);
        assert_eq!(sdp.media_connection(0).unwrap().is_hold(), hold, "{address}");
    }
}

#[test]
fn broken_descriptions_are_refused() {
    let refused = |text: &str| SessionDescription::parse(text.as_bytes()).err();
    assert_eq!(refused(""), Some(SdpError::Version));
    assert_eq!(refused("v=1\r\n"), Some(SdpError::Version));
    assert_eq!(refused("o=- 1 1 IN IP4 1.1.1.1\r\nv=0\r\n"), Some(SdpError::Version));
    assert_eq!(refused("v=0\r\nnonsense\r\n"), Some(SdpError::Line { line: 2 }));
    assert_eq!(refused("v=0\r\n\r\ns=-\r\n"), Some(SdpError::Line { line: 2 }));
    assert_eq!(refused("v=0\r\nV=0\r\n"), Some(SdpError::Line { line: 2 }));
    assert_eq!(refused("v=0\r\ns=a\rb\r\n"), Some(SdpError::Line { line: 2 }));
    for media in
        ["audio", "audio 1", "audio x RTP/AVP 0", "audio 65536 RTP/AVP 0", "a 1/x R 0", "", " "]
    {
        let text = format!("v=0\r\nm={media}\r\n");
        assert_eq!(refused(&text), Some(SdpError::Media { line: 2 }), "{media}");
    }
    let many = format!("v=0\r\n{}", "m=audio 9 RTP/AVP 0\r\n".repeat(limits::MAX_MEDIA + 1));
    assert_eq!(refused(&many), Some(SdpError::TooManyMedia));
    let many = format!("v=0\r\n{}", "a=x\r\n".repeat(limits::MAX_LINES));
    assert_eq!(refused(&many), Some(SdpError::TooManyLines));
    assert_eq!(refused(&"v=0\r\n".repeat(20_000)), Some(SdpError::TooLong));
}

#[test]
fn broken_addresses_are_refused_where_they_are_used() {
    let connection = |value: &str| {
        let mut sdp = parse(RFC_8866);
        sdp.set_value(Section::Session, b'c', value);
        sdp.media_connection(0).err()
    };
    for value in
        ["", "IN", "IN IP4", "IN IP5 1.2.3.4", "IN IP4 ::1", "IN IP4 1.2.3.456", "X IP4 1.2.3.4"]
    {
        assert_eq!(connection(value), Some(SdpError::Connection { line: 8 }), "{value}");
    }
    assert_eq!(connection("IN IP4 224.2.1.1/127/3"), None);
    let none = parse("v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\nm=audio 9 RTP/AVP 0\r\n");
    assert_eq!(none.media_connection(0).err(), Some(SdpError::NoConnection { media: 1 }));
    assert_eq!(parse("v=0\r\n").origin().err(), Some(SdpError::Origin));
}

/// Lines of a valid description: any letter but those that shape sections, and media lines.
fn any_line() -> impl Strategy<Value = String> {
    prop_oneof![
        ("[a-ln-uw-z]", "[^\r\n\0]{0,24}").prop_map(|(kind, value)| format!("{kind}={value}")),
        ("[a-z]{1,6}", any::<u16>(), "[A-Z]{1,4}(/[A-Z]{1,5})?", "( [0-9]{1,3}){0,4}")
            .prop_map(|(kind, port, proto, formats)| format!("m={kind} {port} {proto}{formats}")),
    ]
}

proptest! {
    #[test]
    fn emit_inverts_parse(lines in prop::collection::vec(any_line(), 0..40)) {
        let original: String =
            core::iter::once("v=0".to_owned()).chain(lines).map(|l| l + "\r\n").collect();
        let media = original.lines().filter(|line| line.starts_with("m=")).count();
        match SessionDescription::parse(original.as_bytes()) {
            Ok(sdp) => {
                prop_assert_eq!(sdp.media_count(), media);
                prop_assert_eq!(sdp.emit(), original.as_bytes());
            }
            Err(error) => {
                prop_assert_eq!(error, SdpError::TooManyMedia);
                prop_assert!(media > limits::MAX_MEDIA);
            }
        }
    }

    /// The editor against a model: a list of lines with the one line replaced.
    #[test]
    fn a_port_edit_is_one_line(
        lines in prop::collection::vec(any_line(), 1..20),
        port in any::<u16>(),
        pick in any::<prop::sample::Index>(),
    ) {
        let original: String =
            core::iter::once("v=0".to_owned()).chain(lines).map(|l| l + "\r\n").collect();
        let mut sdp = SessionDescription::parse(original.as_bytes()).unwrap();
        prop_assume!(sdp.media_count() > 0);
        let media = pick.index(sdp.media_count());
        sdp.set_port(media, port);
        let edited = sdp.emit();
        let before: Vec<_> = original.lines().collect();
        let edited = String::from_utf8(edited).unwrap();
        let after: Vec<_> = edited.lines().collect();
        prop_assert_eq!(before.len(), after.len());
        let mut seen = 0;
        for (old, new) in before.iter().zip(&after) {
            let is_media = old.starts_with("m=");
            if is_media && seen == media {
                let fields: Vec<_> = new.split(' ').collect();
                prop_assert_eq!(fields[1], port.to_string());
                let old: Vec<_> = old.split(' ').collect();
                prop_assert_eq!(&fields[2..], &old[2..]);
            } else {
                prop_assert_eq!(old, new);
            }
            seen += usize::from(is_media);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut input = b"v=0\r\n".to_vec();
        input.extend(bytes);
        if let Ok(sdp) = SessionDescription::parse(&input) {
            let again = SessionDescription::parse(&sdp.emit()).unwrap();
            prop_assert_eq!(again.emit(), sdp.emit());
        }
    }
}
