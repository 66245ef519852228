//! Upgrades and frames in any fragmentation.

use super::*;

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: sip.example.com\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://www.example.com\r\nSec-WebSocket-Protocol: chat, sip\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// A client's frame, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut out = vec![first];
    match u8::try_from(payload.len()) {
        Ok(len) if len < 126 => out.push(0x80 | len),
        _ => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(octet, mask)| octet ^ mask));
    out
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const PING: u8 = 0x89;
const CLOSE: u8 = 0x88;

fn all(socket: &mut WebSocket, out: &mut Vec<u8>) -> Result<Vec<Frame>, CloseReason> {
    let mut frames = Vec::new();
    while let Some(frame) = socket.next_frame(out)? {
        frames.push(frame);
    }
    Ok(frames)
}

fn open() -> WebSocket {
    let mut socket = WebSocket::default();
    socket.push(UPGRADE.as_bytes());
    assert_eq!(all(&mut socket, &mut Vec::new()), Ok(vec![]));
    socket
}

#[test]
fn every_split_of_a_stream_gives_the_same_messages() {
    let long = vec![b'x'; 300];
    let mut stream = UPGRADE.as_bytes().to_vec();
    stream.extend(frame(TEXT, b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"));
    stream.extend(frame(PING, b"hey"));
    stream.extend(frame(BINARY, &long));
    // In three fragments, with a ping between.
    stream.extend(frame(0x01, b"BYE "));
    stream.extend(frame(0x00, b"sip:"));
    stream.extend(frame(PING, b""));
    stream.extend(frame(0x80, b"a@b"));
    stream.extend(frame(TEXT, b"\r\n\r\n"));
    let expected = vec![
        Frame::Message(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n".to_vec()),
        Frame::Message(long),
        Frame::Message(b"BYE sip:a@b".to_vec()),
        Frame::Ping,
    ];
    let mut answers = None;
    for split in 0..=stream.len() {
        let mut socket = WebSocket::default();
        let mut out = Vec::new();
        socket.push(&stream[..split]);
        let mut frames = all(&mut socket, &mut out).unwrap();
        socket.push(&stream[split..]);
        frames.extend(all(&mut socket, &mut out).unwrap());
        assert_eq!(frames, expected, "split at {split}");
        assert_eq!((socket.pending(), socket.input.capacity()), (0, 0), "split at {split}");
        assert_eq!(answers.get_or_insert(out.clone()), &out, "split at {split}");
    }
    let answers = answers.unwrap();
    let end = answers.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
    let head = core::str::from_utf8(&answers[..end]).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert!(head.contains("sec-websocket-protocol: sip"), "{head}");
    assert_eq!(&answers[end..], b"\x8a\x03hey\x8a\x00");
}

#[test]
fn octet_by_octet_nothing_is_lost() {
    let mut socket = WebSocket::default();
    let mut out = Vec::new();
    let mut frames = Vec::new();
    let stream = [UPGRADE.as_bytes(), &frame(TEXT, b"hello"), &frame(TEXT, b"again")].concat();
    for octet in stream {
        socket.push(&[octet]);
        frames.extend(all(&mut socket, &mut out).unwrap());
    }
    assert_eq!(frames, [Frame::Message(b"hello".to_vec()), Frame::Message(b"again".to_vec())]);
}

#[test]
fn what_is_no_websocket_with_sip_is_refused() {
    for bad in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        UPGRADE.replace("chat, sip", "chat"),
        UPGRADE.replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 7"),
        "REGISTER sip:x SIP/2.0\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(limits::MAX_UPGRADE)),
    ] {
        let mut socket = WebSocket::default();
        let mut out = Vec::new();
        socket.push(bad.as_bytes());
        assert_eq!(socket.next_frame(&mut out), Err(CloseReason::WebSocket), "{bad}");
        assert_eq!(out, REFUSAL);
    }
    let body = REFUSAL.split(|it| *it == b'\n').next_back().unwrap();
    assert_eq!(body.len(), 53);
}

#[test]
fn a_frame_that_breaks_the_rules_ends_the_connection() {
    let mut unmasked = frame(TEXT, b"hi");
    unmasked[1] &= 0x7f;
    unmasked.drain(2..6);
    let huge = [&[TEXT, 0x80 | 127][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    let mut fragments = frame(0x01, &vec![b'x'; 40_000]);
    fragments.extend(frame(0x80, &vec![b'x'; 40_000]));
    for bad in [unmasked, huge, fragments, frame(TEXT, b"\xff\xfe"), frame(0x80, b"continued")] {
        let mut socket = open();
        socket.push(&bad);
        assert_eq!(all(&mut socket, &mut Vec::new()), Err(CloseReason::WebSocket));
    }
}

#[test]
fn a_close_is_answered() {
    let mut socket = open();
    let mut out = Vec::new();
    socket.push(&frame(CLOSE, &1000u16.to_be_bytes()));
    assert_eq!(all(&mut socket, &mut out), Err(CloseReason::Peer));
    assert_eq!(out, b"\x88\x02\x03\xe8");
}

#[test]
fn text_goes_as_text_and_anything_else_as_binary() {
    let mut socket = open();
    let mut out = Vec::new();
    socket.wrap("caf\u{e9}".as_bytes(), &mut out).unwrap();
    socket.wrap(b"\xff", &mut out).unwrap();
    socket.ping(&mut out).unwrap();
    assert_eq!(out, b"\x81\x05caf\xc3\xa9\x82\x01\xff\x89\x00");
    socket.push(&frame(0x8a, b""));
    assert_eq!(all(&mut socket, &mut out), Ok(vec![Frame::Pong]));
}

#[test]
fn what_waits_is_counted() {
    let mut socket = open();
    socket.push(&frame(0x01, b"1234567890"));
    assert_eq!(all(&mut socket, &mut Vec::new()), Ok(vec![]));
    assert_eq!(socket.pending(), 10);
    socket.push(&frame(0x80, b"12345")[..8]);
    assert_eq!(all(&mut socket, &mut Vec::new()), Ok(vec![]));
    assert_eq!(socket.pending(), 18);
}

#[test]
fn no_input_makes_a_panic_or_holds_more_than_a_message() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for round in 0..2_000 {
        let mut stream = frame(TEXT, b"OPTIONS sip:a@b SIP/2.0\r\n\r\n");
        stream.extend(frame(0x01, &[b'x'; 200]));
        stream.extend(frame(0x80, &[b'y'; 50]));
        for _ in 0..=next(6) {
            let at = usize::try_from(next(stream.len() as u64)).unwrap();
            stream[at] = u8::try_from(next(256)).unwrap();
        }
        let mut socket = open();
        let mut out = Vec::new();
        for chunk in stream.chunks(usize::try_from(1 + next(100)).unwrap()) {
            socket.push(chunk);
            if all(&mut socket, &mut out).is_err() {
                break;
            }
            assert!(socket.pending() <= MAX_MESSAGE_OCTETS + 14, "round {round}");
        }
    }
}
