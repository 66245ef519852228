//! Measures what the documentation of this crate claims: `cargo run --release -p tandem-hw
//! --example figures`.
//!
//! Times are processor time of the measuring thread (user and kernel), so that other work on the
//! machine disturbs little; compare figures of one run only.

use arrayvec::ArrayVec;
use std::hint::black_box;
use std::net::{SocketAddr, UdpSocket};
use tandem_hw::bind::{self, BindOptions};
use tandem_hw::clock::Clock;
use tandem_hw::port::socket::{Mmsg, SocketConfig, Uring};
use tandem_hw::port::{Departure, Port};
use tandem_hw::{seqpacket, spsc};

const PACKET: [u8; 172] = [0x80; 172];
const BURSTS: u32 = 3_000;

/// Processor time of this thread, ns.
fn thread_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or(0)
}

/// Nanoseconds per round of `work`.
fn per_round(rounds: u64, mut work: impl FnMut()) -> f64 {
    let start = thread_ns();
    for _ in 0..rounds {
        work();
    }
    ratio(thread_ns() - start, rounds)
}

#[expect(clippy::cast_precision_loss, reason = "printed figures")]
fn ratio(sum: u64, count: u64) -> f64 {
    sum as f64 / count as f64
}

fn local() -> UdpSocket {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    bind::udp(any, &BindOptions::default()).expect("loopback is there")
}

/// Relays bursts of 64 packets that arrive on `slots` sockets; time and calls per packet.
fn relay<P: Port<Endpoint = UdpSocket>>(mut port: P, slots: u32) -> (f64, f64) {
    let sockets: Vec<_> = (0..slots).map(|_| local()).collect();
    let entries: Vec<_> = sockets.iter().filter_map(|s| s.local_addr().ok()).collect();
    for (slot, socket) in (0..).zip(sockets) {
        port.open(slot, socket).expect("a slot opens");
    }
    let (phone, sink) = (local(), local());
    let to = sink.local_addr().expect("a bound socket").into();
    let clock = Clock::new();
    let (mut busy_ns, mut packets, mut calls) = (0, 0_u64, 0);
    for round in 0..BURSTS {
        for entry in entries.iter().cycle().take(64) {
            phone.send_to(&PACKET, entry).expect("loopback takes packets");
        }
        let (start, before) = (thread_ns(), port.counters().syscalls);
        let mut left = 64;
        while left > 0 {
            let mut burst = ArrayVec::new();
            port.receive_burst(clock.now(), &mut burst);
            left -= burst.len();
            let mut out: ArrayVec<Departure, _> = ArrayVec::new();
            for packet in burst {
                let (frame, start, len, slot) =
                    (packet.frame, packet.start, packet.len, packet.slot);
                out.push(Departure { frame, start, len, slot, destination: to });
            }
            if !out.is_empty() {
                assert_eq!(port.send_burst(&mut out).failed, 0);
            }
        }
        // The first bursts warm up.
        if round >= BURSTS / 10 {
            busy_ns += thread_ns() - start;
            calls += port.counters().syscalls - before;
            packets += 64;
        }
        let mut octets = [0; 256];
        while sink.recv_from(&mut octets).is_ok() {}
    }
    (ratio(busy_ns, packets), ratio(calls, packets))
}

fn ports() {
    let config = SocketConfig::default();
    for (slots, what) in [(64, "64 sockets, one packet each"), (4, "4 sockets, 16 packets each")] {
        println!("relay of 64-packet bursts on loopback, {what}:");
        let mmsg = relay(Mmsg::new(&config).expect("epoll is everywhere"), slots);
        println!("  recvmmsg/sendmmsg {:6.0} ns, {:5.3} system calls per packet", mmsg.0, mmsg.1);
        match Uring::new(&config) {
            Ok(port) => {
                let uring = relay(port, slots);
                println!(
                    "  io_uring          {:6.0} ns, {:5.3} system calls per packet: {:.2} of the \
                     time, {:.0} times fewer calls",
                    uring.0,
                    uring.1,
                    uring.0 / mmsg.0,
                    mmsg.1 / uring.1
                );
            }
            Err(error) => println!("  io_uring is not available: {error}"),
        }
    }
}

fn clocks() {
    let clock = Clock::new();
    println!("clock: {:.1} ns", per_round(2_000_000, || _ = black_box(clock.now())));
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reading the time-stamp counter has no effect on memory.
    let tsc = per_round(2_000_000, || _ = black_box(unsafe { core::arch::x86_64::_rdtsc() }));
    #[cfg(target_arch = "x86_64")]
    println!("time-stamp counter alone: {tsc:.1} ns");
}

fn rings() {
    let entry = [7_u64; 16];
    let (mut producer, mut consumer) = spsc::heap::<[u64; 16]>(1_024).expect("a power of two");
    let ring = per_round(2_000_000, || {
        let _ = producer.push(black_box(&entry));
        black_box(consumer.pop());
    });
    let (one, two) = seqpacket::Connection::pair().expect("sockets can be had");
    let mut buffer = [0; 128];
    let socket = per_round(100_000, || {
        one.send(&[7; 128], &[]).expect("the peer reads");
        let _ = black_box(two.recv(&mut buffer));
    });
    println!("128 octets over a ring: {ring:.0} ns; over a Unix socket: {socket:.0} ns");
}

fn main() {
    clocks();
    rings();
    ports();
}
