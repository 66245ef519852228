//! Who is not let in learns nothing, takes no room, and is banned when he goes on.

use super::*;
use crate::guard::Reason;
use tandem_signalling::stack::Transport;

/// A stranger's address; no phone is there.
const STRANGER: &str = "198.51.100.66:5060";

impl Bench {
    /// Sends octets from `from` and gives what is sent back there.
    fn raw(&mut self, transport: Transport, from: &str, text: &str) -> Vec<String> {
        self.switch.set_time(self.now, wall(self.now));
        let connection = u64::from(transport.is_reliable());
        let flow = Flow::new(transport, SERVER.parse().unwrap(), from.parse().unwrap(), connection);
        self.switch.handle_input(flow, text.as_bytes());
        let mut answers = Vec::new();
        while let Some((to, bytes)) = self.switch.poll_transmit() {
            if to.remote == flow.remote {
                answers.push(String::from_utf8(bytes.to_vec()).unwrap());
            }
        }
        answers
    }

    fn raw_udp(&mut self, text: &str) -> Vec<String> {
        self.raw(Transport::Udp, STRANGER, text)
    }
}

/// A request of the user `from` to `to`, with `more` rows; `n` makes it another one.
fn text(method: &str, from: &str, to: &str, n: u32, more: &str) -> String {
    format!(
        "{method} sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {STRANGER};branch=z9hG4bKx{n};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{from}@tandem>;tag=f{n}\r\nTo: <sip:{to}>\r\n\
         Call-ID: call-{n}\r\nCSeq: {n} {method}\r\nContact: <sip:{from}@{STRANGER}>\r\n{more}\
         Content-Length: 0\r\n\r\n"
    )
}

/// The nonce of a challenge.
fn nonce_of(answer: &str) -> String {
    let at = answer.find("nonce=\"").expect(answer) + 7;
    answer[at..].split('"').next().unwrap().to_owned()
}

/// An answer with what must differ from one answer to the next taken out: the nonce, the number of
/// the request, and the name that it was asked with.
fn masked(answer: &str, name: &str, n: u32) -> String {
    let mut text = answer.to_owned();
    if text.contains("nonce=") {
        text = text.replace(&nonce_of(answer), "NONCE");
    }
    let tag = text.lines().find(|line| line.starts_with("To:")).unwrap().to_owned();
    let own = tag.split(";tag=").nth(1).unwrap_or("").to_owned();
    text.replace(&own, "TAG")
        .replace(&format!("sip:{name}@"), "sip:NAME@")
        .replace(&format!("z9hG4bKx{n};"), "BRANCH;")
        .replace(&format!("tag=f{n}"), "FROM")
        .replace(&format!("call-{n}"), "CALL")
        .replace(&format!("CSeq: {n} "), "CSeq: N ")
}

/// Credentials as a phone of `user` makes them.
fn credentials(header: &str, challenge: &str, user: &str, password: &str, method: &str) -> String {
    let response = Message::parse(challenge.as_bytes()).unwrap();
    let (_, challenge) = best_challenge(&response).unwrap();
    let algorithm = challenge.algorithm;
    let ha1 = Ha1::compute(algorithm, user.as_bytes(), b"tandem", password.as_bytes());
    let mut session = ClientSession::new(challenge);
    format!("{header}: {}\r\n", session.authorization(user, &ha1, method, "sip:tandem", "c"))
}

#[test]
fn known_and_unknown_users_get_the_same_octets() {
    const BOTH: &str = "[registrar]\nalgorithms = [\"SHA-256\", \"MD5\"]\n";
    for config in ["", BOTH] {
        for method in ["REGISTER", "INVITE", "MESSAGE", "PUBLISH", "SUBSCRIBE"] {
            // A bench of its own: all of them together would be guesses enough for a ban.
            let mut bench = Bench::with(config);
            bench.register(BOB);
            let mut n = 0;
            for password in [None, Some("guess")] {
                // Registered, known and not registered, with an MD5 digest alone, unknown.
                let seen: Vec<_> = ["bob", "alice", "carol", "nobody"]
                    .map(|name| asked(&mut bench, &mut n, method, name, password))
                    .into();
                assert!(seen.iter().all(|it| *it == seen[0]), "{method}: {seen:#?}");
            }
        }
    }
}

/// What somebody without a password, or with a wrong one, gets to see.
fn asked(
    bench: &mut Bench,
    n: &mut u32,
    method: &str,
    name: &str,
    password: Option<&str>,
) -> String {
    *n += 1;
    let (header, to) = if method == "REGISTER" {
        ("Authorization", format!("{name}@tandem"))
    } else {
        ("Proxy-Authorization", "desk@tandem".into())
    };
    let mut answers = bench.raw_udp(&text(method, name, &to, *n, ""));
    let mut seen = masked(&answers[0], name, *n);
    if let Some(password) = password.filter(|_| answers[0].contains("nonce=")) {
        *n += 1;
        let row = credentials(header, &answers[0], name, password, method);
        answers = bench.raw_udp(&text(method, name, &to, *n, &row));
        seen += &masked(&answers[0], name, *n);
    }
    assert_eq!(answers.len(), 1);
    seen
}

#[test]
fn whom_is_called_is_not_told_to_who_is_not_let_in() {
    let mut bench = Bench::new();
    bench.register(BOB);
    let mut n = 0;
    for method in ["INVITE", "OPTIONS", "MESSAGE"] {
        let seen: Vec<_> = ["bob", "alice", "nobody"]
            .map(|name| {
                n += 1;
                let answers = bench.raw_udp(&text(method, "eve", &format!("{name}@tandem"), n, ""));
                masked(&answers[0], name, n)
            })
            .into();
        assert!(seen.iter().all(|it| *it == seen[0]), "{method}: {seen:#?}");
    }
    let mut open = Bench::with("[call]\nauthenticate = false\n");
    let statuses: Vec<_> = ["alice", "nobody"]
        .map(|name| {
            n += 1;
            let answers = open.raw_udp(&text("INVITE", "eve", &format!("{name}@tandem"), n, ""));
            answers.last().unwrap().lines().next().unwrap().to_owned()
        })
        .into();
    assert_eq!(statuses, ["SIP/2.0 480 Temporarily Unavailable"; 2]);
}

#[test]
fn credentials_cannot_be_used_again_on_any_transport() {
    let mut bench = Bench::new();
    let challenge = bench.raw_udp(&text("REGISTER", "bob", "bob@tandem", 1, "")).remove(0);
    let row = credentials("Authorization", &challenge, "bob", PASSWORD, "REGISTER");
    let good = bench.raw_udp(&text("REGISTER", "bob", "bob@tandem", 2, &row)).remove(0);
    assert!(good.starts_with("SIP/2.0 200 "), "{good}");
    let elsewhere = "203.0.113.9:7000";
    for (n, transport, from) in [
        (3, Transport::Udp, STRANGER),
        (4, Transport::Tcp, elsewhere),
        (5, Transport::Tls, elsewhere),
    ] {
        let again = text("REGISTER", "bob", "bob@tandem", n, &row);
        let answer = bench.raw(transport, from, &again).remove(0);
        assert!(answer.starts_with("SIP/2.0 401 ") && answer.contains("stale=true"), "{answer}");
    }
    assert_eq!(bench.switch.world.registrar.len(), 1);
    assert!(bench.switch.world.guard.bans(bench.now).is_empty(), "the password was right");
}

#[test]
fn requests_without_credentials_leave_nothing_behind() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.advance(Duration::from_secs(60));
    let before = bench.switch.world.stack.counters();
    for n in 1..=1_000 {
        let from = format!("10.{}.{}.7:5060", n / 250, n % 250);
        let method = ["INVITE", "REGISTER", "OPTIONS", "MESSAGE", "BYE"][n as usize % 5];
        let answers = bench.raw(Transport::Udp, &from, &text(method, "eve", "bob@tandem", n, ""));
        assert_eq!(answers.len(), 1, "{method}");
        let forged = text("INVITE", "eve", "bob@tandem", n, "")
            .replace("To: <sip:bob@tandem>", "To: <sip:bob@tandem>;tag=made-up");
        assert!(bench.raw(Transport::Udp, &from, &forged)[0].starts_with("SIP/2.0 481 "));
    }
    let after = bench.switch.world.stack.counters();
    assert_eq!(after.server_transactions, before.server_transactions);
    assert_eq!((after.timers, after.dialogs, bench.calls()), (before.timers, before.dialogs, 0));
}

#[test]
fn the_ack_of_a_challenge_is_no_stray_one() {
    let mut bench = Bench::new();
    let answer = bench.raw_udp(&text("INVITE", "eve", "bob@tandem", 1, "")).remove(0);
    let to = answer.lines().find(|line| line.starts_with("To:")).unwrap();
    let ack = text("ACK", "eve", "bob@tandem", 1, "").replace("To: <sip:bob@tandem>", to);
    assert!(bench.raw_udp(&ack).is_empty());
    let counters = bench.switch.world.stack.counters();
    assert_eq!((counters.stateless_acks, counters.stray_acks), (1, 0));
}

#[test]
fn who_guesses_passwords_is_banned_and_who_is_registered_there_is_not() {
    let mut bench = Bench::with("[guard]\nfailures = 5\n");
    let phone = "198.51.100.66:40000";
    let challenge =
        bench.raw(Transport::Udp, phone, &text("REGISTER", "bob", "bob@tandem", 1, "")).remove(0);
    let mut guesses = 0;
    for n in 10..200 {
        let Some(challenge) = bench.raw_udp(&text("REGISTER", "bob", "bob@tandem", n, "")).pop()
        else {
            break;
        };
        let row = credentials("Authorization", &challenge, "bob", "guess", "REGISTER");
        bench.raw_udp(&text("REGISTER", "bob", "bob@tandem", 1_000 + n, &row));
        guesses += 1;
    }
    assert_eq!(guesses, 6);
    let bans = bench.switch.world.guard.bans(bench.now);
    assert_eq!((bans[0].reason, bans[0].proven), (Reason::Passwords, true));
    // The ban is the address's, whatever the port, but for who is registered from there.
    let row = credentials("Authorization", &challenge, "bob", PASSWORD, "REGISTER");
    let refresh = text("REGISTER", "bob", "bob@tandem", 2, &row);
    assert!(bench.raw(Transport::Udp, phone, &refresh).is_empty());
    bench.advance(Duration::from_secs(61));
    let good = bench.raw(Transport::Udp, phone, &refresh).remove(0);
    assert!(good.starts_with("SIP/2.0 200 "), "{good}");
    let source = bans[0].source;
    for _ in 0..60 {
        let note = crate::guard::AuthNote::Wrong { answers_challenge: true };
        let crate::core::World { guard, registrar, now, wall, .. } = &mut bench.switch.world;
        let flow = Flow::udp(SERVER.parse().unwrap(), STRANGER.parse().unwrap());
        guard.note((*now, *wall), &flow, note, registrar);
    }
    assert_eq!(bench.switch.world.guard.bans(bench.now)[0].source, source);
    assert!(bench.raw_udp(&text("REGISTER", "bob", "bob@tandem", 500, "")).is_empty());
    assert_eq!(
        bench.raw(Transport::Udp, phone, &text("INVITE", "bob", "x@tandem", 3, "")).len(),
        1
    );
}

#[test]
fn a_nonce_that_was_sent_elsewhere_bans_nobody() {
    let mut bench = Bench::with("[guard]\nfailures = 5\n");
    let own = "203.0.113.9:7000";
    for n in 1..100 {
        let asked = text("REGISTER", "bob", "bob@tandem", n, "");
        let challenge = bench.raw(Transport::Udp, own, &asked).remove(0);
        let row = credentials("Authorization", &challenge, "bob", "guess", "REGISTER");
        // As if it came from the address of a customer.
        bench.raw_udp(&text("REGISTER", "bob", "bob@tandem", 1_000 + n, &row));
    }
    assert!(bench.switch.world.guard.bans(bench.now).is_empty());
    assert_eq!(bench.switch.stats(None).sip.auth_failures, 99);
}

#[test]
fn a_scanner_gets_no_answer() {
    let mut bench = Bench::new();
    let scan = text("OPTIONS", "100", "100@tandem", 1, "User-Agent: friendly-scanner\r\n");
    assert!(bench.raw_udp(&scan).is_empty());
    let stats = bench.switch.stats(None).guard;
    assert_eq!((stats.bans, stats.dropped["scanner"]), (1, 1));
    // The address was not proved: whoever knows a password there comes in.
    let challenge = bench.raw_udp(&text("REGISTER", "bob", "bob@tandem", 2, "")).remove(0);
    let row = credentials("Authorization", &challenge, "bob", PASSWORD, "REGISTER");
    let good = bench.raw_udp(&text("REGISTER", "bob", "bob@tandem", 3, &row)).remove(0);
    assert!(good.starts_with("SIP/2.0 200 "), "{good}");
}

#[test]
fn a_call_goes_on_under_overload_and_a_new_one_is_refused() {
    let mut bench = Bench::new();
    let (alice, _) = bench.established();
    bench.register(BOB);
    for ms in 0..100 {
        let at = bench.now + Duration::from_millis(ms * 60);
        bench.switch.admission().note_delay(at, Duration::from_secs(1));
    }
    let answer = bench.raw_udp(&text("INVITE", "eve", "bob@tandem", 1, "")).remove(0);
    assert!(answer.starts_with("SIP/2.0 503 ") && answer.contains("Retry-After"), "{answer}");
    bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
    bench.phones[ALICE].response(200);
    assert_eq!(bench.switch.stats(None).guard.refused["overload"], 1);
}
