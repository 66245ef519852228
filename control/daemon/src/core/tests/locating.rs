//! Calls to other domains: their servers are found by DNS, and tried one after another.

use super::*;

const FOREIGN: &str = "[call]\nforeign_domains = true\n";

/// A server of another domain, at `.5{host}`.
fn server(bench: &mut Bench, host: u8) -> usize {
    let addr: SocketAddr = format!("192.0.2.5{host}:5060").parse().unwrap();
    bench.phones.push(Phone {
        user: "server",
        addr,
        own: addr,
        stack: Stack::new(StackConfig::default(), host.into()),
        events: Vec::new(),
        session: None,
        connection: 0,
        dark: false,
    });
    bench.phones.len() - 1
}

/// Two servers of example.com, the first one preferred.
fn two_servers(config: &str) -> (Bench, usize, usize) {
    let mut bench = Bench::with(config);
    bench.dns.srv("_sip._udp.example.com", &[("a.example.com", 5060), ("b.example.com", 5060)]);
    bench.dns.host("a.example.com", "192.0.2.57");
    bench.dns.host("b.example.com", "192.0.2.58");
    let (first, second) = (server(&mut bench, 7), server(&mut bench, 8));
    (bench, first, second)
}

/// Alice calls a URI.
fn call(bench: &mut Bench, uri: &str) -> ClientTx {
    bench.invite_uri(ALICE, uri, |request| request.body("application/sdp", sdp(4000)))
}

fn answer(bench: &mut Bench, who: usize) -> Message {
    let (tx, _, invite) = bench.phones[who].request(Method::Invite);
    bench.respond(who, tx, Reply::new(200).body("application/sdp", sdp(5000)));
    let (_, alice, _) = bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice.unwrap(), Fields::new());
    invite
}

#[test]
fn other_domains_are_refused_unless_allowed() {
    let mut bench = Bench::new();
    let flow = bench.phones[ALICE].flow();
    let foreign = NewRequest::new(Method::Invite, "sip:bob@example.com").from("<sip:alice@tandem>");
    bench.phones[ALICE].stack.request(bench.now, flow, foreign).unwrap();
    bench.pump();
    let (_, _, refusal) = bench.phones[ALICE].response(404);
    let warning = refusal.value(Header::Warning).unwrap();
    assert!(String::from_utf8_lossy(warning).contains("call.foreign_domains"));
    assert_eq!(bench.dns.asked(), 0);
}

#[test]
fn a_call_to_another_domain_goes_to_its_server() {
    let (mut bench, first, second) = two_servers(FOREIGN);
    call(&mut bench, "sip:bob@example.com");
    let invite = answer(&mut bench, first);
    assert_eq!(invite.request_uri(), Some("sip:bob@example.com"));
    assert_eq!(invite.from().unwrap().uri().as_str(), "sip:alice@tandem");
    assert!(bench.phones[second].has_nothing());
    // The BYE of the caller goes the same way.
    bench.phones[first].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    assert_eq!(bench.switch.stats(None).calls_answered, 1);
}

#[test]
fn a_caller_must_prove_who_it_is() {
    let (mut bench, first, _) = two_servers(FOREIGN);
    let flow = bench.phones[ALICE].flow();
    let foreign = NewRequest::new(Method::Invite, "sip:bob@example.com").from("<sip:alice@tandem>");
    bench.phones[ALICE].stack.request(bench.now, flow, foreign).unwrap();
    bench.pump();
    bench.phones[ALICE].response(407);
    assert!(bench.phones[first].has_nothing());
}

#[test]
fn a_server_that_cannot_be_reached_is_passed_over() {
    let (mut bench, first, second) = two_servers(FOREIGN);
    // Nobody is at its address: the transport reports an error.
    bench.phones[first].addr = "192.0.2.99:5060".parse().unwrap();
    call(&mut bench, "sip:bob@example.com");
    answer(&mut bench, second);
    let stats = bench.switch.stats(None);
    assert_eq!(stats.locate.hop_failures, 1);
    assert_eq!(stats.locate.penalties.len(), 1);
    // The next call does not even try it.
    bench.advance(Duration::from_secs(1));
    call(&mut bench, "sip:carol@example.com");
    bench.phones[second].request(Method::Invite);
    assert_eq!(bench.switch.stats(None).locate.hop_failures, 1);
}

#[test]
fn a_server_that_is_busy_with_503_is_passed_over() {
    let (mut bench, first, second) = two_servers(FOREIGN);
    call(&mut bench, "sip:bob@example.com");
    let (tx, _, _) = bench.phones[first].request(Method::Invite);
    bench.respond(first, tx, Reply::new(503).header("Retry-After", "120"));
    answer(&mut bench, second);
    let penalties = bench.switch.stats(None).locate.penalties;
    assert_eq!((penalties.len(), penalties[0].seconds), (1, 120));
}

#[test]
fn another_refusal_is_an_answer() {
    let (mut bench, first, second) = two_servers(FOREIGN);
    call(&mut bench, "sip:bob@example.com");
    let (tx, _, _) = bench.phones[first].request(Method::Invite);
    bench.respond(first, tx, Reply::new(486));
    bench.phones[ALICE].response(486);
    assert!(bench.phones[second].has_nothing());
    assert!(bench.switch.stats(None).locate.penalties.is_empty());
}

#[test]
fn a_silent_server_is_left_for_the_next_one_and_released_if_it_answers_late() {
    let (mut bench, first, second) = two_servers(FOREIGN);
    bench.phones[first].dark = true;
    call(&mut bench, "sip:bob@example.com");
    bench.advance(Duration::from_secs(3));
    assert!(bench.phones[second].has_nothing());
    bench.advance(Duration::from_secs(2));
    answer(&mut bench, second);
    // Its line is back, and it answers what it got meanwhile: the call is not its any more.
    bench.phones[first].dark = false;
    bench.advance(Duration::from_secs(5));
    let (tx, _, _) = bench.phones[first].request(Method::Invite);
    let late = Reply::new(200).body("application/sdp", sdp(5002));
    let sent = bench.phones[first].stack.respond(bench.now, tx, late);
    assert!(sent.is_ok());
    bench.pump();
    bench.phones[first].request(Method::Bye);
    let stats = bench.switch.stats(None);
    assert_eq!((stats.calls_answered, stats.calls_total), (1, 1));
}

#[test]
fn a_server_that_is_trying_is_not_left() {
    let (mut bench, first, second) = two_servers(FOREIGN);
    call(&mut bench, "sip:bob@example.com");
    // Its stack says 100 after 200 ms by itself.
    bench.advance(Duration::from_secs(10));
    assert!(bench.phones[second].has_nothing());
    answer(&mut bench, first);
}

#[test]
fn when_all_fail_the_caller_is_told() {
    let (mut bench, first, second) = two_servers(FOREIGN);
    call(&mut bench, "sip:bob@example.com");
    for who in [first, second] {
        let (tx, _, _) = bench.phones[who].request(Method::Invite);
        bench.respond(who, tx, Reply::new(503));
    }
    // RFC 3261 §16.7: a 503 is not passed on.
    bench.phones[ALICE].response(500);
    bench.advance(Duration::from_secs(60));
    assert_eq!(bench.calls(), 0);
    assert_eq!(bench.switch.stats(None).locate.penalties.len(), 0, "the penalty is over");
    assert_eq!(bench.switch.stats(None).locate.hop_failures, 2);
}

#[test]
fn a_domain_that_is_not_there_is_said() {
    let mut bench = Bench::with(FOREIGN);
    call(&mut bench, "sip:bob@nowhere.example");
    bench.phones[ALICE].response(404);
    assert_eq!(bench.calls(), 0);
}

#[test]
fn silent_dns_ends_one_call_and_delays_no_other() {
    let (mut bench, first, _) = two_servers(FOREIGN);
    bench.dns.silence("silent.example");
    call(&mut bench, "sip:bob@silent.example");
    bench.advance(Duration::from_millis(100));
    call(&mut bench, "sip:bob@example.com");
    answer(&mut bench, first);
    bench.advance(Duration::from_secs(20));
    bench.phones[ALICE].response(504);
    assert_eq!(bench.calls(), 1);
    assert_eq!(bench.switch.stats(None).locate.pending, 0);
}

#[test]
fn a_caller_who_gives_up_while_dns_is_asked_leaves_nothing_behind() {
    let mut bench = Bench::with(FOREIGN);
    bench.dns.silence("silent.example");
    let tx = call(&mut bench, "sip:bob@silent.example");
    bench.advance(Duration::from_secs(1));
    bench.phones[ALICE].stack.cancel(bench.now, tx, Fields::new()).unwrap();
    bench.pump();
    bench.phones[ALICE].response(487);
    bench.advance(Duration::from_secs(60));
    assert_eq!(bench.calls(), 0);
    assert!(bench.switch.calls.is_clean());
}

#[test]
fn an_address_needs_no_dns() {
    let (mut bench, first, _) = two_servers(FOREIGN);
    call(&mut bench, "sip:bob@192.0.2.57");
    answer(&mut bench, first);
    assert_eq!(bench.dns.asked(), 0);
}
