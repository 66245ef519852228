//! What the log says of calls, registrations and refused credentials: enough to find the party
//! and to keep it out, and no more than that.

use super::*;
use crate::link::LinkEvent;
use std::cell::RefCell;
use std::io;
use std::sync::Once;

thread_local! {
    /// What this thread logs, while a test wants to know.
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what each thread logs apart.
#[derive(Debug)]
struct ByThread;

impl io::Write for ByThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged meanwhile, by line.
fn logged(act: impl FnOnce()) -> Vec<String> {
    // One log for all threads: with one for this thread alone, whether a line is wanted would be
    // decided by the thread that comes by it first.
    static START: Once = Once::new();
    START.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(|| ByThread)
            .init();
        tracing::callsite::rebuild_interest_cache();
    });
    LINES.take();
    act();
    String::from_utf8(LINES.take()).unwrap().lines().map(String::from).collect()
}

fn line<'a>(lines: &'a [String], what: &str) -> &'a str {
    lines.iter().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {lines:#?}"))
}

#[test]
fn calls_and_registrations_name_their_parties_in_part() {
    let lines = logged(|| {
        let mut bench = Bench::new();
        let (alice, _) = bench.established();
        bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
    });
    let registered = line(&lines, " registered ");
    assert!(registered.contains("aor=sip:…@tandem contact=sip:…@192.0.x.x"), "{registered}");
    for what in ["call started", "call ended"] {
        let told = line(&lines, what);
        assert!(told.contains("from=sip:…ce@tandem to=sip:…@tandem"), "{told}");
    }
    let all = lines.concat();
    assert!(!all.contains("alice") && !all.contains("192.0.2.5"), "{all}");
}

#[test]
fn refused_credentials_name_their_source_in_full_and_the_user_in_part() {
    let lines = logged(|| {
        let mut bench = Bench::new();
        bench.phones[ALICE].user = "mallory";
        let request = bench.register_request(ALICE, "x", 1);
        bench.send(ALICE, request);
        let (_, _, challenge) = bench.phones[ALICE].response(401);
        let (name, value) = bench.credentials(ALICE, &challenge, "REGISTER", "sip:tandem");
        let request = bench.register_request(ALICE, "x", 2).header(name, value);
        bench.send(ALICE, request);
        bench.phones[ALICE].response(401);
    });
    let refused = line(&lines, "credentials refused");
    assert!(refused.trim_start().split(' ').any(|word| word == "WARN"), "{refused}");
    assert!(refused.contains("credentials refused source=192.0.2.51 reason="), "{refused}");
    assert!(refused.contains(" user=sip:…ry@tandem"), "{refused}");
    assert!(!lines.concat().contains("mallory"), "{lines:#?}");
}

#[test]
fn contacts_of_removed_users_are_told_once() {
    let lines = logged(|| {
        let mut bench = Bench::new();
        bench.register(BOB);
        bench.register(BOB2);
        bench.users.replace(Vec::new(), 1);
        bench.pump();
        bench.pump();
    });
    let told: Vec<_> = lines.iter().filter(|line| line.contains("users who are gone")).collect();
    assert_eq!(told.len(), 1, "{lines:#?}");
    assert!(told[0].contains("contacts=2"), "{told:?}");
}

#[test]
fn an_engine_that_ended_is_a_warning() {
    let lines = logged(|| {
        let mut bench = Bench::new();
        let reason = "the engine has ended (signal 9)".to_owned();
        bench.link.state().events.push_back(LinkEvent::Lost { reason });
        bench.pump();
    });
    let told = line(&lines, "signal 9");
    assert!(told.trim_start().split(' ').any(|word| word == "WARN"), "{told}");
}

#[test]
fn refused_calls_are_told_with_the_remedy_once_in_a_while() {
    let lines = logged(|| {
        let mut bench = Bench::with("[call]\nmax_calls = 1\n");
        let _ = bench.established();
        for pause_s in [0, 29, 2] {
            bench.advance(Duration::from_secs(pause_s));
            let request = bench.invite_request(ALICE, "bob");
            bench.send(ALICE, request);
            bench.phones[ALICE].response(503);
        }
    });
    let told: Vec<_> = lines.iter().filter(|line| line.contains("calls are refused")).collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].contains("call.max_calls") && told[1].contains("refused=3"), "{told:#?}");
}
