//! Capture files: replay, both byte orders, damage.

use super::*;
use proptest::prelude::*;
use std::io::Cursor;
use std::net::SocketAddr;

type TestPort = PcapPort<Cursor<Vec<u8>>, Vec<u8>>;

fn addr(text: &str) -> SockAddr {
    SockAddr::from(text.parse::<SocketAddr>().unwrap())
}

/// A file with one frame per entry: milliseconds, destination, payload.
fn file(packets: &[(u64, &str, &[u8])]) -> Cursor<Vec<u8>> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    for &(ms, destination, payload) in packets {
        let destination = addr(destination);
        let source = if destination.to_std().unwrap().is_ipv4() {
            addr("198.51.100.7:5000")
        } else {
            addr("[2001:db8::7]:5000")
        };
        let addresses = FrameAddresses {
            source_mac: [2, 0, 0, 0, 0, 9],
            destination_mac: [2, 0, 0, 0, 0, 8],
            source,
            destination,
            dscp: 0,
        };
        let mut out = [0; 9_216];
        let len = network::emit_ethernet(&addresses, payload, &mut out).unwrap();
        writer.write(Duration::from_millis(1_000_000 + ms), &out[..len]).unwrap();
    }
    Cursor::new(writer.finish().unwrap())
}

fn port(input: Cursor<Vec<u8>>, pace: Pace) -> TestPort {
    let mut port = TestPort::new(64, 4).unwrap();
    port.open(0, addr("192.0.2.1:4000")).unwrap();
    port.open(2, addr("[2001:db8::1]:4000")).unwrap();
    port.replay(input, pace).unwrap();
    port
}

fn burst(port: &mut TestPort, now_ms: u64) -> Vec<(u32, u64, Vec<u8>)> {
    let mut out = ArrayVec::new();
    port.receive_burst(Instant::from_millis(now_ms), &mut out);
    out.into_iter()
        .map(|packet| {
            let octets = port.payload(&packet.frame, packet.start, packet.len).to_vec();
            let seen = (packet.slot, packet.arrival.as_millis(), octets);
            port.free(packet.frame);
            seen
        })
        .collect()
}

#[test]
fn packets_arrive_on_the_slot_of_their_destination() {
    let packets: &[(u64, &str, &[u8])] = &[
        (0, "192.0.2.1:4000", b"four"),
        (20, "192.0.2.1:4001", b"for nobody"),
        (25, "[2001:db8::1]:4000", b"six"),
        (40, "192.0.2.1:4000", &[7; 3_000]),
    ];
    let mut fast = port(file(packets), Pace::AtOnce);
    let expected =
        vec![(0, 500, b"four".to_vec()), (2, 525, b"six".to_vec()), (0, 540, vec![7; MAX_PAYLOAD])];
    assert_eq!(burst(&mut fast, 500), expected);
    assert!(matches!(fast.replay_end(), Some(Ok(()))));
    assert_eq!(fast.replay_counts(), ReplayCounts { read: 4, no_slot: 1, ..Default::default() });
    assert_eq!(fast.counters().truncated, 1);
    assert_eq!(fast.available(), 64);

    let mut paced = port(file(packets), Pace::AsRecorded);
    assert_eq!(burst(&mut paced, 500), expected[..1]);
    assert_eq!(burst(&mut paced, 524), []);
    assert_eq!(burst(&mut paced, 530), expected[1..2]);
    assert!(paced.replay_end().is_none());
    assert_eq!(burst(&mut paced, 900), expected[2..]);
}

#[test]
fn what_is_sent_can_be_replayed() {
    let mut port = port(file(&[]), Pace::AtOnce);
    port.capture(Vec::new(), Duration::from_secs(1_700_000_000)).unwrap();
    port.set_dscp(0, 46);
    assert_eq!(burst(&mut port, 20), []);
    let mut out = ArrayVec::new();
    for (slot, to) in [
        (0, "198.51.100.7:5000"),
        (2, "[2001:db8::7]:5000"),
        (1, "198.51.100.7:5000"),
        (0, "[2001:db8::7]:5000"),
    ] {
        let frame = port.alloc().unwrap();
        port.bytes_mut(&frame)[128..133].copy_from_slice(b"audio");
        out.push(Departure { frame, start: 128, len: 5, slot, destination: addr(to) });
    }
    let outcome = port.send_burst(&mut out);
    assert_eq!(outcome, SendOutcome { sent: 2, failed: 2, sent_octets: 10 });
    assert_eq!(port.available(), 64);

    let capture = port.end_capture().unwrap().unwrap();
    let mut reader = Reader::new(&capture[..]).unwrap();
    let mut record = Record::default();
    for (from, to, dscp) in [
        ("192.0.2.1:4000", "198.51.100.7:5000", 46),
        ("[2001:db8::1]:4000", "[2001:db8::7]:5000", 0),
    ] {
        assert!(reader.read(&mut record).unwrap());
        assert_eq!(record.time, Duration::new(1_700_000_000, 20_000_000));
        let datagram = reader.link().datagram(&record.bytes).unwrap();
        assert_eq!((datagram.source, datagram.destination), (addr(from), addr(to)));
        assert_eq!((datagram.dscp, datagram.payload), (dscp, &b"audio"[..]));
    }
    assert!(!reader.read(&mut record).unwrap());
}

#[test]
fn cooked_and_raw_captures_are_read() {
    let ethernet = file(&[(0, "192.0.2.1:4000", b"x")]).into_inner();
    let ip = &ethernet[24 + 16 + 14..];
    for (link, header) in [(101_u32, 0), (113, 16), (276, 20)] {
        let mut bytes = ethernet[..24].to_vec();
        bytes[20..24].copy_from_slice(&link.to_le_bytes());
        let len = u32::try_from(header + ip.len()).unwrap();
        bytes.extend([[0; 4], [0; 4], len.to_le_bytes(), len.to_le_bytes()].concat());
        bytes.resize(bytes.len() + header, 0);
        bytes.extend(ip);
        let mut port = port(Cursor::new(bytes), Pace::AtOnce);
        assert_eq!(burst(&mut port, 0), [(0, 0, b"x".to_vec())], "link {link}");
    }
}

#[test]
fn a_damaged_file_ends_the_replay_with_its_error() {
    let mut bytes =
        file(&[(0, "192.0.2.1:4000", b"one"), (1, "192.0.2.1:4000", b"two")]).into_inner();
    bytes.truncate(bytes.len() - 1);
    let mut port = port(Cursor::new(bytes), Pace::AtOnce);
    assert_eq!(burst(&mut port, 0).len(), 1);
    assert!(matches!(port.replay_end(), Some(Err(PcapError::Truncated))));
    assert_eq!(burst(&mut port, 1), []);
}

#[test]
fn two_slots_of_one_address_are_refused() {
    let mut port = port(file(&[]), Pace::AtOnce);
    assert!(port.open(1, addr("192.0.2.1:4000")).is_err());
    port.close(0);
    port.open(1, addr("192.0.2.1:4000")).unwrap();
}

proptest! {
    #[test]
    fn no_file_causes_a_panic(mut octets in proptest::collection::vec(any::<u8>(), 0..400), valid in any::<bool>()) {
        if valid && octets.len() >= 24 {
            octets[..4].copy_from_slice(&[0xd4, 0xc3, 0xb2, 0xa1]);
            octets[20..24].copy_from_slice(&[1, 0, 0, 0]);
        }
        let mut port = TestPort::new(8, 1).unwrap();
        if port.replay(Cursor::new(octets), Pace::AtOnce).is_ok() {
            let mut out = ArrayVec::new();
            port.receive_burst(Instant::ZERO, &mut out);
            prop_assert!(port.replay_end().is_some());
        }
    }
}
