//! The guard on a virtual clock.

use super::*;
use crate::config::Config;
use std::net::SocketAddr;

/// Contacts are registered from these.
#[derive(Default)]
struct Registered(Vec<SocketAddr>);

impl Sites for Registered {
    fn has_flow(&self, flow: &Flow) -> bool {
        self.0.contains(&flow.remote)
    }

    fn has_source(&self, source: Source) -> bool {
        self.0.iter().any(|at| Source::of(at.ip()) == source)
    }
}

const NOBODY: Registered = Registered(Vec::new());
const CUSTOMER: &str = "203.0.113.5:5060";

fn guard(config: &str) -> Guard {
    Guard::new(Policy::new(&Config::parse(config).unwrap()), 7)
}

fn at(ms: u64) -> (Instant, Timestamp) {
    let wall = Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap();
    (Instant::from_millis(1_000_000 + ms), wall)
}

fn udp(from: &str) -> Flow {
    Flow::udp("192.0.2.1:5060".parse().unwrap(), from.parse().unwrap())
}

fn tcp(from: &str) -> Flow {
    Flow::tcp("192.0.2.1:5060".parse().unwrap(), from.parse().unwrap(), 3)
}

fn message(method: &str, more: &str) -> Vec<u8> {
    format!(
        "{method} sip:bob@tandem SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1;rport\r\n\
         From: <sip:a@tandem>;tag=1\r\nTo: <sip:bob@tandem>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\
         {more}\r\n"
    )
    .into_bytes()
}

const WRONG: AuthNote = AuthNote::Wrong { answers_challenge: true };

fn dropped(guard: &mut Guard, ms: u64, flow: &Flow, method: &str, sites: &Registered) -> bool {
    guard.check(at(ms), flow, &message(method, ""), sites) == Verdict::Drop
}

#[test]
fn guessing_passwords_bans_the_source_and_not_who_is_registered_there() {
    let mut guard = guard("");
    let guesser = udp(CUSTOMER);
    for _ in 0..20 {
        guard.note(at(0), &guesser, WRONG, &NOBODY);
        assert!(!dropped(&mut guard, 0, &guesser, "REGISTER", &NOBODY));
    }
    guard.note(at(0), &guesser, WRONG, &NOBODY);
    assert!(dropped(&mut guard, 1, &guesser, "REGISTER", &NOBODY));
    assert!(dropped(&mut guard, 1, &tcp("203.0.113.5:1"), "OPTIONS", &NOBODY), "any transport");
    assert!(!dropped(&mut guard, 1, &udp("203.0.113.6:5060"), "REGISTER", &NOBODY));
    let phone = Registered(vec!["203.0.113.5:40000".parse().unwrap()]);
    assert!(!dropped(&mut guard, 1, &udp("203.0.113.5:40000"), "INVITE", &phone));
    assert!(!dropped(&mut guard, 60_001, &guesser, "REGISTER", &NOBODY), "a minute later");
    let stats = guard.stats(at(1).0);
    assert_eq!((stats.bans, stats.banned["passwords"], stats.dropped["banned"]), (1, 1, 2));
}

#[test]
fn forged_datagrams_shut_nobody_out() {
    let mut guard = guard("");
    let forged = udp(CUSTOMER);
    for ms in 0..1_000 {
        guard.note(at(ms), &forged, AuthNote::Wrong { answers_challenge: false }, &NOBODY);
        guard.note(at(ms), &forged, AuthNote::Challenged { known: false }, &NOBODY);
        guard.check(at(ms), &forged, &message("OPTIONS", "User-Agent: sipvicious\r\n"), &NOBODY);
    }
    let bans = guard.bans(at(1_000).0);
    assert_eq!((bans.len(), bans[0].proven), (1, false));
    for method in ["REGISTER", "INVITE"] {
        assert!(!dropped(&mut guard, 1_001, &forged, method, &NOBODY), "{method} is challenged");
    }
    assert!(dropped(&mut guard, 1_001, &forged, "OPTIONS", &NOBODY));
    assert!(!dropped(&mut guard, 1_001, &forged, "BYE", &NOBODY), "its calls go on");
    let proof = message("MESSAGE", "Proxy-Authorization: Digest\r\n");
    assert_eq!(guard.check(at(1_001), &forged, &proof, &NOBODY), Verdict::Pass);
    assert!(bans[0].until.duration_since(bans[0].since).as_secs() == 60 && bans[0].count == 0);
}

#[test]
fn scanners_get_no_answer_and_over_a_connection_a_real_ban() {
    let mut guard = guard("");
    let scan = message("REGISTER", "User-Agent: friendly-scanner\r\n");
    assert_eq!(guard.check(at(0), &tcp("198.51.100.9:1"), &scan, &NOBODY), Verdict::Drop);
    let ban = &guard.bans(at(0).0)[0];
    assert_eq!((ban.reason, ban.proven, ban.count), (Reason::Scanner, true, 1));
    assert!(dropped(&mut guard, 1, &udp("198.51.100.9:2"), "INVITE", &NOBODY));
    assert_eq!(guard.stats(at(0).0).dropped["scanner"], 1);
}

#[test]
fn many_phones_behind_one_address_may_owe_more() {
    let mut guard = guard("");
    let office = Registered(vec![CUSTOMER.parse().unwrap()]);
    let phone = udp("203.0.113.5:40001");
    for _ in 0..200 {
        guard.note(at(0), &phone, WRONG, &office);
    }
    assert!(guard.bans(at(0).0).is_empty());
    guard.note(at(0), &phone, WRONG, &office);
    assert_eq!(guard.bans(at(0).0).len(), 1);
}

#[test]
fn the_trusted_are_never_banned_nor_limited() {
    let mut guard = guard("[guard]\ntrusted = [\"203.0.113.0/24\"]\nsource_burst = 1\n");
    let peer = tcp(CUSTOMER);
    for _ in 0..100 {
        guard.note(at(0), &peer, WRONG, &NOBODY);
        guard.note(at(0), &peer, AuthNote::Challenged { known: false }, &NOBODY);
        assert!(!dropped(&mut guard, 0, &peer, "INVITE", &NOBODY));
    }
    let scan = message("OPTIONS", "User-Agent: sipcli\r\n");
    assert_eq!(guard.check(at(0), &peer, &scan, &NOBODY), Verdict::Pass, "its own tests");
    let source = Source::of(peer.remote.ip());
    let refused = guard.ban_by_hand(at(0), source, None);
    assert_eq!(refused, Err(BanError::Trusted(source)));
    assert!(guard.bans(at(0).0).is_empty());
}

#[test]
fn a_source_over_its_rate_is_refused_then_ignored_and_others_are_not() {
    let mut guard = guard("[guard]\nsource_rate = 10\nsource_burst = 50\n");
    let flood = udp("198.51.100.9:5060");
    let mut verdicts = [0; 3];
    for _ in 0..5_000 {
        let verdict = guard.check(at(0), &flood, &message("INVITE", ""), &NOBODY);
        let index = match verdict {
            Verdict::Pass => 0,
            Verdict::Answer(..) => 1,
            Verdict::Drop => 2,
        };
        verdicts[index] += 1;
    }
    assert_eq!(verdicts, [50, 1_000, 3_950]);
    assert!(!dropped(&mut guard, 0, &udp(CUSTOMER), "INVITE", &NOBODY));
    let phone = Registered(vec![flood.remote]);
    assert_eq!(guard.check(at(0), &flood, &message("INVITE", ""), &phone), Verdict::Pass);
    let help = String::from_utf8(message("INVITE", "")).unwrap().replace("sip:bob@", "sip:112@");
    assert_eq!(guard.check(at(0), &flood, help.as_bytes(), &NOBODY), Verdict::Pass);
    assert_eq!(guard.stats(at(0).0).dropped["source_rate"], 3_950);
}

#[test]
fn under_overload_what_is_under_way_passes_and_the_rest_is_told_when_to_return() {
    let mut guard = guard("[guard]\nretry_after_s = 4\n");
    for ms in 0..100 {
        guard.admission().note_delay(at(ms * 60).0, Duration::from_secs(1));
    }
    let flow = udp(CUSTOMER);
    for method in ["BYE", "ACK", "CANCEL", "PRACK"] {
        assert_eq!(guard.check(at(0), &flow, &message(method, ""), &NOBODY), Verdict::Pass);
    }
    let within = String::from_utf8(message("INVITE", ""))
        .unwrap()
        .replace("tandem>\r\nC", "tandem>;tag=x\r\nC");
    assert_eq!(guard.check(at(0), &flow, within.as_bytes(), &NOBODY), Verdict::Pass);
    let help = String::from_utf8(message("INVITE", "")).unwrap().replace("sip:bob@", "sip:911@");
    assert_eq!(guard.check(at(0), &flow, help.as_bytes(), &NOBODY), Verdict::Pass);
    let Verdict::Answer(to, answer) = guard.check(at(0), &flow, &message("INVITE", ""), &NOBODY)
    else {
        panic!("let in")
    };
    assert_eq!(to, flow);
    let answer = String::from_utf8(answer.to_vec()).unwrap();
    assert!(answer.starts_with("SIP/2.0 503 ") && answer.contains("\r\nRetry-After: "), "{answer}");
    let to_row = answer.lines().find(|line| line.starts_with("To:")).unwrap();
    let ack = format!("ACK sip:bob@tandem SIP/2.0\r\n{to_row}\r\n\r\n");
    assert_eq!(guard.check(at(0), &flow, ack.as_bytes(), &NOBODY), Verdict::Drop);
    let stats = guard.stats(at(0).0);
    assert_eq!((stats.refused["overload"], stats.dropped["refused_ack"]), (1, 1));
    assert!(stats.share_milli < 10, "{stats:?}");
}

#[test]
fn the_operator_bans_forgives_and_changes_his_mind() {
    let mut guard = guard("");
    let source = Source::of("203.0.113.5".parse().unwrap());
    let phone = Registered(vec![CUSTOMER.parse().unwrap()]);
    guard.ban_by_hand(at(0), source, Some(Duration::from_secs(10))).unwrap();
    assert!(dropped(&mut guard, 1, &udp(CUSTOMER), "INVITE", &phone), "his ban is for all");
    guard.forgive(at(1).0, source).unwrap();
    assert_eq!(guard.forgive(at(1).0, source), Err(BanError::NotBanned(source)));
    assert!(!dropped(&mut guard, 1, &udp(CUSTOMER), "INVITE", &phone));
    guard.ban_by_hand(at(2), source, None).unwrap();
    let trusting = Config::parse("[guard]\ntrusted = [\"203.0.113.5\"]\n").unwrap();
    guard.set_policy(at(3).0, Policy::new(&trusting));
    assert!(guard.bans(at(3).0).is_empty());
}
