//! The locator against answers that the tests make up.

use super::fake::FakeDns;
use super::*;
use tandem_signalling::locate::{Family, Kind, Records};

fn locator(dns: &FakeDns) -> Locator {
    with(dns, LocatorConfig::default())
}

fn with(dns: &FakeDns, config: LocatorConfig) -> Locator {
    let support =
        Support { transports: vec![Transport::Udp, Transport::Tcp], families: vec![Family::V4] };
    Locator::new(config, support, Box::new(dns.clone()), 1)
}

fn at(seconds: u64) -> Instant {
    Instant::from_millis(1_000_000 + seconds * 1_000)
}

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text).unwrap()
}

fn pending(located: Located) -> Ticket {
    match located {
        Located::Pending(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn text(hops: &[Hop]) -> Vec<String> {
    hops.iter().map(ToString::to_string).collect()
}

/// Two servers of one domain, the first one preferred.
fn two_servers() -> FakeDns {
    let dns = FakeDns::new();
    dns.srv("_sip._udp.example.com", &[("a.example.com", 5060), ("b.example.com", 5070)]);
    dns.host("a.example.com", "192.0.2.1");
    dns.host("b.example.com", "192.0.2.2");
    dns
}

#[test]
fn addresses_are_found_without_dns() {
    let dns = FakeDns::new();
    let located = locator(&dns).locate(at(0), &uri("sip:a@192.0.2.9:5080;transport=tcp"));
    let Located::Ready(hops) = located else { panic!("{located:?}") };
    assert_eq!((text(&hops), dns.asked()), (vec!["TCP 192.0.2.9:5080".to_owned()], 0));
    let located = locator(&dns).locate(at(0), &uri("sip:a@192.0.2.9;transport=sctp"));
    assert_eq!(located, Located::Failed(LocateError::Transport));
}

#[test]
fn names_are_pending_once_and_then_come_from_the_cache() {
    let dns = two_servers();
    let mut locator = locator(&dns);
    let ticket = pending(locator.locate(at(0), &uri("sip:a@example.com")));
    let (done, hops) = locator.poll(at(0)).unwrap();
    assert_eq!(done, ticket);
    let both = ["UDP 192.0.2.1:5060", "UDP 192.0.2.2:5070"];
    assert_eq!(text(&hops.unwrap()), both);
    assert_eq!((locator.poll(at(0)), locator.next_timeout()), (None, None));
    let asked = dns.asked();
    let Located::Ready(hops) = locator.locate(at(59), &uri("sip:b@example.com")) else { panic!() };
    assert_eq!((text(&hops), dns.asked()), (both.map(str::to_owned).to_vec(), asked));
    // The answers have run out: they are asked for again.
    pending(locator.locate(at(61), &uri("sip:b@example.com")));
    assert!(dns.asked() > asked);
}

#[test]
fn what_is_not_there_is_remembered_too() {
    let dns = FakeDns::new();
    let mut locator = locator(&dns);
    pending(locator.locate(at(0), &uri("sip:a@nowhere.example")));
    assert_eq!(locator.poll(at(0)).unwrap().1, Err(LocateError::NotFound));
    let asked = dns.asked();
    let again = locator.locate(at(1), &uri("sip:a@nowhere.example"));
    assert_eq!((again, dns.asked()), (Located::Failed(LocateError::NotFound), asked));
}

#[test]
fn a_silent_server_ends_one_search_and_delays_no_other() {
    let dns = two_servers();
    dns.silence("silent.example");
    let mut locator = locator(&dns);
    let silent = pending(locator.locate(at(0), &uri("sip:a@silent.example")));
    let other = pending(locator.locate(at(0), &uri("sip:a@example.com")));
    assert_eq!(locator.poll(at(0)).unwrap().0, other);
    assert_eq!(locator.poll(at(0)), None);
    assert_eq!(locator.next_timeout(), Some(at(15)));
    locator.handle_timeout(at(15));
    assert_eq!(locator.poll(at(15)), Some((silent, Err(LocateError::DnsTimeout))));
    assert_eq!((locator.next_timeout(), locator.sizes().0), (None, 0));
}

#[test]
fn equal_questions_are_asked_once() {
    let dns = two_servers();
    let mut locator = locator(&dns);
    let first = pending(locator.locate(at(0), &uri("sip:a@example.com")));
    let second = pending(locator.locate(at(0), &uri("sip:b@example.com")));
    assert_eq!(dns.asked(), 1);
    let done = [locator.poll(at(0)).unwrap(), locator.poll(at(0)).unwrap()];
    assert_eq!(
        done.map(|(ticket, outcome)| (ticket, outcome.is_ok())),
        [(first, true), (second, true)]
    );
    assert_eq!(locator.sizes().0, 0);
}

#[test]
fn who_comes_later_to_the_same_silent_question_waits_its_own_time() {
    let dns = two_servers();
    dns.silence("example.com");
    let mut locator = locator(&dns);
    let first = pending(locator.locate(at(0), &uri("sip:a@example.com")));
    let second = pending(locator.locate(at(10), &uri("sip:b@example.com")));
    assert_eq!(dns.asked(), 1);
    locator.handle_timeout(at(15));
    assert_eq!(locator.poll(at(15)), Some((first, Err(LocateError::DnsTimeout))));
    // The question got lost; the next one asks anew.
    let third = pending(locator.locate(at(16), &uri("sip:c@example.com")));
    assert_eq!(dns.asked(), 2);
    locator.handle_timeout(at(40));
    let ended = [locator.poll(at(40)).unwrap().0, locator.poll(at(40)).unwrap().0];
    assert_eq!((ended, locator.sizes().0), ([second, third], 0));
}

#[test]
fn look_ups_at_the_same_time_are_bounded() {
    let dns = FakeDns::new();
    dns.silence("example");
    let config = LocatorConfig { max_lookups: 3, ..LocatorConfig::default() };
    let mut locator = with(&dns, config);
    for n in 0..3 {
        pending(locator.locate(at(0), &uri(&format!("sip:{n}.example"))));
    }
    let refused = locator.locate(at(0), &uri("sip:9.example"));
    assert_eq!(refused, Located::Failed(LocateError::Busy));
    assert_eq!((locator.counters().refused, dns.asked()), (1, 3));
    // An address needs none.
    assert!(matches!(locator.locate(at(0), &uri("sip:192.0.2.1")), Located::Ready(_)));
    locator.handle_timeout(at(20));
    pending(locator.locate(at(20), &uri("sip:9.example")));
}

#[test]
fn a_cancelled_search_tells_nothing() {
    let dns = two_servers();
    let mut locator = locator(&dns);
    let ticket = pending(locator.locate(at(0), &uri("sip:a@example.com")));
    locator.cancel(ticket);
    assert_eq!((locator.poll(at(0)), locator.next_timeout()), (None, None));
}

#[test]
fn who_failed_is_tried_last() {
    let dns = two_servers();
    let mut locator = locator(&dns);
    pending(locator.locate(at(0), &uri("sip:a@example.com")));
    let hops = locator.poll(at(0)).unwrap().1.unwrap();
    locator.note_failure(at(1), &hops[0]);
    let Located::Ready(now) = locator.locate(at(2), &uri("sip:a@example.com")) else { panic!() };
    assert_eq!(now, [hops[1].clone(), hops[0].clone()]);
    assert_eq!(locator.penalties(at(2)).len(), 1);
    assert_eq!(locator.counters().hop_failures, 1);
    let Located::Ready(later) = locator.locate(at(32), &uri("sip:a@example.com")) else { panic!() };
    assert_eq!(later, hops);
    // Other times count from the next failure on.
    let penalty = Duration::from_secs(5);
    locator.reconfigure(LocatorConfig { penalty, ..LocatorConfig::default() });
    locator.note_failure(at(33), &hops[1]);
    assert_eq!(locator.penalties(at(34))[0].2.until, at(38));
    locator.note_success(&hops[1]);
    locator.note_failure(at(33), &hops[0]);
    locator.note_success(&hops[0]);
    let Located::Ready(now) = locator.locate(at(34), &uri("sip:a@example.com")) else { panic!() };
    assert_eq!(now, hops);
}

#[test]
fn old_answers_serve_while_dns_is_away() {
    let dns = two_servers();
    let mut locator = locator(&dns);
    pending(locator.locate(at(0), &uri("sip:a@a.example.com:5060")));
    assert!(locator.poll(at(0)).unwrap().1.is_ok());
    dns.put("a.example.com", Kind::A, Err(NoAnswer::TimedOut));
    pending(locator.locate(at(100), &uri("sip:a@a.example.com:5060")));
    assert_eq!(text(&locator.poll(at(100)).unwrap().1.unwrap()), ["UDP 192.0.2.1:5060"]);
    assert_eq!(locator.counters().timed_out, 1);
}

#[test]
fn ttl_is_honoured_up_to_the_limit() {
    let dns = FakeDns::new();
    dns.state().ttl = Duration::from_secs(1_000_000);
    dns.put("a.example", Kind::A, Ok(Records::Addresses(vec!["192.0.2.1".parse().unwrap()])));
    let config = LocatorConfig { max_ttl: Duration::from_secs(100), ..LocatorConfig::default() };
    let mut locator = with(&dns, config);
    pending(locator.locate(at(0), &uri("sip:a.example:5060")));
    assert!(locator.poll(at(0)).is_some());
    assert!(matches!(locator.locate(at(99), &uri("sip:a.example:5060")), Located::Ready(_)));
    pending(locator.locate(at(101), &uri("sip:a.example:5060")));
}
