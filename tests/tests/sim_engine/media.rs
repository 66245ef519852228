//! What happens to the packets of a call.

use crate::harness::{Party, Sim, addr, by_address, call, call_with, spec};
use tandem_contract::command::{
    FLAG_BLOCK, FLAG_HOLD, FLAG_OPAQUE, FLAG_RTCP_MUX, FLAG_SECURED, TerminationSpec,
};
use tandem_contract::event::Event;
use tandem_contract::reason::DropReason;
use tandem_hw::port::fault::FaultPlan;
use tandem_wire::telephone_event::TelephoneEvent;

#[test]
fn ipv4_and_ipv6_are_bridged_unchanged() {
    let mut sim = Sim::with(FaultPlan::default(), 1, [true, true], 1_024);
    let [mut a, mut b] = call_with(&mut sim, ["192.0.2.1:5000", "[2001:db8:1::5]:6000"], |_, _| {});
    for _ in 0..10 {
        a.speak(&mut sim);
        b.speak(&mut sim);
    }
    let sent = sim.take_sent();
    let counts = by_address(&sent);
    assert_eq!((counts[&a.address], counts[&b.address]), (10, 10));
    assert!(sent.iter().all(|s| s.bytes.len() == 172 && s.bytes[0] == 0x80));
}

#[test]
fn a_fork_copies_to_every_branch_and_the_books_balance() {
    let mut sim = Sim::new();
    let peers: Vec<_> = (0..3).map(|_| sim.endpoint(false)).collect();
    let caller = sim.endpoint(false);
    for (i, peer) in peers.iter().enumerate() {
        let mut remote = spec(addr(&format!("198.51.100.{i}:6000")), &[caller.0]);
        remote.local_rtp = peer.1;
        sim.put(peer.0, remote);
    }
    let handles: Vec<_> = peers.iter().map(|p| p.0).collect();
    let mut own = spec(addr("192.0.2.1:5000"), &handles);
    own.local_rtp = caller.1;
    sim.put(caller.0, own);
    let mut party = crate::harness::Party {
        handle: caller.0,
        local: caller.1,
        address: addr("192.0.2.1:5000"),
        ssrc: 1,
        sequence: 0,
    };
    for _ in 0..100 {
        party.speak(&mut sim);
    }
    let counts = by_address(&sim.take_sent());
    assert_eq!(counts.len(), 3);
    assert!(counts.values().all(|n| *n == 100));
    let c = sim.totals();
    assert_eq!((c.forwarded, c.copies, c.sent, c.unsent), (100, 200, 300, 0));
}

#[test]
fn non_rtp_is_dropped_with_its_reason() {
    let mut sim = Sim::new();
    let [a, _] = call(&mut sim);
    let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (bytes, reason) in [
        (&stun[..], DropReason::Stun),
        (&[22, 254, 253, 0][..], DropReason::Dtls),
        (b"INVITE sip:x", DropReason::NotRtp),
        (&[][..], DropReason::NotRtp),
        (&[0x80, 0, 0][..], DropReason::BadRtp),
        (&[0xb0; 13][..], DropReason::BadRtp),
        (&[0x80, 200, 0][..], DropReason::BadRtcp),
        (&[0x80; 3_000][..], DropReason::TooLong),
    ] {
        let before = sim.dropped(reason);
        sim.inject(a.handle, false, a.address, bytes);
        assert_eq!(sim.dropped(reason), before + 1, "{reason:?}");
    }
    let mut padded = a.packet(0, 0, &[1, 2, 3, 9]);
    padded[0] |= 0x20;
    sim.inject(a.handle, false, a.address, &padded);
    assert_eq!(sim.dropped(DropReason::BadRtp), 3, "padding longer than the payload");
    padded[15] = 2;
    sim.inject(a.handle, false, a.address, &padded);
    let figures = sim.figures(a.handle);
    assert_eq!((figures.rx.packets, figures.rx.octets, figures.dropped), (1, 2, 9));
}

#[test]
fn nobody_to_send_to_is_told_apart() {
    let mut sim = Sim::new();
    let [mut a, b] = call(&mut sim);
    let alone = TerminationSpec { local_rtp: a.local, ..spec(a.address, &[]) };
    sim.put(a.handle, alone);
    a.speak(&mut sim);
    assert_eq!(sim.dropped(DropReason::NoEdge), 1);
    let unknown = TerminationSpec { local_rtp: b.local, ..Default::default() };
    sim.put(b.handle, TerminationSpec { lease_ms: 9_999, ..unknown });
    sim.put(a.handle, TerminationSpec { edges: spec(a.address, &[b.handle]).edges, ..alone });
    a.speak(&mut sim);
    assert_eq!(sim.dropped(DropReason::NoDestination), 1);
    let blocked = TerminationSpec { flags: FLAG_BLOCK, ..alone };
    sim.put(a.handle, blocked);
    a.speak(&mut sim);
    assert_eq!(sim.dropped(DropReason::Blocked), 1);
    assert_eq!(sim.figures(a.handle).rx.packets, 3, "measured all the same");
}

#[test]
fn opaque_media_passes_as_it_is() {
    let mut sim = Sim::new();
    let addresses = ["192.0.2.1:5000", "198.51.100.2:6000"];
    let [a, b] = call_with(&mut sim, addresses, |_, spec| spec.flags |= FLAG_OPAQUE);
    for bytes in [&b"\x00\x06udptl"[..], &[0xff], &[]] {
        sim.inject(a.handle, false, a.address, bytes);
        assert_eq!(sim.take_sent()[0].bytes, bytes);
    }
    sim.inject(a.handle, true, a.address.with_port(5_001), b"other port");
    let sent = sim.take_sent();
    assert_eq!((sent[0].slot, sent[0].to), (b.handle.index * 2 + 1, b.address.with_port(6_001)));
    let m = sim.figures(a.handle).rx;
    assert_eq!((m.packets, m.wire_octets, m.expected, m.lost), (4, 18, 0, 0));
}

#[test]
fn secured_media_passes_untouched_and_is_measured_by_its_clear_header() {
    let mut sim = Sim::new();
    let addresses = ["192.0.2.1:5000", "198.51.100.2:6000"];
    let flags = FLAG_SECURED | FLAG_RTCP_MUX;
    let [mut a, _] = call_with(&mut sim, addresses, |_, spec| spec.flags |= flags);
    for _ in 0..3 {
        // The padding bit is set, and its count is encrypted.
        let mut packet = a.packet(101, 7, &[0xee; 30]);
        packet[0] |= 0x20;
        a.sequence += 1;
        sim.inject(a.handle, false, a.address, &packet);
        assert_eq!(sim.take_sent()[0].bytes, packet);
    }
    // SRTCP: a clear first header whose length does not cover index and tag.
    let srtcp = [0x80, 201, 0, 1, 0, 0, 0, 100, 0xde, 0xad, 0xbe, 0xef, 0x80, 0, 0, 1, 9, 9, 9];
    sim.inject(a.handle, false, a.address, &srtcp);
    assert_eq!(sim.take_sent()[0].bytes, srtcp);
    sim.pass_ms(20_000);
    assert!(sim.take_sent().is_empty(), "no reports of our own");
    assert!(!sim.take_events().iter().any(|e| matches!(e, Event::Dtmf { .. })));
    let figures = sim.figures(a.handle);
    assert_eq!((figures.rx.packets, figures.rx.lost, figures.rx.rtcp_packets), (3, 0, 1));
}

#[test]
fn silence_is_reported_once_and_not_on_hold() {
    let mut sim = Sim::new();
    let addresses = ["192.0.2.1:5000", "198.51.100.2:6000"];
    let [mut a, b] = call_with(&mut sim, addresses, |_, spec| spec.media_timeout_ms = 3_000);
    let timeouts = |sim: &mut Sim| {
        let mut who = Vec::new();
        for event in sim.take_events() {
            if let Event::MediaTimeout { handle, silent_ms } = event {
                assert!((3_000..3_700).contains(&silent_ms), "{silent_ms}");
                who.push(handle);
            }
        }
        who
    };
    for _ in 0..100 {
        a.speak(&mut sim);
        sim.pass_ms(20);
    }
    sim.pass_ms(1_700);
    assert_eq!(timeouts(&mut sim), [b.handle]);
    sim.pass_ms(10_000);
    assert_eq!(timeouts(&mut sim), [a.handle], "once");
    a.speak(&mut sim);
    sim.pass_ms(3_700);
    assert_eq!(timeouts(&mut sim), [a.handle], "again after it spoke");
    let mut held = spec(b.address, &[a.handle]);
    (held.local_rtp, held.media_timeout_ms, held.flags) = (b.local, 3_000, FLAG_HOLD);
    sim.put(b.handle, held);
    sim.pass_ms(10_000);
    assert!(timeouts(&mut sim).is_empty());
    sim.put(b.handle, TerminationSpec { flags: 0, ..held });
    sim.pass_ms(2_900);
    assert!(timeouts(&mut sim).is_empty(), "counted from the end of the hold");
    sim.pass_ms(800);
    assert_eq!(timeouts(&mut sim), [b.handle]);
}

#[test]
fn digits_are_told_once_whatever_is_lost() {
    let mut sim = Sim::new();
    let [mut a, _] = call(&mut sim);
    a.speak(&mut sim);
    let mut press = |sim: &mut Sim, code: u8, timestamp: u32, lose_ends: bool| {
        for i in 1..=8u16 {
            let (end, duration) = (i > 5, i.min(6) * 160);
            let event = TelephoneEvent { code, end, volume: 10, duration };
            let mut payload = [0; 4];
            event.emit(&mut payload).unwrap();
            let packet = a.packet(101, timestamp, &payload);
            a.sequence += 1;
            if !(end && lose_ends) {
                sim.inject(a.handle, false, a.address, &packet);
            }
            sim.pass_ms(20);
        }
    };
    press(&mut sim, 5, 1_000, false);
    press(&mut sim, 5, 9_000, false);
    press(&mut sim, 11, 17_000, true);
    sim.pass_ms(1_200);
    let digits: Vec<_> = sim
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Dtmf { code, duration_ms, .. } => Some((code, duration_ms)),
            _ => None,
        })
        .collect();
    assert_eq!(digits, [(5, 120), (5, 120), (11, 100)]);
    let m = sim.figures(a.handle).rx;
    assert_eq!((m.dtmf_events, m.jitter_ns, m.payload_type), (3, 0, 0));
}

/// A packet of a telephone event that ends, the only one of it.
fn digit(a: &mut Party, code: u8, timestamp: u32) -> Vec<u8> {
    let event = TelephoneEvent { code, end: true, volume: 10, duration: 800 };
    let mut payload = [0; 4];
    event.emit(&mut payload).unwrap();
    a.sequence += 1;
    a.packet(101, timestamp, &payload)
}

fn told_digits(sim: &mut Sim) -> Vec<u8> {
    let code = |event| match event {
        Event::Dtmf { code, .. } => Some(code),
        _ => None,
    };
    sim.take_events().into_iter().filter_map(code).collect()
}

#[test]
fn digits_that_arrive_together_or_with_a_new_ssrc_are_all_told() {
    let mut sim = Sim::new();
    let [mut a, _] = call(&mut sim);
    a.speak(&mut sim);
    a.ssrc += 1;
    a.speak(&mut sim);
    for code in 1..=5 {
        let packet = digit(&mut a, code, u32::from(code) * 1_000);
        sim.inject(a.handle, false, a.address, &packet);
    }
    assert_eq!(told_digits(&mut sim), [1, 2, 3, 4, 5]);
    assert_eq!(sim.figures(a.handle).rx.dtmf_events, 5);
}

#[test]
fn a_flood_of_digits_does_not_flood_control() {
    let mut sim = Sim::new();
    let [mut a, _] = call(&mut sim);
    a.speak(&mut sim);
    for number in 1..=500 {
        let packet = digit(&mut a, 1, number * 1_000);
        sim.inject(a.handle, false, a.address, &packet);
    }
    assert_eq!(told_digits(&mut sim).len(), 33);
    assert_eq!(sim.figures(a.handle).rx.dtmf_events, 500, "counted all the same");
    let packet = digit(&mut a, 9, 7);
    sim.inject(a.handle, false, a.address, &packet);
    assert_eq!(told_digits(&mut sim), [9]);
}

#[test]
fn dscp_is_set_on_change() {
    let mut sim = Sim::new();
    let addresses = ["192.0.2.1:5000", "198.51.100.2:6000"];
    let [a, b] = call_with(&mut sim, addresses, |i, spec| spec.dscp = if i == 0 { 46 } else { 0 });
    let slot = |p: &crate::harness::Party| p.handle.index * 2;
    let marks = [sim.worker.port_mut().inner().dscp(slot(&a)), {
        sim.worker.port_mut().inner().dscp(slot(&b) + 1)
    }];
    assert_eq!(marks, [Some(46), Some(0)]);
    let mut changed = spec(b.address, &[a.handle]);
    (changed.local_rtp, changed.dscp) = (b.local, 34);
    sim.put(b.handle, changed);
    assert_eq!(sim.worker.port_mut().inner().dscp(slot(&b) + 1), Some(34));
}
