//! The packet path of every port allocates nothing once the port is made.

#![expect(clippy::unwrap_used, reason = "a test says what failed by its line")]

use arrayvec::ArrayVec;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use tandem_hw::bind::{self, BindOptions};
use tandem_hw::count_alloc::{CountingAllocator, allocations_on_this_thread};
use tandem_hw::port::memory::MemoryPort;
use tandem_hw::port::socket::{Mmsg, SocketConfig, Uring};
use tandem_hw::port::{Departure, Port, Received};
use tandem_hw::{handover, spsc};
use tandem_wire::addr::SockAddr;
use tandem_wire::time::Instant;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Relays what arrives back to where it came from until `count` packets went out.
fn relay<P: Port>(port: &mut P, count: u32) {
    let mut sent = 0;
    for _ in 0..1_000 {
        let mut burst = ArrayVec::new();
        port.receive_burst(Instant::ZERO, &mut burst);
        let mut out = ArrayVec::new();
        for packet in burst {
            let Received { frame, start, len, slot, source, .. } = packet;
            if let Some(copy) = port.copy(&frame, start, len) {
                port.free(copy);
            }
            out.push(Departure { frame, start, len, slot, destination: source });
        }
        sent += port.send_burst(&mut out).sent;
        if sent == count {
            return;
        }
        port.wait(Duration::from_millis(5));
    }
    panic!("{sent} of {count} packets relayed");
}

fn local() -> UdpSocket {
    bind::udp(SocketAddr::from(([127, 0, 0, 1], 0)), &BindOptions::default()).unwrap()
}

fn sockets_allocate_nothing<P: Port<Endpoint = UdpSocket>>(mut port: P) {
    let entry = local();
    let address = entry.local_addr().unwrap();
    port.open(0, entry).unwrap();
    let phone = local();
    for round in 0..5 {
        for _ in 0..100 {
            phone.send_to(&[0x80; 172], address).unwrap();
        }
        let before = allocations_on_this_thread();
        relay(&mut port, 100);
        assert_eq!(allocations_on_this_thread(), before, "{} round {round}", port.name());
        let mut octets = [0; 256];
        while phone.recv_from(&mut octets).is_ok() {}
    }
}

#[test]
fn the_socket_ports_allocate_nothing() {
    let config = SocketConfig { slots: 8, frames: 1_024, receive_buffers: 256 };
    sockets_allocate_nothing(Mmsg::new(&config).unwrap());
    match Uring::is_available() {
        Ok(()) => sockets_allocate_nothing(Uring::new(&config).unwrap()),
        Err(reason) => eprintln!("skipped: {reason}"),
    }
}

#[test]
fn the_memory_port_allocates_nothing() {
    let mut port = MemoryPort::new(256, 4, 128).unwrap();
    let source = SockAddr::from(SocketAddr::from(([192, 0, 2, 1], 4_000)));
    port.open(0, source).unwrap();
    let before = allocations_on_this_thread();
    for _ in 0..10 {
        for _ in 0..100 {
            port.inject(0, source, &[0x80; 172]).unwrap();
        }
        relay(&mut port, 100);
        while port.next_sent(|sent| assert_eq!(sent.payload.len(), 172)).is_some() {}
    }
    assert_eq!(allocations_on_this_thread(), before);
}

#[test]
fn the_rings_allocate_nothing() {
    let (mut producer, mut consumer) = spsc::heap::<[u64; 9]>(8).unwrap();
    let (mut giver, mut taker) = handover::channel::<UdpSocket>(2).unwrap();
    let mut socket = local();
    let before = allocations_on_this_thread();
    for round in 0..100 {
        producer.push(&[round; 9]).unwrap();
        assert_eq!(consumer.pop(), Some([round; 9]));
        giver.give(socket).unwrap();
        socket = taker.take().unwrap();
    }
    assert_eq!(allocations_on_this_thread(), before);
    let boxed = std::hint::black_box(Box::new(1));
    assert_eq!(allocations_on_this_thread(), before + 1, "the counter counts");
    drop(boxed);
}
