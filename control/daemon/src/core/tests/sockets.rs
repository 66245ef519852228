//! The signalling thread over real sockets.

use crate::config::Config;
use crate::core::{CoreHandle, Start, start};
use crate::journal::Journal;
use crate::link::fake::FakeLink;
use crate::media::{MediaConfig, MediaPlane};
use crate::snapshot::{CallView, Shared};
use crate::store::sqlite::SqliteStore;
use crate::store::users::{User, UserList};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

pub(super) struct Running {
    pub(super) core: CoreHandle,
    pub(super) shared: Arc<Shared>,
    journal: Journal,
    _folder: tempfile::TempDir,
}

impl Running {
    /// The calls that exist, asked as the API does.
    pub(super) fn calls(&self) -> Vec<CallView> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.shared.calls()).unwrap()
    }
}

pub(super) fn running(listen: &str) -> Running {
    let config = Config::parse(&format!("[sip]\nlisten = [{listen}]\n")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("tandem.db")).unwrap());
    let (journal, recovered) = Journal::open(&folder.path().join("journal"), store).unwrap();
    let (shared, queries) = Shared::new();
    let core = start(Start {
        config,
        journal: journal.clone(),
        recovered,
        users: UserList::of(vec![
            User::with_password("alice", "tandem", "secret"),
            User::with_password("bob", "tandem", "secret"),
        ]),
        media: MediaPlane::new(MediaConfig::default(), Box::new(FakeLink::new())),
        shared: shared.clone(),
        queries,
    })
    .unwrap();
    Running { core, shared, journal, _folder: folder }
}

fn options(transport: &str, from: SocketAddr, branch: &str) -> String {
    format!(
        "OPTIONS sip:tandem SIP/2.0\r\nVia: SIP/2.0/{transport} {from};rport;branch=z9hG4bK{branch}\r\n\
         From: <sip:a@tandem>;tag=1\r\nTo: <sip:tandem>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

fn read_some(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut chunk = [0; 4096];
    while !text.contains("\r\n\r\n") {
        let len = stream.read(&mut chunk).unwrap();
        assert!(len > 0, "closed after {text:?}");
        text.push_str(core::str::from_utf8(&chunk[..len]).unwrap());
    }
    text
}

#[test]
fn what_the_sockets_count_is_published() {
    let running = running("\"127.0.0.1:0\"");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"\r\n\r\n", running.core.udp_addresses()[0]).unwrap();
    drop(TcpStream::connect(running.core.tcp_addresses()[0]).unwrap());
    let start = std::time::Instant::now();
    loop {
        let sip = running.shared.stats().sip.clone();
        if (sip.keepalives, sip.connections_closed.get("peer")) == (1, Some(&1)) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{sip:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn udp_answers_on_both_ip_versions() {
    let running = running("\"127.0.0.1:0\", \"[::1]:0\"");
    for server in running.core.udp_addresses() {
        let client = UdpSocket::bind((server.ip(), 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.send_to(b"\r\n\r\n", server).unwrap();
        let branch = format!("u{}", server.port());
        let text = options("UDP", client.local_addr().unwrap(), &branch);
        client.send_to(text.as_bytes(), server).unwrap();
        let mut buffer = [0; 4096];
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(from, *server);
        let answer = String::from_utf8_lossy(&buffer[..len]);
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    }
    running.journal.close();
}

#[test]
fn tcp_frames_pipelines_and_pings() {
    let running = running("\"127.0.0.1:0\"");
    let mut stream = TcpStream::connect(running.core.tcp_addresses()[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let from = stream.local_addr().unwrap();
    stream.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
    let both = options("TCP", from, "t1") + &options("TCP", from, "t2");
    let (first, rest) = both.as_bytes().split_at(100);
    stream.write_all(first).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    stream.write_all(rest).unwrap();
    let mut text = read_some(&mut stream);
    while text.matches("SIP/2.0 200").count() < 2 {
        text += &read_some(&mut stream);
    }
    assert!(text.contains("z9hG4bKt1") && text.contains("z9hG4bKt2"));
    // What cannot be framed ends the connection.
    stream.write_all(b"nonsense without end\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(running.shared.stats().sip.connections, 0);
}

#[tokio::test]
async fn questions_are_answered_at_once() {
    let running = running("\"127.0.0.1:0\"");
    let before = std::time::Instant::now();
    assert_eq!(running.shared.calls().await, Ok(Vec::new()));
    assert_eq!(running.shared.registrations().await, Ok(Vec::new()));
    assert!(before.elapsed() < Duration::from_millis(200));
    assert!(running.core.stop());
}

#[test]
fn a_busy_port_is_said_with_its_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config::parse(&format!(
        "[sip]\nlisten = [\"{}\"]\ntransports = [\"tcp\"]\n",
        taken.local_addr().unwrap()
    ))
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("tandem.db")).unwrap());
    let (journal, recovered) = Journal::open(&folder.path().join("journal"), store).unwrap();
    let (shared, queries) = Shared::new();
    let media = MediaPlane::new(MediaConfig::default(), Box::new(FakeLink::new()));
    let users = UserList::default();
    let error = start(Start { config, journal, recovered, users, media, shared, queries });
    let text = error.unwrap_err().to_string();
    assert!(text.contains("in use") && text.contains("Remedy"), "{text}");
}
