//! What the port makes of completions, and each mode of the ring.

use super::*;

fn written(name_len: u32, control_len: u32, flags: u32) -> Vec<u8> {
    let mut frame = vec![0; crate::frame::FRAME_SIZE];
    for (at, field) in [(0, name_len), (4, control_len), (8, 172), (12, flags)] {
        frame[BUFFER_START + at..][..4].copy_from_slice(&field.to_ne_bytes());
    }
    let mut name = name::Name::EMPTY;
    name.set("192.0.2.1:4660".parse::<std::net::SocketAddr>().unwrap().into());
    frame[BUFFER_START + OUT_LEN..][..NAME_LEN].copy_from_slice(&name.0);
    frame[HEADROOM - CONTROL_LEN..HEADROOM].fill(7);
    frame
}

#[test]
fn what_the_kernel_writes_is_checked() {
    let source = "192.0.2.1:4660".parse::<std::net::SocketAddr>().unwrap().into();
    let check = |written: Vec<u8>, len| {
        parse(&written, len).map(|a| (a.source, a.control.len(), a.len, a.truncated))
    };
    let full = |len| check(written(16, 56, 0), len);
    assert_eq!(full(100 + 172), Some((source, 56, 172, false)));
    assert_eq!(full(100), Some((source, 56, 0, false)));
    assert_eq!(check(written(16, 0, 0x20), BUFFER_LEN), Some((source, 0, 1_856, true)));
    assert_eq!(full(99), None, "shorter than its header");
    assert_eq!(full(BUFFER_LEN + 1), None, "longer than the buffer");
    assert_eq!(check(written(29, 0, 0), 100), None, "a name longer than its room");
    assert_eq!(check(written(16, 57, 0), 100), None, "control longer than its room");
    assert_eq!(check(written(u32::MAX, u32::MAX, 0), 100), None);
    assert_eq!(check(written(7, 0, 0), 101), Some((SockAddr::NONE, 0, 1, false)));
}

#[test]
fn the_parts_of_a_tag_come_back() {
    let user_data = tag(KIND_SEND, GENERATION_MASK, u32::MAX);
    let completion = Completion { user_data, result: 0, flags: 0 };
    assert_eq!(completion.parts(), (KIND_SEND, GENERATION_MASK, u32::MAX));
}

#[test]
fn a_completion_that_cannot_be_is_ignored() {
    let config = SocketConfig { slots: 2, frames: 512, receive_buffers: 64 };
    let Ok(mut port) = Uring::new(&config) else {
        eprintln!("skipped: {:?}", Uring::is_available());
        return;
    };
    let buffer = |id: u32| id << 16 | 1;
    for (user_data, result, flags) in [
        (tag(KIND_RECEIVE, 0, 0), 76, buffer(64)),
        (tag(KIND_RECEIVE, 0, 99), 76, buffer(65_535)),
        (tag(KIND_RECEIVE, 0, 1), 76, 2),
        (tag(KIND_RECEIVE, 9, 1), 76, buffer(3)),
        (tag(KIND_SEND, 0, 0), 1, 0),
        (tag(KIND_SEND, 1, 5_000), 1, 0),
        (tag(KIND_BELL, 77, 0), 1, 2),
        (tag(0, 0, 0), 0, 0),
        (u64::MAX, i32::MIN, u32::MAX),
    ] {
        let completion = Completion { user_data, result, flags };
        let time = BurstTime::new(Instant::ZERO);
        assert!(port.handle(completion, time).is_none(), "{completion:?}");
    }
    assert_eq!(port.available(), 512);
}

#[test]
fn every_mode_receives_sends_and_ends() {
    for mode in MODES {
        let config = SocketConfig { slots: 2, frames: 512, receive_buffers: 64 };
        let Ok(mut port) = Uring::with_modes(&config, &[mode]) else {
            eprintln!("skipped: this kernel has no rings of {mode:?}");
            continue;
        };
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [entry, exit] = [0, 1].map(|index| sockets[index].local_addr().unwrap());
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (slot, socket) in (0..).zip(sockets) {
            port.open(slot, socket).unwrap();
        }
        let (mut relayed, mut back, mut rounds) = (0_u32, 0, 0);
        for round in 0..100_u32 {
            phone.send_to(&round.to_be_bytes(), entry).unwrap();
        }
        while back < 100 {
            let (mut burst, mut out) = (ArrayVec::new(), ArrayVec::new());
            port.receive_burst(Instant::ZERO, &mut burst);
            for Received { frame, start, len, slot, .. } in burst {
                if slot == 0 {
                    let destination = exit.into();
                    out.push(Departure { frame, start, len, slot, destination });
                    relayed += 1;
                } else {
                    let number = u32::to_be_bytes(back);
                    assert_eq!(port.payload(&frame, start, len), number, "{mode:?}");
                    port.free(frame);
                    back += 1;
                }
            }
            let count = u32::try_from(out.len()).unwrap();
            let outcome = port.send_burst(&mut out);
            assert_eq!((outcome.sent, outcome.failed), (count, 0));
            port.wait(Duration::from_millis(20));
            rounds += 1;
            assert!(rounds < 500, "{mode:?}: {relayed} relayed, {back} back");
        }
        port.close(0);
        assert!(port.quiesce(), "{mode:?}");
        assert_eq!(port.available(), 512);
    }
}

#[test]
fn nothing_is_in_flight_after_the_end() {
    let config = SocketConfig { slots: 2, frames: 512, receive_buffers: 64 };
    let Ok(mut port) = Uring::new(&config) else {
        eprintln!("skipped: {:?}", Uring::is_available());
        return;
    };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = socket.local_addr().unwrap();
    port.open(0, socket).unwrap();
    port.open(1, UdpSocket::bind("[::1]:0").unwrap()).unwrap();
    port.watch_doorbell(&Doorbell::new().unwrap()).unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"unread", own).unwrap();
    assert_eq!(port.standing, 3);
    assert!(port.quiesce());
    assert_eq!(port.available(), 512);
}
