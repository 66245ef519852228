//! Fuzz targets of the packet formats: whatever the octets are, parsing ends without a panic, and
//! what is parsed can be written and read again.
//!
//! Each runs for `TANDEM_FUZZ_SECONDS` (1 when not set).

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use bolero::{TypeGenerator, check};
use std::time::Duration;
use tandem_wire::demux::{Class, classify};
use tandem_wire::network::{FrameAddresses, emit_ethernet, parse_ethernet, parse_ip};
use tandem_wire::rtcp::{Compound, Report, ReportBlock};
use tandem_wire::rtp::{FixedHeader, RtpHeader, RtpView};
use tandem_wire::stun::{StunHeader, StunView};
use tandem_wire::telephone_event::TelephoneEvent;

fn duration() -> Duration {
    let seconds = std::env::var("TANDEM_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

/// Random octets behind a beginning that gets past the first check.
#[derive(Clone, Debug, TypeGenerator)]
struct Input {
    seed: u8,
    edits: Vec<(u8, u8)>,
    tail: Vec<u8>,
}

impl Input {
    fn bytes(&self, seeds: &[&[u8]]) -> Vec<u8> {
        let mut bytes = match seeds.get(usize::from(self.seed) % (seeds.len() + 1)) {
            Some(seed) => seed.to_vec(),
            None => Vec::new(),
        };
        bytes.extend_from_slice(&self.tail);
        for (at, value) in &self.edits {
            if let Some(octet) = bytes.get_mut(usize::from(*at)) {
                *octet = *value;
            }
        }
        bytes
    }
}

#[test]
fn rtp() {
    let seeds: [&[u8]; 3] = [
        &[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4],
        &[
            0xb2, 0x88, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0xbe, 0xde, 0, 1, 0,
            0, 0, 0, 1, 1,
        ],
        &[0xa0, 101, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 5, 0x8a, 3, 0x20, 0, 0, 0, 4],
    ];
    check!().with_type::<Input>().with_test_time(duration()).for_each(|input| {
        let bytes = input.bytes(&seeds);
        let secured = RtpHeader::parse(&bytes, true);
        let Ok(view) = RtpView::new(&bytes) else { return };
        let header = *view.header();
        assert_eq!(secured, Ok(RtpHeader { padding: 0, ..header }));
        let parts = usize::from(header.header_len) + view.payload().len();
        assert_eq!(parts + usize::from(header.padding), bytes.len());
        let fixed = FixedHeader::parse(&bytes).unwrap();
        assert_eq!((fixed.ssrc(), fixed.sequence()), (header.ssrc, header.sequence));
        let sources: Vec<_> = view.sources().collect();
        let mut again = [0; 80];
        let len = header.emit(&sources, &mut again).unwrap();
        if view.extension().is_none() && header.padding == 0 {
            assert_eq!(again[..len], bytes[..len]);
        }
        let _ = TelephoneEvent::parse(view.payload());
        assert!(!matches!(classify(&bytes), Class::Stun | Class::Dtls | Class::Unknown));
    });
}

#[test]
fn rtcp() {
    let mut seed = [0; 52];
    let report = Report {
        sender: tandem_wire::rtp::Ssrc(7),
        info: Some(Default::default()),
        blocks: &[ReportBlock::default()],
    };
    report.emit(&mut seed).unwrap();
    let seeds: [&[u8]; 4] = [
        &seed,
        &[0x80, 201, 0, 1, 0, 0, 0, 9, 0x81, 202, 0, 3, 0, 0, 0, 9, 1, 2, b'a', b'b', 0, 0, 0, 0],
        &[0x81, 203, 0, 3, 0, 0, 0, 9, 4, b'd', b'o', b'n', b'e', 0, 0, 0],
        &[
            0x80, 207, 0, 3, 0, 0, 0, 9, 4, 0, 0, 1, 0, 0, 0, 1, 0x81, 204, 0, 2, 0, 0, 0, 9, 1, 2,
            3, 4,
        ],
    ];
    check!().with_type::<Input>().with_test_time(duration()).for_each(|input| {
        let bytes = input.bytes(&seeds);
        let Ok(compound) = Compound::new(&bytes) else { return };
        let mut total = 0;
        for packet in compound.packets() {
            total += packet.body().len() + 4;
            let blocks: Vec<_> = packet.report_blocks().collect();
            let _ = (packet.cname(), packet.bye_reason(), packet.app(), packet.ssrc());
            let _ = (packet.bye_sources().count(), packet.xr_blocks().count());
            let info = packet.sender_info();
            if let (Some(sender), true) = (packet.ssrc(), !blocks.is_empty()) {
                let mut again = [0; 800];
                let report = Report { sender, info, blocks: &blocks };
                let len = report.emit(&mut again).unwrap();
                let back = Compound::new(&again[..len]).unwrap().packets().next().unwrap();
                assert_eq!(back.report_blocks().collect::<Vec<_>>(), blocks);
                assert_eq!(back.sender_info(), info);
            }
        }
        assert!(total <= bytes.len());
    });
}

#[test]
fn stun() {
    let seed = [
        0x00, 0x01, 0x00, 0x08, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0,
        6, 0, 3, b'a', b'b', b'c', 0,
    ];
    check!().with_type::<Input>().with_test_time(duration()).for_each(|input| {
        let bytes = input.bytes(&[&seed]);
        let Ok(view) = StunView::new(&bytes) else { return };
        let mut again = vec![0; bytes.len()];
        let mut at = StunHeader::parse(&view).emit(&mut again).unwrap();
        for attribute in view.attributes() {
            at += attribute.emit(&mut again[at..]).unwrap();
        }
        assert_eq!(at, bytes.len());
        assert!(StunView::new(&again).unwrap().attributes().eq(view.attributes()));
    });
}

#[test]
fn network_headers() {
    let mut v4 = [0; 64];
    let mut v6 = [0; 96];
    let mut addresses = FrameAddresses {
        source_mac: [2; 6],
        destination_mac: [4; 6],
        source: std::net::SocketAddr::from(([192, 0, 2, 1], 4_000)).into(),
        destination: std::net::SocketAddr::from(([192, 0, 2, 2], 5_000)).into(),
        dscp: 46,
    };
    emit_ethernet(&addresses, b"octets", &mut v4).unwrap();
    addresses.source = "[2001:db8::1]:4000".parse::<std::net::SocketAddr>().unwrap().into();
    addresses.destination = "[2001:db8::2]:5000".parse::<std::net::SocketAddr>().unwrap().into();
    emit_ethernet(&addresses, b"octets", &mut v6).unwrap();
    check!().with_type::<Input>().with_test_time(duration()).for_each(|input| {
        let bytes = input.bytes(&[&v4, &v6]);
        let _ = parse_ip(&bytes);
        let Ok(found) = parse_ethernet(&bytes) else { return };
        let addresses = FrameAddresses {
            source_mac: [2; 6],
            destination_mac: [4; 6],
            source: found.source,
            destination: found.destination,
            dscp: found.dscp,
        };
        let mut again = vec![0; bytes.len() + 64];
        let len = emit_ethernet(&addresses, found.payload, &mut again).unwrap();
        assert_eq!(parse_ethernet(&again[..len]), Ok(found));
    });
}
