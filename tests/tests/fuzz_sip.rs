//! Fuzz targets of the SIP message level: message, URI, framing, digest.
//!
//! Each runs for `TANDEM_FUZZ_SECONDS` (1 when not set). The inputs are the messages of RFC 4475 with
//! random edits, and random octets.

use std::time::Duration;

use bolero::{TypeGenerator, check};
use tandem_signalling::build::MessageBuilder;
use tandem_signalling::digest::{Challenge, Credentials};
use tandem_signalling::error::{Malformed, ParseError};
use tandem_signalling::framing::{Frame, Framer};
use tandem_signalling::header::Header;
use tandem_signalling::message::{Message, stamp_received, validate_request, validate_response};
use tandem_signalling::name_addr::{Contact, NameAddr};
use tandem_signalling::uri::Uri;
use tandem_signalling::via::Via;

fn duration() -> Duration {
    let seconds = std::env::var("TANDEM_FUZZ_SECONDS").ok().and_then(|it| it.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

/// One change to a seed.
#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Edit {
    Set(u16, u8),
    Insert(u16, Piece),
    Remove(u16, u8),
    Repeat(u16, u8),
    Cut(u16),
}

/// What the grammar is made of.
#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Piece {
    Octet(u8),
    Text(u8),
}

const PIECES: [&[u8]; 32] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n ",
    b"\r\n\r\n",
    b",",
    b";",
    b"=",
    b"\"",
    b"\\",
    b"<",
    b">",
    b":",
    b"@",
    b"?",
    b"&",
    b"%",
    b"%00",
    b"[",
    b"]",
    b"::1",
    b"sip:",
    b"tel:",
    b"SIP/2.0",
    b"\0",
    b";rport",
    b";received=",
    b"Content-Length: 1\r\n",
    b"l:0\r\n",
    b"Via: ",
    b"CSeq: 1 A\r\n",
    b"*",
];

fn edited(seed: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = seed.to_vec();
    for edit in edits {
        let place = |at: &u16, out: &Vec<u8>| usize::from(*at) % (out.len() + 1);
        match edit {
            Edit::Set(at, octet) => {
                let at = place(at, &out);
                if let Some(slot) = out.get_mut(at) {
                    *slot = *octet;
                }
            }
            Edit::Insert(at, piece) => {
                let at = place(at, &out);
                let octets = match piece {
                    Piece::Octet(octet) => vec![*octet],
                    Piece::Text(which) => PIECES[usize::from(*which) % PIECES.len()].to_vec(),
                };
                out.splice(at..at, octets);
            }
            Edit::Remove(at, len) => {
                let at = place(at, &out);
                let end = (at + usize::from(*len)).min(out.len());
                out.drain(at..end);
            }
            Edit::Repeat(at, len) => {
                let at = place(at, &out);
                let end = (at + usize::from(*len)).min(out.len());
                let again = out[at..end].to_vec();
                out.splice(at..at, again);
            }
            Edit::Cut(at) => {
                let at = place(at, &out);
                out.truncate(at);
            }
        }
    }
    out
}

fn seeds() -> Vec<Vec<u8>> {
    let folder = format!("{}/vectors/rfc4475", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    paths.sort_unstable();
    paths.iter().map(|it| std::fs::read(it).unwrap()).collect()
}

#[test]
fn message() {
    let seeds = seeds();
    check!().with_test_time(duration()).with_type::<(u8, Vec<Edit>, bool)>().for_each(
        |(seed, edits, raw)| {
            let seed = if *raw { &[][..] } else { &seeds[usize::from(*seed) % seeds.len()] };
            read_message(&edited(seed, edits));
        },
    );
}

fn read_message(octets: &[u8]) {
    let Ok(message) = Message::parse(octets) else { return };
    assert!(message.bytes().len() <= octets.len());
    let again = Message::parse(message.bytes()).expect("what was read can be read again");
    assert_eq!(again.bytes(), message.bytes());
    assert_eq!(again.defect().is_some(), message.defect().is_some());
    let valid = if message.is_request() {
        validate_request(&message).is_ok()
    } else {
        validate_response(&message).is_ok()
    };
    if valid {
        assert!(message.call_id().is_some() && message.cseq().is_ok());
        assert!(message.from().is_ok() && message.to().is_ok() && message.top_via().is_ok());
    }
    for row in message.rows() {
        assert!(!row.value.contains(&b'\n'));
        let _ = Contact::parse(row.value);
        let _ = message.values(row.header).count();
    }
    let _ = (message.expires(), message.session_expires(), message.retry_after());
    let _ = (message.replaces(), message.reasons().count(), message.content_type());
    edit_message(&message);
}

fn edit_message(message: &Message) {
    let stamped = stamp_received(message, ([192, 0, 2, 250], 4711).into());
    assert_eq!(stamped.rows().count(), message.rows().count());
    assert_eq!(stamped.body(), message.body());
    let Ok(copy) = MessageBuilder::edit(message).finish() else { return };
    let rows = |it: &Message| -> Vec<_> {
        it.rows()
            .filter(|row| row.header != Header::ContentLength)
            .map(|row| (row.name.to_owned(), row.value.to_vec()))
            .collect()
    };
    assert_eq!(rows(&copy), rows(message));
    assert_eq!(copy.body(), message.body());
    if message.is_request() {
        let answer = MessageBuilder::response_to(message, 400, "").to_tag("t").finish();
        if let Ok(answer) = answer {
            assert_eq!(answer.vias().count(), message.vias().count());
        }
    }
}

#[test]
fn uri() {
    let seeds = [
        &b"sip:alice:secret@example.com:5060;transport=tcp;lr?Subject=a%20b&X=y"[..],
        b"sips:%61@[2001:db8::1]:5061;maddr=1.2.3.4",
        b"tel:+1-201-555-0123;phone-context=example.com",
        b"\"A \\\" B\" <sip:a@b;c=d?e=f>;tag=x;q=0.5;expires=60",
        b"SIP / 2.0 / UDP [::1] : 5060 ;branch=z9hG4bK1;received=1.2.3.4;rport",
        b"",
    ];
    check!().with_test_time(duration()).with_type::<(u8, Vec<Edit>)>().for_each(|(seed, edits)| {
        let octets = edited(seeds[usize::from(*seed) % seeds.len()], edits);
        let _ = Via::parse(&octets).map(|via| via.response_address());
        if let Ok(address) = NameAddr::parse(&octets) {
            let plain = address.without_params();
            let again = NameAddr::parse(&plain).expect("a bare address can be read again");
            assert_eq!(again.uri().as_str(), address.uri().as_str());
        }
        let Ok(uri) = Uri::parse_bytes(&octets) else { return };
        assert_eq!(uri, uri);
        Uri::parse(&uri.as_request_uri()).expect("a Request-URI is a URI");
        let record = uri.address_of_record();
        let record = Uri::parse(&record).expect("an address of record is a URI");
        assert_eq!(record.user_decoded(), uri.user_decoded());
    });
}

#[test]
fn framing() {
    let seeds = seeds();
    check!().with_test_time(duration()).with_type::<(Vec<(u8, Vec<Edit>)>, Vec<u8>)>().for_each(
        |(messages, chunks)| {
            let mut stream = Vec::new();
            for (seed, edits) in messages.iter().take(4) {
                let edits = edits.get(..2).unwrap_or(edits);
                stream.extend(edited(&seeds[usize::from(*seed) % seeds.len()], edits));
            }
            let whole = frames(&stream, &[]);
            assert_eq!(whole, frames(&stream, chunks));
            for frame in whole.0 {
                let Frame::Message(octets) = frame else { continue };
                // Framer and parser have to agree on where a message ends; line ends before it, and
                // a lone CR among them, are passed over.
                let Ok(message) = Message::parse(&octets) else { continue };
                let leading = octets.iter().take_while(|it| matches!(it, b'\r' | b'\n')).count();
                assert_eq!(message.bytes().len(), octets.len() - leading);
                let body = [Malformed::BodyShort.into(), Malformed::ContentLength.into()];
                assert!(!message.defect().is_some_and(|it: ParseError| body.contains(&it)));
            }
        },
    );
}

/// All frames, and whether the stream broke, when it comes in chunks of these sizes.
fn frames(mut stream: &[u8], chunks: &[u8]) -> (Vec<Frame>, bool) {
    let mut framer = Framer::new();
    let mut out = Vec::new();
    let mut sizes = chunks.iter().map(|it| usize::from(*it) + 1);
    while !stream.is_empty() {
        let (now, later) = stream.split_at(sizes.next().unwrap_or(stream.len()).min(stream.len()));
        framer.push(now);
        stream = later;
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => out.push(frame),
                Ok(None) => break,
                Err(_) => return (out, true),
            }
        }
    }
    (out, false)
}

#[test]
fn digest() {
    let seeds = [
        &b"Digest username=\"Mufasa\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", qop=auth, nc=00000001, \
           cnonce=\"c\", response=\"6629fae49393a05397450978507c4ef1\", opaque=\"o\""[..],
        b"Digest realm=\"a \\\" b\", nonce=\"n\", algorithm=SHA-256, qop=\"auth,auth-int\", stale=TRUE",
        b"",
    ];
    check!().with_test_time(duration()).with_type::<(u8, Vec<Edit>)>().for_each(|(seed, edits)| {
        let octets = edited(seeds[usize::from(*seed) % seeds.len()], edits);
        let _ = Credentials::parse(&octets).map(|it| it.nonce_count());
        let Ok(challenge) = Challenge::parse(&octets) else { return };
        let text = challenge.to_string();
        let again = Challenge::parse(text.as_bytes()).expect("what was written can be read");
        // Line ends and NUL cannot be quoted in a header and become spaces.
        if !octets.iter().any(|it| matches!(it, b'\r' | b'\n' | 0)) {
            assert_eq!(again, challenge);
        }
    });
}
