//! The API over a real socket.

use super::*;
use crate::record::{CallRecord, Cause, ReleasedBy};
use crate::snapshot::{ControlEvent, EVENT_BACKLOG, Query};
use crate::store::Batch;
use crate::store::sqlite::SqliteStore;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

fn record(n: u16) -> CallRecord {
    let started = jiff::Timestamp::from_second(1_700_000_000 + i64::from(n)).unwrap();
    CallRecord {
        id: format!("call-{n}"),
        from: format!("sip:caller{}@tandem", n % 2),
        to: "sip:bob@tandem".into(),
        started_at: started,
        ringing_at: None,
        answered_at: None,
        ended_at: started,
        setup_ms: None,
        ring_ms: None,
        duration_ms: None,
        cause: Cause { sip_status: 486 + n % 2, text: "busy".into(), by: ReleasedBy::Callee },
        recovered: false,
        referred_by: None,
        legs: Vec::new(),
    }
}

fn run(records: u16) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("t.db")).unwrap());
    let batch = Batch { records: (0..records).map(record).collect(), ..Batch::default() };
    store.apply(&batch).unwrap();
    let (journal, _) = Journal::open(&folder.path().join("journal"), store.clone()).unwrap();
    let (shared, mut queries) = Shared::new();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async move {
        let policy = crate::guard::Policy::new(&crate::config::Config::default());
        let mut guard = crate::guard::Guard::new(policy, 1);
        let at = (tandem_wire::time::Instant::from_millis(1), jiff::Timestamp::UNIX_EPOCH);
        while let Some(query) = queries.recv().await {
            match query {
                Query::Calls(reply) => drop(reply.send(Vec::new())),
                Query::Call(_, reply) => drop(reply.send(None)),
                Query::Bans(reply) => {
                    drop(reply.send(guard.bans(at.0)));
                }
                Query::Ban { source, length, reply } => {
                    drop(reply.send(guard.ban_by_hand(at, source, length)));
                }
                Query::Forgive(source, reply) => drop(reply.send(guard.forgive(at.0, source))),
                Query::Registrations(reply) => drop(reply.send(Vec::new())),
                Query::Trunks(reply) => drop(reply.send(Vec::new())),
                Query::Route { reply, .. } => drop(reply),
            }
        }
    });
    let listener = runtime.block_on(bind("127.0.0.1:0".parse().unwrap())).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(serve(listener, Sources::new(shared.clone(), store, journal, false)));
    Running { address, shared, _runtime: runtime, _folder: folder }
}

fn ask(running: &Running, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(running.address).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

fn json_of(running: &Running, path: &str) -> serde_json::Value {
    let (status, _, body) = ask(running, &format!("GET {path}"));
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn records_come_page_by_page_and_filtered() {
    let running = run(5);
    let first = json_of(&running, "/v1/records?limit=2");
    assert_eq!(first["records"][0]["id"], "call-4");
    assert_eq!(first["records"][1]["id"], "call-3");
    let next = first["next"].as_str().unwrap();
    let second = json_of(&running, &format!("/v1/records?limit=2&before={next}"));
    assert_eq!(second["records"][0]["id"], "call-2");
    let next = second["next"].as_str().unwrap();
    let last = json_of(&running, &format!("/v1/records?limit=2&before={next}"));
    assert_eq!(last["records"].as_array().unwrap().len(), 1);
    assert!(last["next"].is_null());
    let party = json_of(&running, "/v1/records?party=caller1");
    assert_eq!(party["records"].as_array().unwrap().len(), 2);
    let whole = json_of(&running, "/v1/records?party=caller1%40elsewhere");
    assert_eq!(whole["records"].as_array().unwrap().len(), 0);
    let status = json_of(&running, "/v1/records?status=487");
    assert_eq!(status["records"].as_array().unwrap().len(), 2);
    let since = json_of(&running, "/v1/records?since=2023-11-14T22:13:23Z");
    assert_eq!(since["records"].as_array().unwrap().len(), 2);
    assert_eq!(json_of(&running, "/v1/records/call-1")["id"], "call-1");
}

#[test]
fn errors_are_problem_documents() {
    let running = run(0);
    for (request, expected) in [
        ("GET /v2/calls", 404),
        ("GET /v1/calls/none", 404),
        ("GET /v1/records/none", 404),
        ("POST /v1/calls", 405),
        ("GET /v1/records?limit=0", 400),
        ("GET /v1/records?limit=x", 400),
        ("GET /v1/records?colour=red", 400),
        ("GET /v1/records?before=x", 400),
        ("GET /v1/records?since=yesterday", 400),
        ("GET /v1/events?types=nothing", 400),
    ] {
        let (status, head, body) = ask(&running, request);
        assert_eq!(status, expected, "{request}: {body}");
        assert!(head.contains("application/problem+json"), "{request}: {head}");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["status"], expected, "{request}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
}

#[test]
fn health_says_what_is_wrong() {
    let running = run(0);
    let (status, _, body) = ask(&running, "GET /healthz");
    assert_eq!(status, 503);
    assert!(body.contains("no media engine"));
    let mut stats = crate::snapshot::Stats::default();
    stats.engine.attached = true;
    running.shared.publish(stats);
    assert_eq!(json_of(&running, "/healthz")["status"], "ok");
    assert_eq!(json_of(&running, "/v1/engine")["attached"], true);
    let (_, head, body) = ask(&running, "GET /metrics");
    assert!(head.contains("openmetrics"));
    assert!(body.contains("tandem_engine_attached 1"));
}

#[test]
fn foreign_host_names_are_refused() {
    for (host, local) in [
        ("localhost:8080", true),
        ("127.0.0.1", true),
        ("127.0.0.1:8080", true),
        ("[::1]:8080", true),
        ("[::1]", true),
        ("evil.example", false),
        ("evil.example:8080", false),
        ("127.0.0.1.evil.example", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        assert_eq!(host_is_local(&headers), local, "{host}");
    }
}

#[test]
fn events_arrive_with_ids_and_a_slow_reader_is_told() {
    let running = run(0);
    let mut stream = TcpStream::connect(running.address).unwrap();
    write!(stream, "GET /v1/events?types=call_ringing HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert!(head[0].contains("200"), "{head:?}");
    let ringing = || ControlEvent::CallRinging { call: "c".into() };
    running.shared.tell(|| ControlEvent::Engine { attached: true, text: String::new() });
    running.shared.tell(ringing);
    let mut field = |name: &str| {
        lines.by_ref().find_map(|line| line.strip_prefix(name).map(str::to_owned)).unwrap()
    };
    assert_eq!(field("id: "), "2");
    assert_eq!(field("event: "), "call_ringing");
    assert!(field("data: ").contains("\"call\":\"c\""));

    let mut slow = running.shared.listen();
    for _ in 0..EVENT_BACKLOG + 10 {
        running.shared.tell(ringing);
    }
    assert!(slow.try_recv().is_err(), "a listener beyond the backlog has lost events");
}

#[tokio::test]
async fn a_busy_address_is_named_with_its_remedy() {
    let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = bind(first.local_addr().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("http.listen"), "{error}");
}

/// Sends a body with a method and gives status and body of the answer.
fn send(running: &Running, request: &str, body: &str, kind: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(running.address).unwrap();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn bans_are_listed_added_and_removed() {
    let running = run(0);
    let post = |body: &str| send(&running, "POST /v1/bans", body, "application/json");
    let (status, body) = post("{\"source\": \"2001:db8::7\", \"seconds\": 30}");
    assert_eq!(status, 201, "{body}");
    let ban = &json_of(&running, "/v1/bans")["bans"][0];
    assert_eq!((&ban["source"], &ban["reason"]), (&"2001:db8::/64".into(), &"operator".into()));
    assert_eq!(ban["until"], "1970-01-01T00:00:30Z");
    let delete = |address: &str| send(&running, &format!("DELETE /v1/bans/{address}"), "", "x/y");
    assert_eq!(delete("2001:db8::1").0, 204);
    let (status, body) = delete("2001:db8::1");
    assert!(status == 404 && body.contains("is not banned"), "{status} {body}");
    assert_eq!(json_of(&running, "/v1/bans")["bans"].as_array().unwrap().len(), 0);
    assert_eq!(delete("nobody").0, 400);
    let (status, body) = post("{\"source\": \"127.0.0.1\"}");
    assert!(status == 409 && body.contains("guard.trusted"), "{status} {body}");
    for wrong in ["{}", "{\"source\": \"10.0.0.0/8\"}", "{\"source\": 7}", ""] {
        let (status, body) = post(wrong);
        assert!((400..500).contains(&status) && body.contains("\"detail\""), "{wrong}: {body}");
    }
    // What a form of another site could send.
    let form = send(&running, "POST /v1/bans", "{\"source\": \"192.0.2.1\"}", "text/plain");
    assert_eq!(form.0, 415);
}
