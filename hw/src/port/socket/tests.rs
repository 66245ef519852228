//! Both socket ports on real loopback sockets, IPv4 and IPv6.

use super::*;
use crate::bind::{self, BindOptions};
use crate::clock::Clock;
use crate::doorbell::Doorbell;
use crate::port::{Departure, Port, PortCounters, Received, SendOutcome};
use arrayvec::ArrayVec;
use std::net::SocketAddr;
use std::time::{Duration, Instant as Wall};
use tandem_wire::addr::SockAddr;
use tandem_wire::time::Instant;

const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";
const LIMIT: Duration = Duration::from_secs(5);

fn bound(local: &str) -> UdpSocket {
    bind::udp(local.parse().unwrap(), &BindOptions::default()).unwrap()
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

/// A port that refuses everybody and that no other test can get meanwhile: its socket is connected
/// to itself, so the kernel answers what others send with "port unreachable".
fn refusing(local: &str) -> (UdpSocket, SocketAddr) {
    let socket = bound(local);
    let own = address(&socket);
    socket.connect(own).unwrap();
    (socket, own)
}

fn small() -> SocketConfig {
    SocketConfig { slots: 16, frames: 1_024, receive_buffers: 256 }
}

/// A port under test.
trait TestPort: Port<Endpoint = UdpSocket> + Sized {
    fn make(config: &SocketConfig) -> Self;
}

impl TestPort for Uring {
    fn make(config: &SocketConfig) -> Self {
        Self::new(config).unwrap()
    }
}

impl TestPort for Mmsg {
    fn make(config: &SocketConfig) -> Self {
        Self::new(config).unwrap()
    }
}

/// Opens a slot on a fresh socket and gives its address.
fn open<P: TestPort>(port: &mut P, slot: u32, local: &str) -> SocketAddr {
    let socket = bound(local);
    let own = address(&socket);
    port.open(slot, socket).unwrap();
    own
}

/// Receives until `count` packets are there, handing each to `take`.
fn receive<P: TestPort>(port: &mut P, count: usize, mut take: impl FnMut(&mut P, Received)) {
    let (start, mut seen) = (Wall::now(), 0);
    while seen < count {
        let mut burst = ArrayVec::new();
        port.receive_burst(Instant::from_millis(7), &mut burst);
        if burst.is_empty() {
            assert!(start.elapsed() < LIMIT, "{seen} of {count} packets");
            port.wait(Duration::from_millis(100));
        }
        for packet in burst {
            seen += 1;
            take(port, packet);
        }
    }
    assert_eq!(seen, count, "no more than were sent");
}

fn octets<P: TestPort>(port: &P, packet: &Received) -> Vec<u8> {
    port.payload(&packet.frame, packet.start, packet.len).to_vec()
}

fn departure(packet: Received, slot: u32, destination: SocketAddr) -> Departure {
    let Received { frame, start, len, .. } = packet;
    Departure { frame, start, len, slot, destination: destination.into() }
}

fn original<P: TestPort>(port: &mut P, slot: u32, payload: &[u8], to: SocketAddr) -> Departure {
    let frame = port.alloc().unwrap();
    port.bytes_mut(&frame)[HEADROOM..HEADROOM + payload.len()].copy_from_slice(payload);
    let (start, len) = (u16::try_from(HEADROOM).unwrap(), u16::try_from(payload.len()).unwrap());
    Departure { frame, start, len, slot, destination: to.into() }
}

/// Everything that was given back is there again, in the pool or waiting for packets.
fn assert_no_leak<P: TestPort>(port: &P, config: &SocketConfig) {
    assert_eq!(port.available(), config.frames as usize);
}

fn relays<P: TestPort>(local: &str) {
    let config = small();
    let mut port = P::make(&config);
    let entry = open(&mut port, 4, local);
    open(&mut port, 5, local);
    let (phone, far) = (bound(local), bound(local));
    far.set_nonblocking(false).unwrap();
    for round in 0..200_u32 {
        phone.send_to(&round.to_be_bytes(), entry).unwrap();
    }
    let mut next = 0_u32;
    let mut out = ArrayVec::new();
    receive(&mut port, 200, |port, packet| {
        assert_eq!(octets(port, &packet), next.to_be_bytes(), "in order");
        next += 1;
        assert_eq!((packet.slot, packet.truncated), (4, false));
        assert_eq!(usize::from(packet.start), HEADROOM);
        assert!(packet.arrival <= Instant::from_millis(7));
        assert_eq!(packet.source, SockAddr::from(address(&phone)));
        out.push(departure(packet, 5, address(&far)));
        if next.is_multiple_of(50) {
            let outcome = port.send_burst(&mut out);
            assert_eq!(outcome, SendOutcome { sent: 50, failed: 0, sent_octets: 200 });
            assert!(out.is_empty());
        }
    });
    let mut buffer = [0; 64];
    for round in 0..200_u32 {
        let (len, _) = far.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..len], round.to_be_bytes());
    }
    assert_no_leak(&port, &config);
    let PortCounters { received, sent, send_failed, .. } = port.counters();
    assert_eq!((received, sent, send_failed), (200, 200, 0));
}

fn marks_what_is_cut_and_survives_what_is_empty<P: TestPort>(local: &str) {
    let config = small();
    let mut port = P::make(&config);
    let entry = open(&mut port, 0, local);
    let phone = bound(local);
    let sizes = [0, 1, 0, 0, MAX_PAYLOAD, MAX_PAYLOAD + 1, 9_000, 2];
    for (fill, size) in (1_u8..).zip(sizes) {
        phone.send_to(&vec![fill; size], entry).unwrap();
    }
    let mut seen = Vec::new();
    receive(&mut port, sizes.len(), |port, packet| {
        let payload = octets(port, &packet);
        let fill = u8::try_from(seen.len() + 1).unwrap();
        assert!(payload.iter().all(|&octet| octet == fill), "nothing of the packet before");
        seen.push((payload.len(), packet.truncated));
        port.free(packet.frame);
    });
    let expected: Vec<_> =
        sizes.iter().map(|&size| (size.min(MAX_PAYLOAD), size > MAX_PAYLOAD)).collect();
    assert_eq!(seen, expected);
    assert_eq!(port.counters().truncated, 2);
    assert_no_leak(&port, &config);
}

fn packets_arrive_when_the_kernel_got_them<P: TestPort>(local: &str) {
    let mut port = P::make(&small());
    let entry = open(&mut port, 0, local);
    let phone = bound(local);
    let clock = Clock::new();
    let mut sent = Vec::new();
    for _ in 0..4 {
        sent.push(clock.now());
        phone.send_to(b"x", entry).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let (mut burst, mut arrivals) = (ArrayVec::new(), Vec::new());
    while arrivals.len() < 4 {
        port.receive_burst(clock.now(), &mut burst);
        for packet in burst.drain(..) {
            arrivals.push(packet.arrival);
            port.free(packet.frame);
        }
    }
    // All are read after the last pause: the first would be 80 ms late, the last 20 ms.
    for ((arrival, sent), pauses) in arrivals.iter().zip(&sent).zip((1..=4).rev()) {
        let late = *arrival - *sent;
        assert!(late < Duration::from_millis(20 * pauses), "{late:?} after {pauses} pauses");
    }
    assert!(arrivals.is_sorted());
}

fn goes_on_after_frames_ran_out<P: TestPort>(local: &str) {
    let config = SocketConfig { slots: 4, frames: SocketConfig::MIN_FRAMES, receive_buffers: 64 };
    let mut port = P::make(&config);
    let entry = open(&mut port, 0, local);
    let phone = bound(local);
    for round in 0..200_u32 {
        phone.send_to(&round.to_be_bytes(), entry).unwrap();
    }
    // The engine holds on to everything that there is.
    let mut held = Vec::new();
    receive(&mut port, 64, |_, packet| held.push(packet));
    let mut none = ArrayVec::new();
    for _ in 0..3 {
        port.wait(Duration::from_millis(1));
        port.receive_burst(Instant::ZERO, &mut none);
    }
    assert!(none.is_empty(), "the reserve is not for receiving");
    assert!(port.counters().starved > 0);
    assert!(port.alloc().map(|frame| port.free(frame)).is_some(), "our own packets still go");

    let mut order: Vec<_> = held.iter().map(|packet| octets(&port, packet)).collect();
    held.into_iter().for_each(|packet| port.free(packet.frame));
    receive(&mut port, 200 - 64, |port, packet| {
        order.push(octets(port, &packet));
        port.free(packet.frame);
    });
    let expected: Vec<_> = (0..200_u32).map(|round| round.to_be_bytes().to_vec()).collect();
    assert_eq!(order, expected, "nothing lost, nothing out of order");
    assert_no_leak(&port, &config);
}

fn what_the_kernel_threw_away_is_counted<P: TestPort>(local: &str) {
    let config = SocketConfig { slots: 4, frames: SocketConfig::MIN_FRAMES, receive_buffers: 64 };
    let mut port = P::make(&config);
    let socket = bound(local);
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1).unwrap();
    let entry = address(&socket);
    port.open(0, socket).unwrap();
    let phone = bound(local);
    for round in [1, 2] {
        for _ in 0..999 {
            phone.send_to(&[7; 172], entry).unwrap();
        }
        // What is left in the socket, then one more, which tells the loss.
        let mut burst = ArrayVec::new();
        let mut idle = 0;
        while idle < 10 {
            port.receive_burst(Instant::ZERO, &mut burst);
            idle = if burst.is_empty() { idle + 1 } else { idle };
            if idle == 5 {
                phone.send_to(b"after", entry).unwrap();
                idle += 1;
            }
            burst.drain(..).for_each(|packet: Received| port.free(packet.frame));
            port.wait(Duration::from_millis(2));
        }
        let PortCounters { received, overflowed, .. } = port.counters();
        assert!(overflowed > 0);
        assert_eq!(received + overflowed, 1_000 * round, "{:?}", port.counters());
    }
    // The number is the socket's: the next one of the slot begins anew.
    let before = port.counters().overflowed;
    port.close(0);
    let entry = open(&mut port, 0, local);
    phone.send_to(b"x", entry).unwrap();
    receive(&mut port, 1, |port, packet| port.free(packet.frame));
    assert_eq!(port.counters().overflowed, before);
}

fn a_refused_send_harms_nobody<P: TestPort>(local: &str) {
    let config = small();
    let mut port = P::make(&config);
    let entry = open(&mut port, 0, local);
    let phone = bound(local);
    let (peer, closed) = refusing(local);
    for _ in 0..3 {
        let mut out = ArrayVec::new();
        for _ in 0..10 {
            let one = original(&mut port, 0, b"nobody", closed);
            out.push(one);
        }
        let outcome = port.send_burst(&mut out);
        assert_eq!((outcome.sent, outcome.failed), (10, 0), "the ICMP message comes later");
        phone.send_to(b"still here", entry).unwrap();
        receive(&mut port, 1, |port, packet| {
            assert_eq!(octets(port, &packet), b"still here");
            port.free(packet.frame);
        });
    }

    // The kernel reports ICMP messages to connected sockets.
    let connected = bound(local);
    let own = address(&connected);
    connected.connect(closed).unwrap();
    port.open(1, connected).unwrap();
    for _ in 0..3 {
        let mut out = ArrayVec::new();
        let one = original(&mut port, 1, b"nobody", closed);
        out.push(one);
        port.send_burst(&mut out);
        port.wait(Duration::from_millis(2));
        let mut none = ArrayVec::new();
        port.receive_burst(Instant::ZERO, &mut none);
        assert!(none.is_empty());
    }
    let PortCounters { receive_errors, send_failed, dead_slots, .. } = port.counters();
    assert!(receive_errors + send_failed > 0, "{:?}", port.counters());
    assert_eq!(dead_slots, 0);
    peer.connect(own).unwrap();
    peer.send(b"back").unwrap();
    receive(&mut port, 1, |port, packet| {
        assert_eq!((octets(port, &packet).as_slice(), packet.slot), (&b"back"[..], 1));
        port.free(packet.frame);
    });
    assert_no_leak(&port, &config);
}

fn refuses_what_cannot_be_sent<P: TestPort>(local: &str) {
    let config = small();
    let mut port = P::make(&config);
    let entry = open(&mut port, 0, local);
    let other = if local == V4 { "[::1]:9" } else { "127.0.0.1:9" };
    let mut out = ArrayVec::new();
    for (slot, to) in [(0, entry), (1, entry), (99, entry), (0, other.parse().unwrap()), (0, entry)]
    {
        let one = original(&mut port, slot, b"x", to);
        out.push(one);
    }
    let mut nowhere = original(&mut port, 0, b"x", entry);
    nowhere.destination = SockAddr::NONE;
    out.push(nowhere);
    let mut outside = original(&mut port, 0, b"x", entry);
    outside.len = u16::MAX;
    out.push(outside);
    let outcome = port.send_burst(&mut out);
    assert_eq!(outcome, SendOutcome { sent: 2, failed: 5, sent_octets: 2 });
    receive(&mut port, 2, |port, packet| port.free(packet.frame));
    assert_no_leak(&port, &config);
    assert!(matches!(port.open(0, bound(local)), Err(PortError::SlotInUse(0))));
    assert!(matches!(port.open(16, bound(local)), Err(PortError::SlotOutOfRange { .. })));
}

fn slots_close_and_open_again_under_traffic<P: TestPort>(local: &str) {
    let config = small();
    let mut port = P::make(&config);
    let phone = bound(local);
    let steady = open(&mut port, 8, local);
    for round in 0..100_u32 {
        let slot = round % 4;
        let entry = open(&mut port, slot, local);
        for _ in 0..5 {
            phone.send_to(b"for the old one", entry).unwrap();
        }
        phone.send_to(&round.to_be_bytes(), steady).unwrap();
        if round % 3 == 0 {
            port.wait(Duration::from_millis(1));
        }
        if round % 2 == 0 {
            // Some of its packets are taken, the rest is on the way.
            let mut burst = ArrayVec::new();
            port.receive_burst(Instant::ZERO, &mut burst);
            burst.into_iter().for_each(|packet: Received| port.free(packet.frame));
        }
        port.close(slot);
        // The local port is free at once.
        let again = bind::udp(entry, &BindOptions::default()).expect("closed means unbound");
        port.open(slot, again).unwrap();
        phone.send_to(b"for the new one", entry).unwrap();
        let (start, mut met) = (Wall::now(), false);
        while !met {
            assert!(start.elapsed() < LIMIT, "round {round}");
            let mut burst = ArrayVec::new();
            port.receive_burst(Instant::ZERO, &mut burst);
            for packet in burst {
                let payload = octets(&port, &packet);
                assert!(packet.slot == 8 || payload == b"for the new one", "a late packet");
                met |= packet.slot == slot;
                port.free(packet.frame);
            }
            port.wait(Duration::from_millis(5));
        }
        port.close(slot);
    }
    port.close(8);
    port.close(8);
    port.close(4_000_000);
    let mut rest = ArrayVec::new();
    port.receive_burst(Instant::ZERO, &mut rest);
    assert!(rest.is_empty());
    assert_no_leak(&port, &config);
    assert_eq!(port.counters().dead_slots, 0);
}

fn the_doorbell_ends_the_wait<P: TestPort>(local: &str) {
    let mut port = P::make(&small());
    open(&mut port, 0, local);
    let (old, bell) = (Doorbell::new().unwrap(), Doorbell::new().unwrap());
    port.watch_doorbell(&old).unwrap();
    port.watch_doorbell(&bell).unwrap();
    let settle = |port: &mut P| {
        let mut none = ArrayVec::new();
        for _ in 0..5 {
            port.wait(Duration::from_millis(1));
            port.receive_burst(Instant::ZERO, &mut none);
        }
        assert!(none.is_empty());
    };
    settle(&mut port);
    for _ in 0..3 {
        let ringer = bell.try_clone().unwrap();
        let start = Wall::now();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            ringer.ring();
        });
        port.wait(2 * LIMIT);
        assert!(start.elapsed() < LIMIT, "not woken");
        assert!(start.elapsed() >= Duration::from_millis(20), "woken for nothing");
        thread.join().unwrap();
        settle(&mut port);
        let start = Wall::now();
        port.wait(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(19), "it was silenced");
    }
    assert!(!bell.drain(), "the port silenced it");
    old.ring();
    let start = Wall::now();
    port.wait(Duration::from_millis(20));
    assert!(start.elapsed() >= Duration::from_millis(19), "nobody listens to the old one");
}

fn a_thousand_slots<P: TestPort>(local: &str) {
    crate::limits::raise_open_files().unwrap();
    let config = SocketConfig { slots: 1_000, frames: 4_096, receive_buffers: 2_048 };
    let mut port = P::make(&config);
    assert_eq!(port.slots(), 1_000);
    let entries: Vec<_> = (0..1_000).map(|slot| open(&mut port, slot, local)).collect();
    let phone = bound(local);
    for round in 0..2_u32 {
        let mut seen = vec![0_u32; 1_000];
        for (index, entry) in (0_u32..).zip(&entries) {
            phone.send_to(&(index + round).to_be_bytes(), entry).unwrap();
        }
        receive(&mut port, 1_000, |port, packet| {
            assert_eq!(octets(port, &packet), (packet.slot + round).to_be_bytes());
            seen[packet.slot as usize] += 1;
            port.free(packet.frame);
        });
        assert!(seen.iter().all(|&count| count == 1));
    }
    (0..1_000).for_each(|slot| port.close(slot));
    assert_no_leak(&port, &config);
}

fn a_port_can_be_dropped_at_any_time<P: TestPort>(local: &str) {
    for round in 0..20 {
        let mut port = P::make(&small());
        let entry = open(&mut port, 0, local);
        port.watch_doorbell(&Doorbell::new().unwrap()).unwrap();
        let phone = bound(local);
        for _ in 0..round {
            phone.send_to(b"unread", entry).unwrap();
        }
        if round % 2 == 0 {
            let mut out = ArrayVec::new();
            let one = original(&mut port, 0, b"x", entry);
            out.push(one);
            port.send_burst(&mut out);
        }
        drop(port);
        bind::udp(entry, &BindOptions::default()).expect("the socket went with the port");
    }
}

fn marks_packets<P: TestPort>(local: &str) {
    let mut port = P::make(&small());
    let socket = bound(local);
    let watch = socket.try_clone().unwrap();
    port.open(0, socket).unwrap();
    port.set_dscp(0, 46);
    port.set_dscp(7, 46);
    use rustix::net::sockopt::{ip_tos, ipv6_tclass};
    let octet =
        if local == V4 { u32::from(ip_tos(&watch).unwrap()) } else { ipv6_tclass(&watch).unwrap() };
    assert_eq!(octet, 46 << 2);
}

fn bursts_allocate_no_frames_for_good<P: TestPort>(local: &str) {
    // A stress with everything at once: more packets than frames, forks, drops, failures.
    let config = SocketConfig { slots: 8, frames: 512, receive_buffers: 128 };
    let mut port = P::make(&config);
    let entry = open(&mut port, 0, local);
    open(&mut port, 1, local);
    let (phone, far) = (bound(local), bound(local));
    let (_refusing, closed) = refusing(local);
    let mut total = SendOutcome::default();
    let mut received = 0_u64;
    for round in 0..300_u32 {
        for _ in 0..20 {
            phone.send_to(&[0x80; 172], entry).unwrap();
        }
        let mut burst = ArrayVec::new();
        port.receive_burst(Instant::ZERO, &mut burst);
        let mut out = ArrayVec::new();
        for (index, packet) in burst.into_iter().enumerate() {
            received += 1;
            let copy = port.copy(&packet.frame, packet.start, packet.len);
            match index % 4 {
                0 => port.free(packet.frame),
                1 => out.push(departure(packet, 1, closed)),
                2 => out.push(departure(packet, 5, address(&far))),
                _ => out.push(departure(packet, 1, address(&far))),
            }
            if let Some(frame) = copy {
                let (start, destination) = (128, address(&far).into());
                out.push(Departure { frame, start, len: 172, slot: 0, destination });
            }
        }
        let outcome = port.send_burst(&mut out);
        total.sent += outcome.sent;
        total.failed += outcome.failed;
        if round % 10 == 0 {
            let mut sink = [0; 256];
            while far.recv_from(&mut sink).is_ok() {}
        }
    }
    let mut rest = ArrayVec::new();
    loop {
        port.receive_burst(Instant::ZERO, &mut rest);
        if rest.is_empty() {
            break;
        }
        received += rest.len() as u64;
        rest.drain(..).for_each(|packet: Received| port.free(packet.frame));
    }
    assert_no_leak(&port, &config);
    let counters = port.counters();
    assert_eq!(counters.received, received);
    assert_eq!(counters.sent, u64::from(total.sent));
    assert_eq!(counters.send_failed, u64::from(total.failed));
    assert!(total.failed > 0 && total.sent > 1_000, "{total:?}");
}

/// Runs a test if this machine allows io_uring, or says why not.
fn with_uring(test: fn(&str), local: &str) {
    match Uring::is_available() {
        Ok(()) => test(local),
        Err(reason) => eprintln!("skipped: {reason}"),
    }
}

fn a_flood_does_not_make_other_slots_deaf<P: TestPort>(local: &str) {
    let config = SocketConfig { slots: 4, frames: 512, receive_buffers: 128 };
    let mut port = P::make(&config);
    let target = open(&mut port, 0, local);
    let quiet = open(&mut port, 1, local);
    let (phone, flooder) = (bound(local), bound(local));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(order) {
                let _ = flooder.send_to(&[0x80; 172], target);
            }
        });
        let (mut answered, mut flood) = (0, 0_u64);
        let start = Wall::now();
        for round in 0..100_u32 {
            phone.send_to(&round.to_be_bytes(), quiet).unwrap();
            while answered <= round || flood < u64::from(round) * 20 {
                let mut burst = ArrayVec::new();
                port.receive_burst(Instant::ZERO, &mut burst);
                for packet in burst {
                    if packet.slot == 1 {
                        assert_eq!(octets(&port, &packet), answered.to_be_bytes());
                        answered += 1;
                    } else {
                        flood += 1;
                    }
                    port.free(packet.frame);
                }
                if start.elapsed() > LIMIT {
                    stop.store(true, order);
                    panic!("deaf after {answered} packets, {flood} of the flood");
                }
            }
            if round == 50 {
                // Close and open again in the middle of it.
                port.close(0);
                port.open(0, bind::udp(target, &BindOptions::default()).unwrap()).unwrap();
            }
        }
        stop.store(true, order);
        assert!(flood > 0);
    });
    port.close(0);
    port.close(1);
    let mut rest = ArrayVec::new();
    port.receive_burst(Instant::ZERO, &mut rest);
    assert!(rest.is_empty());
    assert_no_leak(&port, &config);
}

macro_rules! on_both_ports_and_families {
    ($($test:ident),* $(,)?) => {
        mod uring_v4 {
            $(#[test] fn $test() { super::with_uring(super::$test::<super::Uring>, super::V4) })*
        }
        mod uring_v6 {
            $(#[test] fn $test() { super::with_uring(super::$test::<super::Uring>, super::V6) })*
        }
        mod mmsg_v4 { $(#[test] fn $test() { super::$test::<super::Mmsg>(super::V4) })* }
        mod mmsg_v6 { $(#[test] fn $test() { super::$test::<super::Mmsg>(super::V6) })* }
    };
}

on_both_ports_and_families!(
    relays,
    packets_arrive_when_the_kernel_got_them,
    marks_what_is_cut_and_survives_what_is_empty,
    goes_on_after_frames_ran_out,
    what_the_kernel_threw_away_is_counted,
    a_refused_send_harms_nobody,
    refuses_what_cannot_be_sent,
    slots_close_and_open_again_under_traffic,
    the_doorbell_ends_the_wait,
    a_thousand_slots,
    a_port_can_be_dropped_at_any_time,
    marks_packets,
    bursts_allocate_no_frames_for_good,
    a_flood_does_not_make_other_slots_deaf,
);

#[test]
fn sizes_that_cannot_work_are_refused() {
    for config in [
        SocketConfig { slots: 0, ..small() },
        SocketConfig { frames: SocketConfig::MIN_FRAMES - 1, ..small() },
        SocketConfig { receive_buffers: 3, ..small() },
    ] {
        assert!(Uring::new(&config).is_err(), "{config:?}");
        assert!(Mmsg::new(&config).is_err(), "{config:?}");
    }
}
