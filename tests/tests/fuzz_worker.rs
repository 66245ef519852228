//! Fuzz target: any packets, commands, orders and times on a worker. It must not panic, the laws
//! of packets must hold (the worker asserts them after every turn), and no frame may be lost.
//!
//! `TANDEM_FUZZ_SECONDS` says for how long (default 1).

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

#[path = "sim_engine/harness.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses all of it")]
mod harness;

use bolero::{TypeGenerator, check};
use harness::{Sim, addr, spec};
use std::time::Duration;
use tandem_contract::command::{Command, Edge, TerminationSpec};
use tandem_contract::handle::Handle;
use tandem_contract::limits::RENEW_BATCH;
use tandem_engine::endpoints::Order;
use tandem_hw::port::Port;
use tandem_wire::addr::SockAddr;

#[derive(Clone, Debug, TypeGenerator)]
enum Step {
    /// Octets as they are.
    Octets {
        slot: u8,
        from: u8,
        bytes: Vec<u8>,
    },
    /// RTP that may make sense.
    Rtp {
        slot: u8,
        from: u8,
        ssrc: u8,
        sequence: u16,
        kind: u8,
        payload: u8,
    },
    /// The next packet of a stream.
    Next {
        slot: u8,
        from: u8,
        kind: u8,
    },
    /// RTCP that may make sense.
    Rtcp {
        slot: u8,
        from: u8,
        kind: u8,
        count: u8,
        words: u8,
        body: Vec<u8>,
    },
    Put {
        index: u8,
        generation: u8,
        flags: u32,
        remote: u8,
        edges: [u8; 3],
        times: [u16; 3],
    },
    Resume {
        index: u8,
        ssrc: u8,
        sequence: u32,
        latched: u8,
    },
    Subtract {
        index: u8,
        generation: u8,
    },
    Renew {
        index: u8,
        generation: u8,
        lease: u16,
    },
    Audit,
    Provision(u8),
    Pass(u16),
    Attach,
    Detach,
    Withdraw(u8),
    StrayEndpoint {
        index: u8,
        ticket: u8,
    },
    StrayFailure {
        index: u8,
        ticket: u8,
    },
}

fn somewhere(number: u8) -> SockAddr {
    match number % 6 {
        0 => SockAddr::NONE,
        1 => addr("[2001:db8::9]:5000"),
        n => addr(&format!("192.0.2.{}:{}", n / 2, 5_000 + u16::from(number % 3))),
    }
}

fn handle(index: u8, generation: u8) -> Handle {
    let index = u32::from(index % 80);
    Handle { engine: 0, worker: 0, index, generation: u32::from(generation % 4) }
}

fn inject(sim: &mut Sim, slot: u8, from: u8, bytes: &[u8]) {
    let from = Some(somewhere(from)).filter(|address| address.is_some());
    let from = from.unwrap_or(addr("192.0.2.1:5000"));
    // A closed slot takes nothing.
    let _ = sim.worker.port_mut().inner().inject(u32::from(slot % 24), from, bytes);
    sim.settle();
}

fn put(index: u8, flags: u32, remote: u8, edges: [u8; 3], times: [u16; 3]) -> TerminationSpec {
    let peers = edges.map(|edge| handle(edge / 4, edge));
    TerminationSpec {
        // Sometimes a flag that does not exist.
        flags: flags & if flags.is_multiple_of(13) { u32::MAX } else { 0xff },
        media_timeout_ms: times[0].into(),
        relearn_silence_ms: times[1].into(),
        lease_ms: u32::from(times[2]) * 4,
        relearn_epoch: flags % 3,
        local_rtp: if flags.is_multiple_of(5) {
            addr(&format!("10.7.0.{index}:6000"))
        } else {
            SockAddr::NONE
        },
        ..spec(somewhere(remote), &peers)
    }
}

fn step(sim: &mut Sim, step: &Step, sequence: &mut u16) {
    match step {
        Step::Octets { slot, from, bytes } => inject(sim, *slot, *from, bytes),
        Step::Rtp { slot, from, ssrc, sequence, kind, payload } => {
            let [a, b] = sequence.to_be_bytes();
            let mut packet = vec![0x80, *kind, a, b, 0, 0, a, b, 0, 0, 0, ssrc % 3];
            packet.resize(12 + usize::from(*payload), *payload);
            inject(sim, *slot, *from, &packet);
        }
        Step::Next { slot, from, kind } => {
            *sequence = sequence.wrapping_add(u16::from(kind % 7));
            let [a, b] = sequence.to_be_bytes();
            let kind = if kind & 1 == 0 { 0 } else { 101 };
            let packet = [0x80, kind, a, b, 0, a, b, 0, 0, 0, 0, 1, 5, *from, 1, 64];
            inject(sim, *slot, 2 + from % 4, &packet);
        }
        Step::Rtcp { slot, from, kind, count, words, body } => {
            let mut packet = vec![0x80 | (count % 4), 200 + kind % 8, 0, words % 16];
            packet.extend_from_slice(body);
            packet.resize(4 + usize::from(words % 16) * 4, 0);
            inject(sim, *slot, *from, &packet);
        }
        Step::Put { index, generation, flags, remote, edges, times } => {
            let spec = put(*index, *flags, *remote, *edges, *times);
            sim.put(handle(*index, *generation), spec);
        }
        Step::Resume { index, ssrc, sequence, latched } => {
            let mut spec = put(*index, 0, *latched, [1, 5, 9], [0, 0, 9_999]);
            spec.latched_rtp = somewhere(*latched);
            (spec.resume_ssrc, spec.resume_sequence) = (u32::from(*ssrc), *sequence);
            sim.put(handle(*index, 3), spec);
        }
        Step::Subtract { index, generation } => {
            sim.command(Command::Subtract { handle: handle(*index, *generation) });
        }
        Step::Renew { index, generation, lease } => {
            let name = handle(*index, *generation);
            let edge = Edge { index: name.index, generation: name.generation };
            let lease_ms = (*lease).into();
            sim.command(Command::Renew { terminations: [edge; RENEW_BATCH], lease_ms });
        }
        Step::Audit => drop(sim.command(Command::Audit)),
        Step::Provision(endpoints) => {
            sim.command(Command::Provision { endpoints: u32::from(*endpoints) });
        }
        Step::Pass(ms) => sim.pass_ms(u64::from(ms % 3_000)),
        Step::Attach => sim.attach_again(),
        Step::Detach => sim.detach(),
        Step::Withdraw(index) => {
            let rtp = sim.free.first().map_or(SockAddr::NONE, |free| free.1);
            sim.order(Order::Withdraw { index: u32::from(*index), rtp });
        }
        Step::StrayEndpoint { index, ticket } => {
            let (index, ticket) = (u32::from(*index), u32::from(*ticket));
            let rtp = addr("10.8.8.8:6000");
            sim.order(Order::Endpoint { index, ticket, rtp: (rtp, rtp), rtcp: None });
        }
        Step::StrayFailure { index, ticket } => {
            let (index, ticket) = (u32::from(*index), u32::from(*ticket));
            sim.order(Order::BindFailed { index, ticket });
        }
    }
}

#[test]
fn worker_turn() {
    let seconds = std::env::var("TANDEM_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let duration = Duration::from_secs(seconds.unwrap_or(1));
    check!().with_type::<Vec<Step>>().with_test_time(duration).for_each(|steps| {
        let mut sim = Sim::new();
        let frames = sim.worker.port().available();
        let mut sequence = 0;
        for next in steps.iter().take(64) {
            step(&mut sim, next, &mut sequence);
        }
        sim.settle();
        assert_eq!(sim.worker.port().available(), frames, "every frame came back");
        let c = *sim.worker.counters();
        let doors = c.absorbed.iter().chain(&c.punted).chain(&c.dropped).sum::<u64>();
        assert_eq!(c.received, c.forwarded + doors);
        assert_eq!(c.sent, c.forwarded + c.copies + c.originated);
    });
}
