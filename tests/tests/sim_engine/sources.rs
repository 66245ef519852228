//! Who is accepted as the party of a call, and who is not.

use crate::harness::{Sim, addr, call, call_with, spec};
use tandem_contract::command::{FLAG_RELEARN, FLAG_STRICT};
use tandem_contract::event::Event;
use tandem_contract::reason::DropReason;

#[test]
fn the_announced_party_is_heard_from_its_first_packet_and_nobody_else() {
    let mut sim = Sim::new();
    let [mut a, b] = call(&mut sim);
    a.speak(&mut sim);
    let (handle, source) = (a.handle, a.address);
    let latched = Event::Latched { handle, source, rtcp: false, moved: false };
    assert!(sim.take_events().contains(&latched));
    let sent = sim.take_sent();
    assert_eq!((sent.len(), sent[0].to, sent[0].slot), (1, b.address, b.handle.index * 2));
    let mut intruder = a.clone();
    for _ in 0..10 {
        intruder.speak_from(&mut sim, addr("203.0.113.66:5000"));
    }
    assert_eq!(sim.dropped(DropReason::UnknownSource), 10);
    assert!(sim.take_sent().is_empty());
    assert_eq!(sim.figures(a.handle).rx.packets, 1, "nothing of a stranger is measured");
}

#[test]
fn a_party_behind_a_nat_is_learnt_by_four_packets_and_answered_there() {
    let mut sim = Sim::new();
    let [mut a, mut b] = call(&mut sim);
    let outside = addr("203.0.113.1:31000");
    for _ in 0..6 {
        a.speak_from(&mut sim, outside);
    }
    assert_eq!(sim.dropped(DropReason::NotLearnt), 3);
    assert_eq!(sim.take_sent().len(), 3);
    b.speak(&mut sim);
    assert_eq!(sim.take_sent()[0].to, outside);
    assert_eq!(sim.figures(a.handle).latched_rtp, outside);
}

#[test]
fn strict_waits_for_the_announced_address() {
    let mut sim = Sim::new();
    let addresses = ["192.0.2.1:5000", "198.51.100.2:6000"];
    let [mut a, _] = call_with(&mut sim, addresses, |_, spec| spec.flags |= FLAG_STRICT);
    for _ in 0..9 {
        a.speak_from(&mut sim, addr("192.0.2.1:5002"));
    }
    assert_eq!(sim.dropped(DropReason::UnknownSource), 9);
    a.speak(&mut sim);
    assert_eq!(sim.take_sent().len(), 1);
}

#[test]
fn after_silence_the_same_stream_may_come_from_elsewhere() {
    let mut sim = Sim::new();
    let [mut a, mut b] = call(&mut sim);
    a.speak(&mut sim);
    let moved_to = addr("203.0.113.7:999");
    sim.pass_ms(1_900);
    a.speak_from(&mut sim, moved_to);
    assert_eq!(sim.dropped(DropReason::UnknownSource), 1, "too early");
    sim.pass_ms(200);
    let mut stranger = a.clone();
    stranger.ssrc += 1;
    stranger.speak_from(&mut sim, addr("203.0.113.8:1"));
    let mut guesser = a.clone();
    guesser.sequence = guesser.sequence.wrapping_add(20_000);
    guesser.speak_from(&mut sim, addr("203.0.113.8:1"));
    assert_eq!(sim.dropped(DropReason::UnknownSource), 3, "wrong SSRC, wrong sequence");
    sim.take_events();
    a.speak_from(&mut sim, moved_to);
    let (handle, source) = (a.handle, moved_to);
    let event = Event::Latched { handle, source, rtcp: false, moved: true };
    assert!(sim.take_events().contains(&event));
    sim.take_sent();
    b.speak(&mut sim);
    assert_eq!(sim.take_sent()[0].to, moved_to);
    a.speak(&mut sim);
    assert_eq!(sim.dropped(DropReason::UnknownSource), 4, "the old address is a stranger now");
}

#[test]
fn relearning_can_be_switched_off() {
    let mut sim = Sim::new();
    let addresses = ["192.0.2.1:5000", "198.51.100.2:6000"];
    let [mut a, _] = call_with(&mut sim, addresses, |_, spec| spec.relearn_silence_ms = 0);
    a.speak(&mut sim);
    sim.pass_ms(60_000);
    a.speak_from(&mut sim, addr("203.0.113.7:999"));
    assert_eq!(sim.dropped(DropReason::UnknownSource), 1);
}

#[test]
fn a_command_learns_anew_once_per_epoch() {
    let mut sim = Sim::new();
    let [mut a, mut b] = call(&mut sim);
    a.speak(&mut sim);
    let new = addr("192.0.2.77:7000");
    let mut changed = spec(new, &[b.handle]);
    changed.local_rtp = a.local;
    changed.flags |= FLAG_RELEARN;
    changed.relearn_epoch = 1;
    sim.put(a.handle, changed);
    sim.take_sent();
    b.speak(&mut sim);
    assert_eq!(sim.take_sent()[0].to, new, "media goes where signalling says now");
    a.speak(&mut sim);
    assert_eq!(sim.dropped(DropReason::NotLearnt), 1);
    a.speak_from(&mut sim, new);
    assert_eq!(sim.figures(a.handle).latched_rtp, new);
    // The same command again does not forget the source.
    sim.put(a.handle, changed);
    a.speak(&mut sim);
    assert_eq!(sim.dropped(DropReason::UnknownSource), 1);
    let m = sim.figures(a.handle).rx;
    assert_eq!((m.packets, m.ssrc_changes), (2, 0), "measurement goes on");
}
