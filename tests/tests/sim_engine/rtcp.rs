//! RTCP: passed on, read for the round trip, and our own where there is none.

use crate::harness::{Sim, call, call_with};
use tandem_contract::command::{FLAG_NO_OWN_RTCP, FLAG_RTCP_MUX};
use tandem_contract::measure::RTT_UNKNOWN;
use tandem_contract::reason::{AbsorbReason, DropReason};
use tandem_wire::rtcp::{Compound, Report, ReportBlock, SenderInfo};
use tandem_wire::rtp::Ssrc;

fn sender_report(ssrc: u32, ntp: u64) -> Vec<u8> {
    let info = SenderInfo { ntp, rtp: 1, packets: 2, octets: 3 };
    emit(&Report { sender: Ssrc(ssrc), info: Some(info), blocks: &[] })
}

fn receiver_report(ssrc: u32, lsr: u32, dlsr_ms: u32) -> Vec<u8> {
    let dlsr = dlsr_ms * 65_536 / 1_000;
    let block = ReportBlock { ssrc: Ssrc(1), lsr, dlsr, ..Default::default() };
    emit(&Report { sender: Ssrc(ssrc), info: None, blocks: &[block] })
}

fn emit(report: &Report<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    let len = report.emit(&mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

#[test]
fn it_passes_between_its_own_ports_and_tells_the_round_trip() {
    let mut sim = Sim::new();
    let [mut a, mut b] = call(&mut sim);
    a.speak(&mut sim);
    b.speak(&mut sim);
    sim.take_sent();
    let report = sender_report(a.ssrc, 0x1234_5678_9abc_def0);
    sim.inject(a.handle, true, a.address.with_port(5_001), &report);
    let sent = sim.take_sent();
    let (slot, to) = (b.handle.index * 2 + 1, b.address.with_port(6_001));
    assert_eq!((sent[0].slot, sent[0].to, &sent[0].bytes), (slot, to, &report));
    sim.pass_ms(130);
    let answer = receiver_report(b.ssrc, 0x5678_9abc, 50);
    sim.inject(b.handle, true, b.address.with_port(6_001), &answer);
    assert_eq!(sim.take_sent()[0].to, a.address.with_port(5_001));
    let rtt_ms = sim.figures(b.handle).rx.rtt_ns as f64 / 1e6;
    assert!((79.9..80.1).contains(&rtt_ms), "{rtt_ms}");
    assert_eq!(sim.figures(a.handle).rx.rtt_ns, RTT_UNKNOWN);
    assert_eq!(sim.published(b.handle).rx.rtcp_packets, 1);
    let figures = sim.published(b.handle);
    assert_eq!(figures.tx_rtcp_packets - figures.own_rtcp_packets, 1);
}

#[test]
fn multiplexed_and_separate_legs_are_bridged() {
    let mut sim = Sim::new();
    let addresses = ["192.0.2.1:5000", "198.51.100.2:6000"];
    let [a, b] = call_with(&mut sim, addresses, |i, spec| {
        spec.flags |= if i == 0 { FLAG_RTCP_MUX } else { 0 };
    });
    let report = sender_report(a.ssrc, 1);
    sim.inject(a.handle, false, a.address, &report);
    let sent = sim.take_sent();
    assert_eq!((sent[0].slot, sent[0].to), (b.handle.index * 2 + 1, b.address.with_port(6_001)));
    sim.inject(b.handle, true, b.address.with_port(6_001), &sender_report(b.ssrc, 1));
    let sent = sim.take_sent();
    assert_eq!((sent[0].slot, sent[0].to), (a.handle.index * 2, a.address));
    let m = sim.figures(a.handle).rx;
    assert_eq!((m.packets, m.rtcp_packets), (0, 1));
}

#[test]
fn malformed_rtcp_is_dropped_and_counted() {
    let mut sim = Sim::new();
    let [mut a, _] = call(&mut sim);
    a.speak(&mut sim);
    sim.take_sent();
    let mut cut = sender_report(a.ssrc, 1);
    cut.truncate(20);
    sim.inject(a.handle, true, a.address.with_port(5_001), &cut);
    assert_eq!(sim.dropped(DropReason::BadRtcp), 1);
    sim.inject(a.handle, true, a.address.with_port(5_001), &a.packet(0, 0, &[0; 9]));
    assert_eq!(sim.dropped(DropReason::BadRtcp), 2, "RTP on the RTCP port");
    assert!(sim.take_sent().is_empty());
}

#[test]
fn without_a_listener_it_is_absorbed() {
    let mut sim = Sim::new();
    let addresses = ["192.0.2.1:5000", "198.51.100.2:6000"];
    let [a, _] = call_with(&mut sim, addresses, |_, spec| spec.edges = Default::default());
    sim.inject(a.handle, true, a.address.with_port(5_001), &sender_report(a.ssrc, 1));
    let c = sim.totals();
    assert_eq!((c.absorbed[AbsorbReason::Terminated as usize], c.forwarded), (1, 0));
}

#[test]
fn a_leg_that_gets_none_gets_ours() {
    let mut sim = Sim::new();
    let [mut a, mut b] = call(&mut sim);
    for _ in 0..500 {
        a.speak(&mut sim);
        b.speak(&mut sim);
        sim.pass_ms(20);
    }
    let rtcp: Vec<_> = sim.take_sent().into_iter().filter(|sent| sent.slot & 1 == 1).collect();
    let to_b: Vec<_> = rtcp.iter().filter(|r| r.to == b.address.with_port(6_001)).collect();
    assert!((1..=4).contains(&to_b.len()), "{}", to_b.len());
    let compound = Compound::new(&to_b[0].bytes).unwrap();
    let packets: Vec<_> = compound.packets().collect();
    let info = packets[0].sender_info().expect("a sender report");
    assert_eq!(packets[0].ssrc(), Some(Ssrc(a.ssrc)), "b hears a's stream");
    assert!((100..=500).contains(&info.packets));
    assert_eq!(info.octets, info.packets * 160);
    let block = packets[0].report_blocks().next().expect("about what b sends");
    assert_eq!((block.ssrc, block.cumulative_lost, block.jitter), (Ssrc(b.ssrc), 0, 0));
    assert_eq!(packets[1].cname().map(|(ssrc, name)| (ssrc, name.len())), Some((Ssrc(a.ssrc), 16)));
    // B's answer to our report gives the round trip.
    let last = Compound::new(&to_b.last().unwrap().bytes).unwrap();
    let lsr = last.packets().next().unwrap().sender_info().unwrap().ntp_middle();
    let answer = receiver_report(b.ssrc, lsr, 0);
    sim.inject(b.handle, true, b.address.with_port(6_001), &answer);
    assert_ne!(sim.figures(b.handle).rx.rtt_ns, RTT_UNKNOWN);
    let c = sim.totals();
    assert!(c.originated >= rtcp.len() as u64);
    assert_eq!(c.sent, c.forwarded + c.originated);
    assert!(sim.published(b.handle).own_rtcp_packets >= to_b.len() as u64);
}

#[test]
fn passing_reports_and_a_flag_keep_ours_away() {
    let mut sim = Sim::new();
    let [mut a, mut b] = call(&mut sim);
    for i in 0..1_000u64 {
        a.speak(&mut sim);
        b.speak(&mut sim);
        if i % 100 == 0 {
            sim.inject(a.handle, true, a.address.with_port(5_001), &sender_report(a.ssrc, i));
        }
        sim.pass_ms(20);
    }
    sim.pass_ms(300);
    assert_eq!(sim.figures(b.handle).own_rtcp_packets, 0, "a's reports reach b");
    assert!(sim.published(a.handle).own_rtcp_packets > 0, "nobody reports to a");
    let mut sim = Sim::new();
    let addresses = ["192.0.2.1:5000", "198.51.100.2:6000"];
    let [mut a, _] = call_with(&mut sim, addresses, |_, spec| spec.flags |= FLAG_NO_OWN_RTCP);
    for _ in 0..800 {
        a.speak(&mut sim);
        sim.pass_ms(20);
    }
    assert_eq!(sim.totals().originated, 0);
}
