//! Commands, leases, restarts on either side.

use crate::harness::{Sim, TERMINATIONS, addr, call, spec};
use tandem_contract::command::{Command, Edge, TerminationSpec};
use tandem_contract::counters::PortLosses;
use tandem_contract::event::{EndCause, Event, Refusal};
use tandem_contract::handle::{ContextId, Handle};
use tandem_contract::limits::RENEW_BATCH;
use tandem_contract::reason::DropReason;
use tandem_engine::endpoints::{Order, Request};
use tandem_hw::port::Port;
use tandem_hw::port::fault::FaultPlan;

fn refusals(sim: &mut Sim) -> Vec<Refusal> {
    let refusal = |event| match event {
        Event::Refused { refusal, .. } => Some(refusal),
        _ => None,
    };
    sim.take_events().into_iter().filter_map(refusal).collect()
}

#[test]
fn put_twice_is_put_once() {
    let mut sim = Sim::new();
    let [mut a, b] = call(&mut sim);
    a.speak(&mut sim);
    let mut again = spec(a.address, &[b.handle]);
    again.local_rtp = a.local;
    let sequence = sim.put(a.handle, again);
    let answered = sim.take_events().into_iter().any(|event| {
        matches!(event, Event::Installed { handle, sequence: s, latched_rtp, .. }
            if handle == a.handle && s == sequence && latched_rtp == a.address)
    });
    assert!(answered);
    a.speak(&mut sim);
    assert_eq!(sim.figures(a.handle).rx.packets, 2);
    assert_eq!(sim.worker.terminations(), 2);
}

#[test]
fn what_ended_is_stale_and_its_last_figures_stay() {
    let mut sim = Sim::new();
    let [mut a, b] = call(&mut sim);
    a.speak(&mut sim);
    sim.command(Command::Subtract { handle: a.handle });
    let ended =
        Event::Ended { handle: a.handle, context: ContextId(1), cause: EndCause::Subtracted };
    assert!(sim.take_events().contains(&ended));
    let last = sim.published(a.handle);
    assert_eq!((last.handle, last.alive, last.rx.packets), (a.handle, 0, 1));
    let closed = |r: &Request| matches!(r, Request::Closed { rtp, .. } if *rtp == a.local);
    assert!(sim.requests.iter().any(closed), "its ports rest");
    sim.command(Command::Subtract { handle: a.handle });
    sim.put(a.handle, TerminationSpec { local_rtp: a.local, ..spec(a.address, &[]) });
    assert_eq!(refusals(&mut sim), [Refusal::StaleHandle, Refusal::StaleHandle]);
    let mut b = b;
    b.speak(&mut sim);
    assert_eq!(sim.dropped(DropReason::NoEdge), 1, "its peer meets no stranger");
}

#[test]
fn what_the_port_loses_is_published() {
    let mut sim = Sim::new();
    let [a, _] = call(&mut sim);
    let bytes = a.packet(0, 160, &[0xd5; 160]);
    // More than one turn takes: the endpoint is closed before the rest has its turn.
    for _ in 0..100 {
        let slot = a.handle.index * 2;
        sim.worker.port_mut().inner().inject(slot, a.address, &bytes).unwrap();
    }
    sim.push(Command::Subtract { handle: a.handle });
    sim.settle();
    let totals = sim.totals();
    assert_eq!((totals.received, totals.port.stale), (64, 36));
    let none = PortLosses { stale: 36, ..PortLosses::default() };
    assert_eq!(totals.port, none);
}

#[test]
fn orders_wait_while_requests_have_no_room() {
    let mut sim = Sim::new();
    let (rtp, mut taken) = (addr("10.9.9.9:4000"), 0);
    // Endpoints that nobody asked for are given back: a request each.
    while sim.worker.takes_orders() {
        let order = Order::Endpoint { index: 0, ticket: u32::MAX, rtp: (rtp, rtp), rtcp: None };
        sim.order(order);
        taken += 1;
        assert!(taken < 5_000, "the list of requests grows for ever");
    }
    let mut asked = 0;
    while let Some(request) = sim.worker.poll_request() {
        assert_eq!(request, Request::Closed { index: 0, rtp });
        asked += 1;
    }
    assert_eq!(asked, taken, "none is lost");
    assert!(sim.worker.takes_orders());
}

#[test]
fn nonsense_is_refused() {
    let mut sim = Sim::new();
    let (handle, rtp, _) = sim.endpoint(false);
    let good = TerminationSpec { local_rtp: rtp, ..spec(addr("192.0.2.1:5000"), &[]) };
    let beyond = Handle { index: TERMINATIONS, ..handle };
    sim.put(beyond, good);
    sim.put(Handle { worker: 9, ..handle }, good);
    sim.put(Handle { generation: 0, ..handle }, good);
    sim.put(handle, TerminationSpec { flags: 1 << 31, ..good });
    sim.put(handle, TerminationSpec { dscp: 64, ..good });
    sim.put(handle, TerminationSpec { remote_rtp: addr("[2001:db8::9]:1"), ..good });
    let expected = [
        Refusal::BadIndex,
        Refusal::BadIndex,
        Refusal::StaleHandle,
        Refusal::BadSpec,
        Refusal::BadSpec,
        Refusal::BadSpec,
    ];
    assert_eq!(refusals(&mut sim), expected);
    assert_eq!(sim.worker.terminations(), 0);
    // An edge to nowhere, beyond every table, is no more than a receiver that is not there.
    let mut wild = good;
    wild.edges[0] = Edge { index: u32::MAX, generation: 7 };
    wild.edges[1] = Edge { index: 0x7fff_ffff, generation: u32::MAX };
    sim.put(handle, wild);
    sim.inject(handle, false, addr("192.0.2.1:5000"), &[0x80; 12]);
    assert_eq!(sim.dropped(DropReason::NoEdge), 1);
}

#[test]
fn leases_end_what_nobody_renews_even_without_control() {
    let mut sim = Sim::new();
    let [a, b] = call(&mut sim);
    let mut names = [Edge::default(); RENEW_BATCH];
    names[3] = Edge { index: a.handle.index, generation: a.handle.generation };
    names[4] = Edge { index: b.handle.index, generation: b.handle.generation };
    names[9] = Edge { index: 5, generation: 77 };
    sim.command(Command::Renew { terminations: names, lease_ms: 5_000 });
    assert_eq!(refusals(&mut sim), [Refusal::StaleHandle]);
    sim.pass_ms(4_000);
    names[4] = Edge::default();
    names[9] = Edge::default();
    sim.command(Command::Renew { terminations: names, lease_ms: 10_000 });
    sim.pass_ms(2_000);
    let ended =
        Event::Ended { handle: b.handle, context: ContextId(1), cause: EndCause::LeaseExpired };
    assert_eq!(sim.take_events(), [ended]);
    sim.detach();
    sim.pass_ms(10_000);
    assert_eq!(sim.worker.terminations(), 0);
}

#[test]
fn a_new_control_is_told_what_is_free_and_what_is_installed() {
    let mut sim = Sim::new();
    let [mut a, b] = call(&mut sim);
    a.speak(&mut sim);
    let free: Vec<_> = sim.free.clone();
    sim.attach_again();
    let mut again = sim.free.clone();
    let mut before = free;
    again.sort_by_key(|e| e.0);
    before.sort_by_key(|e| e.0);
    assert_eq!(again, before, "the same endpoints, each once");
    sim.command(Command::Audit);
    let events = sim.take_events();
    let installed = |handle, local_rtp, latched_rtp| Event::Installed {
        handle,
        context: ContextId(1),
        local_rtp,
        latched_rtp,
        latched_rtcp: Default::default(),
        sequence: 0,
    };
    assert!(events.contains(&installed(a.handle, a.local, a.address)));
    assert!(events.contains(&installed(b.handle, b.local, Default::default())));
    assert_eq!(events.last(), Some(&Event::AuditEnd));
    a.speak(&mut sim);
    assert_eq!(sim.take_sent().len(), 2, "packets pass all the time");
}

#[test]
fn an_old_call_takes_its_index_back_in_a_new_engine() {
    let mut sim = Sim::new();
    let taken = sim.free[0].0;
    // The old engine had used this index three times; the new one has it free under another name.
    let handle = Handle { generation: 3, ..taken };
    let local = addr("10.9.9.9:40000");
    let mut old = spec(addr("192.0.2.1:5000"), &[]);
    (old.local_rtp, old.local_rtcp) = (local, local.with_port(40_001));
    old.latched_rtp = addr("203.0.113.5:900");
    (old.resume_ssrc, old.resume_sequence) = (7, 1_000);
    sim.put(handle, old);
    let events = sim.take_events();
    assert_eq!(events[0], Event::EndpointGone { handle: taken });
    let latched = old.latched_rtp;
    assert!(matches!(events[1], Event::Installed { handle: h, local_rtp, latched_rtp, .. }
        if h == handle && local_rtp == local && latched_rtp == latched));
    let slot = handle.index * 2;
    assert_eq!(sim.worker.port_mut().inner().local(slot), Some(local));
    let mut party =
        crate::harness::Party { handle, local, address: latched, ssrc: 7, sequence: 1_003 };
    party.speak(&mut sim);
    let m = sim.figures(handle).rx;
    let figures = (m.lost, m.expected, m.restarts, m.ext_sequence);
    assert_eq!(figures, (0, 1, 1, 1_003), "nobody knows what passed meanwhile");
}

#[test]
fn an_address_that_cannot_be_bound_is_refused() {
    let mut sim = Sim::new();
    let local = addr("10.9.9.9:40000");
    sim.unbindable.push(local);
    let handle = Handle { engine: 0, worker: 0, index: 40, generation: 2 };
    let spec = TerminationSpec { local_rtp: local, ..spec(addr("192.0.2.1:5000"), &[]) };
    sim.put(handle, spec);
    assert_eq!(refusals(&mut sim), [Refusal::CannotBind]);
    assert_eq!(sim.worker.terminations(), 0);
    sim.put(handle, TerminationSpec { local_rtp: Default::default(), ..spec });
    assert_eq!(refusals(&mut sim), [Refusal::StaleHandle], "that generation is gone");
}

#[test]
fn endpoints_are_bound_ahead_withdrawn_and_given_back() {
    let mut sim = Sim::new();
    // A quarter more than is asked for, so that they can be bound in lots.
    assert_eq!(sim.free.len(), 5);
    sim.command(Command::Provision { endpoints: 12 });
    sim.settle();
    assert_eq!(sim.free.len(), 15);
    assert_eq!(sim.totals().endpoints_free, 15);
    for left in [14, 13, 12] {
        let (handle, rtp, _) = sim.free[0];
        sim.order(Order::Withdraw { index: handle.index, rtp });
        sim.settle();
        assert!(sim.take_events().contains(&Event::EndpointGone { handle }));
        assert_eq!(sim.free.len(), left);
    }
    let (handle, rtp, _) = sim.free[0];
    sim.order(Order::Withdraw { index: handle.index, rtp });
    sim.settle();
    assert_eq!(sim.free.len(), 15, "a lot is bound instead");
    let (unused, _, _) = sim.endpoint(false);
    sim.command(Command::Subtract { handle: unused });
    sim.settle();
    assert!(sim.free.iter().all(|free| free.0 != unused));
    assert_eq!(sim.free.len(), 14);
    let reused = |e: &&(Handle, _, _)| e.0.generation > 1;
    assert!(sim.free.iter().filter(reused).count() <= 5);
}

#[test]
fn a_full_event_ring_counts_what_it_loses_and_an_audit_finds_it() {
    let mut sim = Sim::with(FaultPlan::default(), 1, [true, false], 8);
    let ends: Vec<_> = (0..4).map(|_| sim.endpoint(false)).collect();
    for end in &ends {
        let spec = TerminationSpec { local_rtp: end.1, ..spec(addr("192.0.2.1:5000"), &[]) };
        sim.push(Command::Put { handle: end.0, spec });
    }
    for _ in 0..10 {
        sim.push(Command::Subtract { handle: Handle { generation: 99, ..ends[0].0 } });
    }
    // Nobody reads between the commands.
    for _ in 0..4 {
        sim.worker.turn();
    }
    sim.settle();
    assert!(sim.totals().events_lost >= 6);
    sim.take_events();
    sim.command(Command::Audit);
    let events = sim.take_events();
    let installed = events.iter().filter(|e| matches!(e, Event::Installed { .. })).count();
    assert_eq!((installed, events.last()), (4, Some(&Event::AuditEnd)));
}

#[test]
fn an_ssrc_flood_does_not_flood_control() {
    let mut sim = Sim::new();
    let [mut a, _] = call(&mut sim);
    a.speak(&mut sim);
    sim.take_events();
    for i in 0..500 {
        a.ssrc = i;
        a.speak(&mut sim);
    }
    assert_eq!(sim.take_events().len(), 1);
    sim.pass_ms(20);
    a.ssrc = 77;
    a.speak(&mut sim);
    assert_eq!(sim.take_events(), [Event::SsrcChanged { handle: a.handle, old: 499, new: 77 }]);
    assert_eq!(sim.figures(a.handle).rx.ssrc_changes, 501);
}

#[test]
fn no_frame_is_lost_over_a_long_life() {
    let mut sim = Sim::new();
    let total = sim.worker.port().available();
    for round in 0..30u64 {
        let [mut a, mut b] = call(&mut sim);
        for _ in 0..20 {
            a.speak(&mut sim);
            b.speak_from(&mut sim, addr("203.0.113.9:9"));
            sim.inject(a.handle, true, addr("203.0.113.9:9"), &[0x80, 201, 0, 1, 0, 0, 0, 1]);
            sim.inject(b.handle, false, b.address, b"junk");
        }
        sim.pass_ms(3_000 + round);
        sim.command(Command::Subtract { handle: a.handle });
        sim.command(Command::Subtract { handle: b.handle });
        sim.take_sent();
        sim.take_events();
    }
    assert_eq!(sim.worker.port().available(), total);
    assert_eq!(sim.worker.terminations(), 0);
    assert!(sim.now().as_millis() > 1_000_000);
}
