//! The real binary over its socket, with real UDP on loopback.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};
use tandem_contract::command::{
    Command, CommandSlot, Edge, FLAG_RTCP_MUX, PayloadType, TerminationSpec,
};
use tandem_contract::counters::{TerminationCounters, WorkerCounters};
use tandem_contract::event::{EndCause, Event, EventSlot};
use tandem_contract::handle::{ContextId, Handle};
use tandem_contract::hello::{Hello, MAGIC, STATUS_BUSY, STATUS_OK, VERSION};
use tandem_hw::doorbell::Doorbell;
use tandem_hw::lane::ControlEnd;
use tandem_hw::seqpacket::Connection;
use tandem_hw::table::{TableReader, open_pair};
use tandem_wire::addr::SockAddr;

const PATIENCE: Duration = Duration::from_secs(10);

/// An engine process that ends with the test.
struct Engine {
    child: Child,
    _folder: tempfile::TempDir,
    socket: std::path::PathBuf,
}

impl Engine {
    fn start(kind: &str, addresses: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let child = Process::new(env!("CARGO_BIN_EXE_tandem-engine"))
            .arg("--socket")
            .arg(&socket)
            .args(["--port-kind", kind, "--address", addresses])
            .args(if more.contains(&"--ports") { &[][..] } else { &["--endpoints-ahead", "8"] })
            .args(if more.contains(&"--ports") { vec![] } else { vec!["--ports".into(), range()] })
            .args(more)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, _folder: folder, socket }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port range of its own for each test process and call.
fn range() -> String {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let first = port.clamp(10_000, 60_000);
    format!("{first}-{}", first + 400)
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A control process with one worker.
struct Control {
    hello: Hello,
    lane: ControlEnd<CommandSlot, EventSlot>,
    bell: Doorbell,
    worker: TableReader<WorkerCounters>,
    terminations: TableReader<TerminationCounters>,
    events: Vec<Event>,
    sequence: u64,
    _connection: Connection,
}

fn greet(socket: &Path) -> (Connection, Hello, Vec<OwnedFd>) {
    let connection = until("the engine listens", || Connection::connect(socket).ok());
    let mut buffer = [0; 256];
    let message = until("it says hello", || connection.recv(&mut buffer).ok().flatten());
    let hello = bytemuck::pod_read_unaligned(&buffer[..message.len]);
    (connection, hello, message.fds)
}

impl Control {
    fn attach(socket: &Path) -> Self {
        Self::take_over(greet(socket))
    }

    /// Attaches as soon as the engine has noticed that the control before is gone.
    fn attach_when_free(socket: &Path) -> Self {
        until("the engine is free", || {
            let greeting = greet(socket);
            (greeting.1.status == STATUS_OK).then(|| Self::take_over(greeting))
        })
    }

    fn take_over((connection, hello, fds): (Connection, Hello, Vec<OwnedFd>)) -> Self {
        assert_eq!((hello.magic, hello.version, hello.status), (MAGIC, VERSION, STATUS_OK));
        let [lane, table, to_worker, _to_control] = <[OwnedFd; 4]>::try_from(fds).unwrap();
        let (worker, terminations) = open_pair(table).unwrap();
        assert_eq!(terminations.entries(), hello.terminations as usize);
        Self {
            hello,
            lane: ControlEnd::open(lane).unwrap(),
            bell: Doorbell::from_fd(to_worker).unwrap(),
            worker,
            terminations,
            events: Vec::new(),
            sequence: 0,
            _connection: connection,
        }
    }

    fn send(&mut self, command: Command) -> u64 {
        self.sequence += 1;
        self.lane.commands.push(&command.to_slot(self.sequence)).unwrap();
        self.lane.wake_peer(&self.bell);
        self.sequence
    }

    /// Waits for an event and takes it out.
    fn event<T>(&mut self, what: &str, mut look: impl FnMut(&Event) -> Option<T>) -> T {
        until(what, || {
            while let Some(slot) = self.lane.events.pop() {
                self.events.push(Event::from_slot(&slot).unwrap());
            }
            let at = self.events.iter().position(|event| look(event).is_some())?;
            look(&self.events.remove(at))
        })
    }

    fn endpoint(&mut self, ipv6: bool) -> (Handle, SockAddr) {
        self.event("an endpoint is ready", |event| match event {
            Event::EndpointReady { handle, rtp, .. }
                if rtp.ip().is_some_and(|ip| ip.is_ipv6() == ipv6) =>
            {
                Some((*handle, *rtp))
            }
            _ => None,
        })
    }

    fn put(&mut self, handle: Handle, spec: TerminationSpec) {
        let sent = self.send(Command::Put { handle, spec });
        self.event("it is installed", |event| match event {
            Event::Installed { sequence, .. } if *sequence == sent => Some(()),
            Event::Refused { sequence, refusal, .. } if *sequence == sent => {
                panic!("refused: {refusal:?}")
            }
            _ => None,
        });
    }

    fn figures(&self, handle: Handle) -> TerminationCounters {
        self.terminations.read(handle.index as usize).unwrap()
    }
}

/// A phone: a socket and its RTP stream.
struct Phone {
    socket: UdpSocket,
    sequence: u16,
}

impl Phone {
    fn new(ip: &str) -> Self {
        let socket = UdpSocket::bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, sequence: 0 }
    }

    fn address(&self) -> SockAddr {
        self.socket.local_addr().unwrap().into()
    }

    fn send(&mut self, to: SockAddr) {
        let mut packet = [0u8; 172];
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(self.sequence) * 160).to_be_bytes());
        packet[8..12].copy_from_slice(&[0, 0, 0, 7]);
        self.sequence += 1;
        self.socket.send_to(&packet, to.to_std().unwrap()).unwrap();
    }

    fn receive(&self) -> (usize, SockAddr) {
        let mut buffer = [0; 2_048];
        let (len, from) = self.socket.recv_from(&mut buffer).unwrap();
        (len, from.into())
    }
}

fn spec(context: u64, local: SockAddr, remote: SockAddr, peer: Handle) -> TerminationSpec {
    let mut spec = TerminationSpec {
        context: ContextId(context),
        local_rtp: local,
        local_rtcp: local.with_port(local.port() + 1),
        remote_rtp: remote,
        flags: FLAG_RTCP_MUX,
        lease_ms: 60_000,
        ..Default::default()
    };
    spec.edges[0] = Edge { index: peer.index, generation: peer.generation };
    spec.payload_types[0] =
        PayloadType { clock_rate: 8_000, number: 0, telephone_event: 0, codec: 1, present: 1 };
    spec
}

/// A relay between two phones; their handles and the local addresses.
fn call(control: &mut Control, phones: [&Phone; 2]) -> [(Handle, SockAddr); 2] {
    let ends = phones.map(|p| control.endpoint(p.address().ip().unwrap().is_ipv6()));
    for (i, phone) in phones.iter().enumerate() {
        let spec = spec(5, ends[i].1, phone.address(), ends[1 - i].0);
        control.put(ends[i].0, spec);
    }
    ends
}

fn relays_both_ways(kind: &str, addresses: &str, ips: [&str; 2]) {
    let engine = Engine::start(kind, addresses, &[]);
    let mut control = Control::attach(&engine.socket);
    let (mut a, mut b) = (Phone::new(ips[0]), Phone::new(ips[1]));
    let ends = call(&mut control, [&a, &b]);
    for _ in 0..50 {
        a.send(ends[0].1);
        assert_eq!(b.receive(), (172, ends[1].1));
        b.send(ends[1].1);
        assert_eq!(a.receive(), (172, ends[0].1));
    }
    for end in ends {
        let figures = until("figures are published", || {
            Some(control.figures(end.0)).filter(|f| f.rx.packets == 50)
        });
        assert_eq!((figures.rx.lost, figures.tx_packets, figures.alive), (0, 50, 1));
        assert_eq!(figures.context, ContextId(5));
        control.send(Command::Subtract { handle: end.0 });
        control.event("it ends", |event| match event {
            Event::Ended { handle, cause, .. } if *handle == end.0 => Some(*cause),
            _ => None,
        });
        assert_eq!(control.figures(end.0).alive, 0);
    }
    let totals = until("the worker's figures are published", || {
        control.worker.read(0).filter(|w| w.terminations == 0 && w.received == 100)
    });
    assert_eq!((totals.forwarded, totals.sent, totals.dropped_total()), (100, 100, 0));
    assert!(totals.endpoints_free >= 8 && totals.residence_max_ns > 0);
}

#[test]
fn relays_over_io_uring_or_what_there_is() {
    relays_both_ways("auto", "127.0.0.1", ["127.0.0.1", "127.0.0.1"]);
}

#[test]
fn relays_over_mmsg() {
    relays_both_ways("mmsg", "127.0.0.1", ["127.0.0.1", "127.0.0.1"]);
}

#[test]
fn bridges_ipv4_and_ipv6() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6 loopback");
        return;
    }
    relays_both_ways("auto", "127.0.0.1,::1", ["127.0.0.1", "::1"]);
}

#[test]
fn control_may_die_and_another_is_told_what_exists() {
    let engine = Engine::start("auto", "127.0.0.1", &[]);
    let mut control = Control::attach(&engine.socket);
    let (mut a, b) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    let ends = call(&mut control, [&a, &b]);
    let (_, busy, fds) = greet(&engine.socket);
    assert_eq!((busy.status, busy.control_pid, fds.len()), (STATUS_BUSY, std::process::id(), 0));
    let first = control.hello;
    drop(control);
    for _ in 0..20 {
        a.send(ends[0].1);
        assert_eq!(b.receive(), (172, ends[1].1));
    }
    let mut again = Control::attach_when_free(&engine.socket);
    assert_eq!(again.hello.instance, first.instance);
    assert!(again.hello.epoch > first.epoch);
    again.send(Command::Audit);
    let mut found = Vec::new();
    again.event("the audit ends", |event| match event {
        Event::AuditEnd => Some(()),
        Event::Installed { handle, latched_rtp, .. } => {
            if !found.contains(&(*handle, *latched_rtp)) {
                found.push((*handle, *latched_rtp));
            }
            None
        }
        _ => None,
    });
    assert!(found.contains(&(ends[0].0, a.address())), "{found:?}");
    assert!(found.contains(&(ends[1].0, SockAddr::NONE)));
}

#[test]
fn a_new_engine_binds_the_addresses_of_the_old_one() {
    let mut engine = Engine::start("auto", "127.0.0.1", &[]);
    let mut control = Control::attach(&engine.socket);
    let (mut a, b) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    let ends = call(&mut control, [&a, &b]);
    a.send(ends[0].1);
    b.receive();
    let range = ends.map(|end| end.1.port());
    engine.kill();
    drop(control);
    // The range of the second engine is around the ports of the first: its own endpoints ahead
    // may take them, and have to give them back.
    let low = range[0].min(range[1]) & !1;
    let high = range[0].max(range[1]) + 1;
    let ports = format!("{low}-{}", high.max(low + 79));
    let engine =
        Engine::start("auto", "127.0.0.1", &["--ports", &ports, "--endpoints-ahead", "30"]);
    let mut control = Control::attach(&engine.socket);
    for (i, phone) in [&a, &b].into_iter().enumerate() {
        let mut again = spec(5, ends[i].1, phone.address(), ends[1 - i].0);
        again.latched_rtp = phone.address();
        if i == 0 {
            (again.resume_ssrc, again.resume_sequence) = (7, 0);
        }
        control.put(ends[i].0, again);
    }
    for _ in 0..10 {
        a.send(ends[0].1);
        assert_eq!(b.receive(), (172, ends[1].1));
    }
    let figures =
        until("figures", || Some(control.figures(ends[0].0)).filter(|f| f.rx.packets == 10));
    assert_eq!((figures.rx.lost, figures.rx.ext_sequence), (0, 10));
}

#[test]
fn a_thousand_contexts_are_installed_again_in_a_second() {
    const TERMINATIONS: u32 = 2_000;
    // A loopback address of this test alone, so that every port is free.
    let [_, _, c, d] = std::process::id().to_be_bytes();
    let ip = format!("127.77.{c}.{d}");
    let range = ["--ports", "20000-29999"];
    let engine = Engine::start("auto", &ip, &range);
    let mut control = Control::attach(&engine.socket);
    let handle = |index| Handle { engine: 0, worker: 0, index, generation: 2 };
    let start = Instant::now();
    for index in 0..TERMINATIONS {
        let port = 20_000 + u16::try_from(index).unwrap() * 2;
        let local = SocketAddr::new(ip.parse().unwrap(), port).into();
        let remote = SocketAddr::from(([127, 0, 0, 1], 40_000)).into();
        let spec = spec(index.into(), local, remote, handle(index ^ 1));
        control.send(Command::Put { handle: handle(index), spec });
    }
    for _ in 0..TERMINATIONS {
        control.event("all are installed", |event| match event {
            Event::Installed { .. } => Some(()),
            Event::Refused { handle, refusal, .. } => panic!("{handle:?}: {refusal:?}"),
            _ => None,
        });
    }
    let took = start.elapsed();
    eprintln!("{TERMINATIONS} terminations after {} ms", took.as_millis());
    let limit = if cfg!(debug_assertions) { 5 } else { 1 };
    assert!(took < Duration::from_secs(limit), "{took:?}");
}

#[test]
fn a_lease_that_nobody_renews_ends() {
    let engine = Engine::start("auto", "127.0.0.1", &["--linger", "1"]);
    let mut control = Control::attach(&engine.socket);
    let phone = Phone::new("127.0.0.1");
    let (handle, local) = control.endpoint(false);
    let short = TerminationSpec { lease_ms: 300, ..spec(1, local, phone.address(), Handle::NONE) };
    control.put(handle, short);
    let cause = control.event("the lease ends", |event| match event {
        Event::Ended { cause, .. } => Some(*cause),
        _ => None,
    });
    assert_eq!(cause, EndCause::LeaseExpired);
    drop(control);
    let mut engine = engine;
    until("without control and calls it ends itself", || engine.child.try_wait().unwrap());
}

#[test]
fn what_is_wrong_is_said_with_its_remedy() {
    let engine = Engine::start("auto", "127.0.0.1", &[]);
    drop(greet(&engine.socket));
    let socket = engine.socket.to_str().unwrap();
    for (arguments, remedy) in [
        (vec!["--socket", socket], "another engine already listens"),
        (vec!["--socket", "/nonexistent/engine.sock"], "the folder must exist"),
        (vec!["--socket", "x", "--ports", "30000-30003"], "widen --ports"),
        (vec!["--socket", "x", "--address", "192.0.2.77"], "--address"),
    ] {
        let output = Process::new(env!("CARGO_BIN_EXE_tandem-engine"))
            .args(&arguments)
            .env_remove("TANDEM_ENGINE_LOG")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(remedy), "{arguments:?}: {text}");
    }
}
