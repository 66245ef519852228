//! The link and the media plane against the real engine process: calls survive its death and ours.
//!
//! The engine program is looked for in `TANDEM_BIN_DIR` and in the target folder; each test has a
//! loopback address of its own, so that all ports are free.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as WallClock};
use tandem::link::local::LocalEngine;
use tandem::link::process::EngineConfig;
use tandem::link::{Endpoint, EngineInfo, EngineLink, Family, Installed, LinkEvent};
use tandem::media::{CallKey, LegProfile, MediaConfig, MediaEvent, MediaPlane};
use tandem_contract::command::{Edge, FLAG_HOLD, TerminationSpec};
use tandem_contract::event::EndCause;
use tandem_contract::handle::ContextId;
use tandem_hw::clock::Clock;
use tandem_wire::addr::SockAddr;

const LIMIT: Duration = Duration::from_secs(20);

/// The engine program, or nothing after saying that the test is skipped.
fn engine_program(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TANDEM_BIN_DIR").map(PathBuf::from);
    // target/debug/deps/link_engine-…: beside it, or the one of the release build.
    let profile = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.parent()?.into()));
    let release = profile.as_ref().map(|profile: &PathBuf| profile.with_file_name("release"));
    let candidates = [folder, profile, release].into_iter().flatten();
    let program = candidates.map(|folder| folder.join("tandem-engine")).find(|p| p.is_file());
    if program.is_none() {
        skip(test, "tandem-engine is not built (cargo build -p tandem-engine)");
    }
    program
}

fn skip(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("TANDEM_SKIP_LOG") {
        use std::io::Write;
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}")).expect("the log of skipped tests");
    }
}

/// A loopback address of this test alone.
fn own_address(test: u8) -> IpAddr {
    let pid = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, pid[2] | 1, pid[3], test).into()
}

struct Bench {
    folder: tempfile::TempDir,
    config: EngineConfig,
    clock: Clock,
    pids: HashSet<u32>,
}

impl Bench {
    fn new(name: &str, test: u8) -> Option<Self> {
        let program = engine_program(name)?;
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            EngineConfig::new(folder.path().join("engine.sock"), vec![own_address(test)]);
        config.program = Some(program);
        config.log = Some(folder.path().join("engine.log"));
        Some(Self { folder, config, clock: Clock::new(), pids: HashSet::new() })
    }

    fn attach(&mut self) -> (LocalEngine, EngineInfo) {
        let mut link = LocalEngine::new(self.config.clone()).unwrap();
        // Its events stay to be read.
        let deadline = self.clock.now() + LIMIT;
        while link.info().is_none() || link.families().is_empty() {
            let now = self.clock.now();
            assert!(now < deadline, "no engine: {:?}\n{}", link.poll_event(), self.log());
            link.handle(now);
            std::thread::sleep(Duration::from_millis(1));
        }
        let info = link.info().unwrap();
        self.pids.insert(info.pid);
        (link, info)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("engine.log")).unwrap_or_default()
    }

    /// Runs the link until `done` or the limit; gives what it said.
    fn run(
        &self,
        link: &mut dyn EngineLink,
        mut done: impl FnMut(&[LinkEvent], &dyn EngineLink) -> bool,
    ) -> Vec<LinkEvent> {
        let mut events = Vec::new();
        let deadline = self.clock.now() + LIMIT;
        loop {
            link.handle(self.clock.now());
            while let Some(event) = link.poll_event() {
                events.push(event);
            }
            if done(&events, link) {
                return events;
            }
            assert!(self.clock.now() < deadline, "timed out after {events:?}\n{}", self.log());
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for pid in &self.pids {
            kill(*pid, rustix::process::Signal::KILL);
        }
    }
}

fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

fn found_in(events: &[LinkEvent]) -> Option<(usize, Vec<Installed>, Duration)> {
    events.iter().find_map(|event| match event {
        LinkEvent::Attached { reinstalled, found, outage, .. } => {
            Some((*reinstalled, found.clone(), *outage))
        }
        _ => None,
    })
}

/// A phone: a socket that sends and receives RTP.
struct Phone {
    socket: UdpSocket,
    ssrc: u32,
    sequence: u16,
}

impl Phone {
    fn new(address: IpAddr, ssrc: u32) -> Self {
        let socket = UdpSocket::bind(SocketAddr::new(address, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        Self { socket, ssrc, sequence: 1 }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn send(&mut self, to: SocketAddr) {
        let mut packet = [0xd5; 172];
        packet[..2].copy_from_slice(&[0x80, 8]);
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(self.sequence) * 160).to_be_bytes());
        packet[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send_to(&packet, to).unwrap();
    }

    /// The sequence number of the next RTP packet.
    fn receive(&self) -> Option<u16> {
        let mut packet = [0; 2048];
        loop {
            let (length, _) = self.socket.recv_from(&mut packet).ok()?;
            // RTCP of the engine's own may come to the RTP port of a multiplexed leg only.
            if length >= 12 && packet[1] & 0x7f == 8 {
                return Some(u16::from_be_bytes([packet[2], packet[3]]));
            }
        }
    }
}

/// A context of two terminations on one worker.
struct Context {
    id: ContextId,
    ends: [Endpoint; 2],
    remotes: [SockAddr; 2],
}

impl Context {
    fn take(link: &mut dyn EngineLink, id: u64, remotes: [SocketAddr; 2]) -> Self {
        let worker = link.pick_worker(Family::V4).expect("a worker has endpoints");
        let ends = [0, 1].map(|_| link.take_endpoint(worker, Family::V4).expect("an endpoint"));
        Self { id: ContextId(id), ends, remotes: remotes.map(SockAddr::from) }
    }

    fn put(&self, link: &mut dyn EngineLink, clock: &Clock, lease_ms: u32) {
        for (own, other) in [(0, 1), (1, 0)] {
            let peer = self.ends[other].handle;
            let mut spec = TerminationSpec {
                context: self.id,
                local_rtp: self.ends[own].rtp,
                local_rtcp: self.ends[own].rtcp,
                remote_rtp: self.remotes[own],
                flags: FLAG_HOLD,
                lease_ms,
                leg: u8::try_from(own).unwrap(),
                ..TerminationSpec::default()
            };
            spec.edges[0] = Edge { index: peer.index, generation: peer.generation };
            link.put(clock.now(), self.ends[own].handle, spec);
        }
    }

    fn local(&self, end: usize) -> SocketAddr {
        self.ends[end].rtp.to_std().unwrap()
    }
}

/// Sends until it is told to stop; gives how many.
fn stream(mut phone: Phone, to: SocketAddr, pause: Duration) -> (Arc<AtomicBool>, JoinHandle<u16>) {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    let thread = std::thread::spawn(move || {
        while !told.load(Ordering::Relaxed) {
            phone.send(to);
            std::thread::sleep(pause);
        }
        phone.sequence - 1
    });
    (stop, thread)
}

#[test]
fn a_killed_engine_is_back_with_a_thousand_contexts_within_a_second() {
    const CONTEXTS: u64 = 1_000;
    let name = "a_killed_engine_is_back_with_a_thousand_contexts_within_a_second";
    let Some(mut bench) = Bench::new(name, 1) else { return };
    let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if soft.maximum.is_some_and(|files| files < 5_000) {
        return skip(name, "the open-files limit is below 5,000");
    }
    bench.config.endpoints_ahead = 2_100;
    let (mut link, first) = bench.attach();
    let (mut alice, bob) = (Phone::new(own_address(1), 7), Phone::new(own_address(1), 8));
    bench.run(&mut link, |_, link| {
        link.worker_counters().iter().map(|w| w.endpoints_free).sum::<u64>() >= 2 * CONTEXTS
    });
    let remotes = [alice.address(), bob.address()];
    let contexts: Vec<Context> = (1..=CONTEXTS)
        .map(|id| {
            // Announcements come through the ring while we go.
            link.handle(bench.clock.now());
            let context = Context::take(&mut link, id, remotes);
            context.put(&mut link, &bench.clock, 30_000);
            context
        })
        .collect();
    let terminations = |link: &dyn EngineLink| -> u64 {
        link.worker_counters().iter().map(|worker| worker.terminations).sum()
    };
    bench.run(&mut link, |_, link| terminations(link) == 2 * CONTEXTS);
    let probe = &contexts[500];
    for expected in 1..=20 {
        alice.send(probe.local(0));
        assert_eq!(bob.receive(), Some(expected));
    }
    // Figures are published once a second.
    let handle = probe.ends[0].handle;
    bench.run(&mut link, |_, link| {
        link.counters(handle).is_some_and(|counters| counters.rx.packets == 20)
    });

    let killed = WallClock::now();
    kill(first.pid, rustix::process::Signal::KILL);
    let events = bench.run(&mut link, |events, _| found_in(events).is_some());
    let took = killed.elapsed();
    let (reinstalled, found, outage) = found_in(&events).unwrap();
    let info = link.info().unwrap();
    bench.pids.insert(info.pid);
    eprintln!("{reinstalled} terminations installed again {took:?} after kill -9 ({outage:?})");
    assert!(matches!(events[0], LinkEvent::Lost { .. }), "{events:?}");
    assert!(!events.iter().any(|event| matches!(event, LinkEvent::Failed(_))), "{events:?}");
    assert_eq!((reinstalled, found.len()), (2_000, 0));
    assert_ne!((info.pid, info.instance), (first.pid, first.instance));
    assert!(!events.iter().any(|event| matches!(event, LinkEvent::Refused { .. })), "{events:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");

    // The same ports relay on at once, from the source that was confirmed before.
    for expected in 21..=30 {
        alice.send(probe.local(0));
        assert_eq!(bob.receive(), Some(expected));
    }
    let mut stranger = Phone::new(own_address(1), 9);
    stranger.send(probe.local(0));
    alice.send(probe.local(0));
    assert_eq!(bob.receive(), Some(31));
    // Figures of both engines add up.
    bench.run(&mut link, |_, link| {
        link.counters(handle).is_some_and(|counters| counters.rx.packets == 31)
    });
    assert_eq!(link.counters(handle).unwrap().rx.lost, 0);
    // New calls find endpoints again.
    bench.run(&mut link, |_, link| link.pick_worker(Family::V4).is_some());
    link.shutdown(true);
}

#[test]
fn the_engine_relays_on_without_control_and_is_taken_over() {
    let name = "the_engine_relays_on_without_control_and_is_taken_over";
    let Some(mut bench) = Bench::new(name, 2) else { return };
    let (mut link, first) = bench.attach();
    let (alice, bob) = (Phone::new(own_address(2), 7), Phone::new(own_address(2), 8));
    let context = Context::take(&mut link, 42, [alice.address(), bob.address()]);
    context.put(&mut link, &bench.clock, 30_000);
    bench.run(&mut link, |_, link| link.counters(context.ends[1].handle).is_some());
    let (stop, sender) = stream(alice, context.local(0), Duration::from_millis(1));
    let receiver = std::thread::spawn(move || {
        bob.socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        std::iter::from_fn(|| bob.receive()).collect::<Vec<_>>()
    });
    std::thread::sleep(Duration::from_millis(300));

    // Control is gone from one moment to the next; the connection closes, as after kill -9.
    drop(link);
    std::thread::sleep(Duration::from_millis(700));
    let (mut link, info) = bench.attach();
    assert_eq!((info.pid, info.instance), (first.pid, first.instance));
    assert_eq!(info.epoch, first.epoch + 1);
    let (reinstalled, found, _) =
        found_in(&bench.run(&mut link, |events, _| found_in(events).is_some())).unwrap();
    assert_eq!(reinstalled, 0);
    let mut told: Vec<_> = found.iter().map(|f| (f.context, f.handle, f.local_rtp)).collect();
    told.sort_by_key(|(_, handle, _)| handle.index);
    let mut own: Vec<_> = context.ends.iter().map(|e| (context.id, e.handle, e.rtp)).collect();
    own.sort_by_key(|(_, handle, _)| handle.index);
    assert_eq!(told, own);
    std::thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    let sent = sender.join().unwrap();
    let received = receiver.join().unwrap();
    assert_eq!(received, (1..=sent).collect::<Vec<_>>(), "not one packet was lost");
    bench.run(&mut link, |_, link| {
        link.counters(context.ends[0].handle)
            .is_some_and(|c| c.rx.packets == u64::from(sent) && c.leg == 0)
    });
    link.shutdown(true);
}

#[test]
fn what_nobody_renews_ends() {
    let name = "what_nobody_renews_ends";
    let Some(mut bench) = Bench::new(name, 3) else { return };
    let (mut link, _) = bench.attach();
    let (mut alice, bob) = (Phone::new(own_address(3), 7), Phone::new(own_address(3), 8));
    let context = Context::take(&mut link, 42, [alice.address(), bob.address()]);
    context.put(&mut link, &bench.clock, 1_200);
    bench.run(&mut link, |_, link| link.counters(context.ends[1].handle).is_some());
    // While control renews, the lease never ends.
    let until = WallClock::now() + Duration::from_millis(2_500);
    let events = bench.run(&mut link, |_, _| WallClock::now() >= until);
    assert!(!events.iter().any(|event| matches!(event, LinkEvent::Ended { .. })), "{events:?}");
    alice.send(context.local(0));
    assert_eq!(bob.receive(), Some(1));

    drop(link);
    let (mut link, _) = bench.attach();
    let ended = |events: &[LinkEvent]| {
        let of = |event: &LinkEvent| match event {
            LinkEvent::Ended { context, cause, .. } => Some((*context, *cause)),
            _ => None,
        };
        events.iter().filter_map(of).collect::<Vec<_>>()
    };
    let events = bench.run(&mut link, |events, _| ended(events).len() == 2);
    assert_eq!(ended(&events), [(ContextId(42), EndCause::LeaseExpired); 2]);
    let last = link.counters(context.ends[0].handle).unwrap();
    assert_eq!((last.alive, last.rx.packets), (0, 1));
    link.shutdown(true);
}

fn sdp(phone: &Phone) -> Vec<u8> {
    let (ip, port) = (phone.address().ip(), phone.address().port());
    let kind = if ip.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=- 1 1 IN {kind} {ip}\r\ns=-\r\nc=IN {kind} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\n"
    )
    .into_bytes()
}

fn address_in(sdp: &[u8]) -> SocketAddr {
    let sdp = tandem_signalling::sdp::SessionDescription::parse(sdp).unwrap();
    let ip = sdp.media_connection(0).unwrap().host.ip().unwrap();
    SocketAddr::new(ip, sdp.media(0).unwrap().port)
}

/// Runs the media plane until `done`; gives what it said.
fn run_media(
    media: &mut MediaPlane,
    mut done: impl FnMut(&[MediaEvent]) -> bool,
) -> Vec<MediaEvent> {
    let clock = Clock::new();
    let deadline = clock.now() + LIMIT;
    let mut events = Vec::new();
    while !done(&events) {
        assert!(clock.now() < deadline, "timed out after {events:?}");
        events.extend(media.handle_link(clock.now()));
        std::thread::sleep(Duration::from_micros(500));
    }
    events
}

#[test]
fn a_call_is_relayed_measured_and_counted_to_the_packet() {
    let name = "a_call_is_relayed_measured_and_counted_to_the_packet";
    let Some(mut bench) = Bench::new(name, 4) else { return };
    let (link, info) = bench.attach();
    let mut media = MediaPlane::new(MediaConfig::default(), Box::new(link));
    let back = |events: &[MediaEvent]| {
        events.iter().any(|event| matches!(event, MediaEvent::EngineBack { .. }))
    };
    let settled = |events: &[MediaEvent]| {
        events.iter().any(|event| matches!(event, MediaEvent::Settled { .. }))
    };
    run_media(&mut media, back);
    let call = CallKey(0x77);
    let (mut alice, mut bob) = (Phone::new(own_address(4), 7), Phone::new(own_address(4), 8));
    let now = bench.clock.now();
    let for_bob = address_in(&media.offer(now, call, 0, 1, &sdp(&alice)).unwrap());
    let for_alice = address_in(&media.answer(now, call, 1, 0, &sdp(&bob), false).unwrap());
    let mut packets = |count: u16| {
        for _ in 0..count {
            alice.send(for_alice);
            assert!(bob.receive().is_some());
            bob.send(for_bob);
            assert!(alice.receive().is_some());
        }
    };
    // The first packet may overtake the command that installs the call.
    std::thread::sleep(Duration::from_millis(50));
    packets(30);
    let latched = run_media(&mut media, |events| {
        events.iter().filter(|event| matches!(event, MediaEvent::Latched { .. })).count() == 2
    });
    assert!(latched.iter().all(|event| !matches!(event, MediaEvent::Refused { .. })));
    let view = media.engine_view();
    assert_eq!((view.attached, view.pid, view.workers), (true, Some(info.pid), 1));

    // The engine dies in the middle of the call.
    run_media(&mut media, |_| true);
    kill(info.pid, rustix::process::Signal::KILL);
    let events = run_media(&mut media, back);
    bench.pids.extend(media.engine_view().pid);
    assert!(matches!(events[0], MediaEvent::EngineLost { .. }), "{events:?}");
    packets(20);
    media.stop(bench.clock.now(), call);
    run_media(&mut media, settled);
    let legs = media.release(bench.clock.now(), call);
    let said: Vec<_> = legs.iter().map(|l| (l.leg.as_str(), l.codec.as_deref(), l.lost)).collect();
    assert_eq!(said, [("caller", Some("PCMA/8000"), 0), ("callee", Some("PCMA/8000"), 0)]);
    for leg in &legs {
        // The old engine published up to a second before its death; the new one at the end.
        assert!((20..=50).contains(&leg.rx_packets), "{leg:?}");
        assert!(leg.mos.is_some_and(|mos| mos > 4.0), "{leg:?}");
    }

    // Without a death, figures are exact at the moment of release.
    let call = CallKey(0x78);
    let (mut alice, mut bob) = (Phone::new(own_address(4), 17), Phone::new(own_address(4), 18));
    let until = WallClock::now() + Duration::from_millis(300);
    run_media(&mut media, |_| WallClock::now() >= until);
    let now = bench.clock.now();
    let for_bob = address_in(&media.offer(now, call, 0, 1, &sdp(&alice)).unwrap());
    let for_alice = address_in(&media.answer(now, call, 1, 0, &sdp(&bob), false).unwrap());
    std::thread::sleep(Duration::from_millis(50));
    for _ in 0..25 {
        alice.send(for_alice);
        assert!(bob.receive().is_some());
        bob.send(for_bob);
        assert!(alice.receive().is_some());
    }
    let releasing = WallClock::now();
    media.stop(bench.clock.now(), call);
    run_media(&mut media, settled);
    let legs = media.release(bench.clock.now(), call);
    eprintln!("final figures {:?} after the request", releasing.elapsed());
    let said: Vec<_> = legs.iter().map(|l| (l.rx_packets, l.tx_packets, l.lost)).collect();
    assert_eq!(said, [(25, 25, 0), (25, 25, 0)]);
    media.shutdown(true);
}

#[test]
fn a_leg_over_ipv6_hears_a_leg_over_ipv4() {
    let name = "a_leg_over_ipv6_hears_a_leg_over_ipv4";
    if UdpSocket::bind("[::1]:0").is_err() {
        return skip(name, "there is no IPv6 here");
    }
    let Some(mut bench) = Bench::new(name, 6) else { return };
    bench.config.addresses.push(Ipv6Addr::LOCALHOST.into());
    bench.config.workers = 2;
    let (link, _) = bench.attach();
    let mut media = MediaPlane::new(MediaConfig::default(), Box::new(link));
    let until = WallClock::now() + Duration::from_millis(200);
    run_media(&mut media, |_| WallClock::now() >= until);
    assert_eq!(media.engine_view().workers, 2);
    let call = CallKey(0x79);
    let mut alice = Phone::new(own_address(6), 7);
    let mut bob = Phone::new(Ipv6Addr::LOCALHOST.into(), 8);
    let now = bench.clock.now();
    media.prepare_leg(call, 1, LegProfile { local: Ipv6Addr::LOCALHOST.into() });
    let for_bob = address_in(&media.offer(now, call, 0, 1, &sdp(&alice)).unwrap());
    let for_alice = address_in(&media.answer(now, call, 1, 0, &sdp(&bob), false).unwrap());
    assert!(for_bob.is_ipv6() && for_alice.is_ipv4());
    std::thread::sleep(Duration::from_millis(50));
    for expected in 1..=10 {
        alice.send(for_alice);
        assert_eq!(bob.receive(), Some(expected));
        bob.send(for_bob);
        assert_eq!(alice.receive(), Some(expected));
    }
    assert_eq!(media.release(bench.clock.now(), call).len(), 2);
    media.shutdown(true);
}

#[test]
fn a_second_control_is_told_who_holds_the_engine() {
    let name = "a_second_control_is_told_who_holds_the_engine";
    let Some(mut bench) = Bench::new(name, 5) else { return };
    let (mut link, _) = bench.attach();
    let mut second = LocalEngine::new(bench.config.clone()).unwrap();
    let failed = |events: &[LinkEvent]| {
        events.iter().find_map(|event| match event {
            LinkEvent::Failed(error) => Some(error.to_string()),
            _ => None,
        })
    };
    let events = bench.run(&mut second, |events, _| failed(events).is_some());
    let error = failed(&events).unwrap();
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    assert!(link.info().is_some());
    link.shutdown(true);
    // It has ended: a new one can be started on the same socket.
    let (mut link, _) = bench.attach();
    link.shutdown(true);
}

#[test]
fn an_engine_that_hangs_is_killed_and_replaced() {
    let Some(mut bench) = Bench::new("an_engine_that_hangs_is_killed_and_replaced", 9) else {
        return;
    };
    let (mut link, first) = bench.attach();
    kill(first.pid, rustix::process::Signal::STOP);
    let replaced = |_: &[LinkEvent], link: &dyn EngineLink| {
        link.info().is_some_and(|info| info.instance != first.instance)
    };
    let events = bench.run(&mut link, replaced);
    bench.pids.insert(link.info().unwrap().pid);
    let hung =
        |event: &LinkEvent| matches!(event, LinkEvent::Lost { reason } if reason.contains("hung"));
    assert!(events.iter().any(hung), "{events:?}");
    let status = std::fs::read_to_string(format!("/proc/{}/stat", first.pid));
    assert!(!status.is_ok_and(|it| it.contains(") T ")), "it was killed");
}
