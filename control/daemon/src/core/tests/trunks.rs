//! Calls over trunks: registration, digest, fail-over, limits, who is called and who is shown.

use super::*;
use crate::trunk::TrunkState;
use tandem_signalling::digest::{Algorithm, Authenticator, Outcome, Policy};

/// The first trunk.
const ONE: usize = 4;
/// The second.
const TWO: usize = 5;

const NUMBERS: &str = "[numbers]\ncountry_code = \"49\"\narea_code = \"30\"\n";
/// Two trunks by address, the first before the second.
const PEERS: &str = "[[trunk]]\nname = \"one\"\npeer = \"sip:192.0.2.61\"\n\
    [[trunk]]\nname = \"two\"\npeer = \"sip:192.0.2.62\"\n\
    [[route]]\nprefix = \"+\"\ntrunk = \"one\"\npriority = 1\n\
    [[route]]\nprefix = \"+\"\ntrunk = \"two\"\npriority = 2\n\
    [[route]]\nprefix = \"112\"\ntrunk = \"one\"\n";

fn bench(config: &str) -> Bench {
    let mut bench = Bench::with(&format!("{NUMBERS}{config}"));
    for host in [61, 62] {
        let addr: SocketAddr = format!("192.0.2.{host}:5060").parse().unwrap();
        bench.phones.push(Phone {
            user: "+4930100",
            addr,
            own: addr,
            stack: Stack::new(StackConfig::default(), host),
            events: Vec::new(),
            session: None,
            dark: false,
            connection: 0,
        });
    }
    bench.pump();
    bench
}

/// Calls with a Call-ID of its own.
fn call(bench: &mut Bench, who: usize, to: &str) -> ClientTx {
    bench.advance(Duration::from_millis(20));
    bench.invite(who, to)
}

/// Gives users numbers: alice the first, bob the second.
fn give_numbers(bench: &Bench) {
    let mut users = users();
    users[0].numbers = vec!["+4930201".into(), "+4930202".into()];
    users[1].numbers = vec!["+4930301".into(), "31".into()];
    bench.users.replace(users, 2);
}

fn text(message: &Message, header: Header) -> String {
    String::from_utf8_lossy(message.value(header).unwrap_or_default()).into_owned()
}

fn trunk(bench: &Bench, name: &str) -> crate::trunk::TrunkView {
    let views = bench.switch.world.trunks.views(bench.now);
    views.into_iter().find(|it| it.name == name).unwrap()
}

/// Answers an INVITE that came to a trunk and acknowledges at alice; gives both dialogs.
fn answer(bench: &mut Bench, who: usize, tx: ServerTx) -> (DialogId, DialogId) {
    let reply = Reply::new(200).body("application/sdp", sdp(5000));
    let far = bench.respond(who, tx, reply).unwrap();
    let (_, alice, _) = bench.phones[ALICE].response(200);
    let alice = alice.unwrap();
    bench.ack(ALICE, alice, Fields::new());
    (far, alice)
}

fn is_clean(bench: &Bench) -> bool {
    bench.switch.world.trunks.is_clean()
}

#[test]
fn a_dialled_number_goes_out_normalised_with_the_users_own_number() {
    let mut bench = bench(PEERS);
    give_numbers(&bench);
    call(&mut bench, ALICE, "0891234567");
    let (tx, _, invite) = bench.phones[ONE].request(Method::Invite);
    assert_eq!(invite.request_uri(), Some("sip:+49891234567@192.0.2.61"));
    assert_eq!(text(&invite, Header::To), "<sip:+49891234567@192.0.2.61>");
    let from = text(&invite, Header::From);
    assert!(from.starts_with("\"Alice A.\" <sip:+4930201@192.0.2.61>;tag="), "{from}");
    assert!(!invite.has(Header::PAssertedIdentity));
    assert_eq!(invite.max_forwards(), Some(69));
    assert!(bench.phones[TWO].has_nothing());
    let (far, alice) = answer(&mut bench, ONE, tx);
    bench.phones[ONE].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    assert_eq!(trunk(&bench, "one").calls, 1);
    bench.in_dialog(ONE, far, Method::Bye, Fields::new());
    let (tx, _, _) = bench.phones[ALICE].request(Method::Bye);
    bench.respond(ALICE, tx, Reply::new(200));
    let _ = alice;
    let one = trunk(&bench, "one");
    assert_eq!((one.calls, one.counters.calls_out, one.counters.answered_out), (0, 1, 1));
    let record = bench.only_record();
    assert_eq!((&*record.to, record.cause.sip_status), ("sip:+49891234567@tandem", 200));
    assert!(is_clean(&bench));
}

#[test]
fn the_next_trunk_is_tried_after_503_and_not_after_486_or_404() {
    let mut bench = bench(PEERS);
    call(&mut bench, ALICE, "+441632960000");
    let (tx, _, _) = bench.phones[ONE].request(Method::Invite);
    bench.respond(ONE, tx, Reply::new(183));
    bench.phones[ALICE].response(183);
    bench.respond(ONE, tx, Reply::new(503));
    let (tx, _, _) = bench.phones[TWO].request(Method::Invite);
    answer(&mut bench, TWO, tx);
    assert_eq!(trunk(&bench, "one").counters.failed_over, 1);
    // It failed, so that the second one comes first for a while.
    assert_eq!(trunk(&bench, "one").state, TrunkState::Failing);
    call(&mut bench, ALICE, "+441632960000");
    let (tx, _, _) = bench.phones[TWO].request(Method::Invite);
    bench.respond(TWO, tx, Reply::new(486));
    bench.phones[ALICE].response(486);
    bench.advance(Duration::from_secs(11));
    call(&mut bench, ALICE, "+441632960000");
    let (tx, _, _) = bench.phones[ONE].request(Method::Invite);
    bench.respond(ONE, tx, Reply::new(404));
    bench.phones[ALICE].response(404);
    assert_eq!((trunk(&bench, "one").calls, trunk(&bench, "two").calls), (0, 1));
}

#[test]
fn own_causes_of_a_route_and_of_q850_lead_on() {
    let config = PEERS.replace("priority = 1\n", "priority = 1\nfailover = [486, \"q850/34\"]\n");
    let mut bench = bench(&config);
    for reply in [Reply::new(486), Reply::new(404).header("Reason", "Q.850;cause=34")] {
        call(&mut bench, ALICE, "+441632960000");
        let (tx, _, _) = bench.phones[ONE].request(Method::Invite);
        bench.respond(ONE, tx, reply);
        let (tx, _, _) = bench.phones[TWO].request(Method::Invite);
        bench.respond(TWO, tx, Reply::new(480));
        bench.phones[ALICE].take(|event| matches!(event, Event::Response { .. }).then_some(()));
    }
    // 503 is not in the list now.
    call(&mut bench, ALICE, "+441632960000");
    let (tx, _, _) = bench.phones[ONE].request(Method::Invite);
    bench.respond(ONE, tx, Reply::new(503));
    bench.phones[ALICE].response(500);
    assert!(bench.phones[TWO].has_nothing());
}

#[test]
fn a_dead_trunk_is_left_after_its_time_and_comes_last_then() {
    let mut bench = bench(PEERS);
    bench.phones[ONE].dark = true;
    let start = bench.now;
    call(&mut bench, ALICE, "+441632960000");
    bench.advance(Duration::from_secs(6));
    let (tx, _, _) = bench.phones[TWO].request(Method::Invite);
    assert_eq!(bench.now.since(start).as_secs(), 6);
    answer(&mut bench, TWO, tx);
    let view = bench.switch.explain_route("+441632960000", Some("alice"));
    let order: Vec<_> = view.candidates.iter().map(|it| it.trunk.as_str()).collect();
    assert_eq!(order, ["two", "one"]);
    assert!(
        view.steps.iter().any(|it| it.contains("one comes last: it did not answer")),
        "{view:?}"
    );
    call(&mut bench, ALICE, "+441632960000");
    bench.phones[TWO].request(Method::Invite);
    // Nothing is left of the dead one after timer B.
    bench.advance(Duration::from_secs(40));
    assert_eq!(trunk(&bench, "one").calls, 0);
}

#[test]
fn a_trunk_that_says_trying_has_the_time_that_the_call_has() {
    let mut bench = bench(PEERS);
    call(&mut bench, ALICE, "+441632960000");
    let (tx, _, _) = bench.phones[ONE].request(Method::Invite);
    // 100 comes from the trunk's stack by itself.
    bench.advance(Duration::from_secs(30));
    assert!(bench.phones[TWO].has_nothing());
    answer(&mut bench, ONE, tx);
}

#[test]
fn all_trunks_dead_is_said_as_408() {
    let mut bench = bench(PEERS);
    (bench.phones[ONE].dark, bench.phones[TWO].dark) = (true, true);
    call(&mut bench, ALICE, "+441632960000");
    bench.advance(Duration::from_secs(12));
    bench.phones[ALICE].response(408);
    bench.advance(Duration::from_secs(40));
    assert_eq!(bench.calls(), 0);
    assert!(is_clean(&bench));
}

#[test]
fn a_caller_who_gives_up_stops_the_trunk() {
    let mut bench = bench(PEERS);
    let call = call(&mut bench, ALICE, "+441632960000");
    let (tx, _, _) = bench.phones[ONE].request(Method::Invite);
    bench.respond(ONE, tx, Reply::new(180));
    bench.phones[ALICE].response(180);
    let stack = &mut bench.phones[ALICE].stack;
    stack.cancel(bench.now, call, Fields::new()).unwrap();
    bench.pump();
    bench.phones[ONE].take(|event| matches!(event, Event::Cancelled { .. }).then_some(()));
    bench.respond(ONE, tx, Reply::new(487));
    bench.phones[ALICE].response(487);
    assert!(bench.phones[TWO].has_nothing() && is_clean(&bench));
}

#[test]
fn limits_of_a_trunk_lead_to_the_next_and_spare_emergency_calls() {
    let config = PEERS.replace("61\"\n", "61\"\nmax_calls = 1\n");
    let config = config.replace("62\"\n", "62\"\nmax_calls = 1\n");
    let mut bench = bench(&config);
    for who in [ONE, TWO] {
        call(&mut bench, ALICE, "+441632960000");
        let (tx, _, _) = bench.phones[who].request(Method::Invite);
        answer(&mut bench, who, tx);
    }
    call(&mut bench, ALICE, "+441632960000");
    let (_, _, full) = bench.phones[ALICE].response(503);
    assert_eq!(text(&full, Header::Reason), "Q.850;cause=34;text=\"no trunk can take the call\"");
    let view = bench.switch.explain_route("+441632960000", Some("alice"));
    assert_eq!((view.status, view.excluded.len()), (Some(503), 2));
    assert_eq!(view.excluded[0].why, "it has 1 calls, and max_calls is 1");
    call(&mut bench, ALICE, "112");
    let (tx, _, invite) = bench.phones[ONE].request(Method::Invite);
    assert_eq!(invite.request_uri(), Some("sip:112@192.0.2.61"));
    answer(&mut bench, ONE, tx);
    assert_eq!(trunk(&bench, "one").calls, 2);
}

#[test]
fn limits_of_users_refuse_callers_and_callees_and_spare_emergency_calls() {
    let mut bench = bench(&format!("[call]\nmax_calls_per_user = 1\n{PEERS}"));
    bench.register(BOB);
    call(&mut bench, ALICE, "+441632960000");
    let (tx, _, _) = bench.phones[ONE].request(Method::Invite);
    let (_, alice) = answer(&mut bench, ONE, tx);
    call(&mut bench, ALICE, "bob");
    let (_, _, refused) = bench.phones[ALICE].response(503);
    assert!(text(&refused, Header::Reason).contains("call.max_calls_per_user"));
    call(&mut bench, BOB, "alice");
    let (_, _, busy) = bench.phones[BOB].response(486);
    assert!(text(&busy, Header::Reason).starts_with("Q.850;cause=17"));
    call(&mut bench, ALICE, "112");
    let (tx, _, _) = bench.phones[ONE].request(Method::Invite);
    let (_, emergency) = answer(&mut bench, ONE, tx);
    for dialog in [alice, emergency] {
        bench.in_dialog(ALICE, dialog, Method::Bye, Fields::new());
        bench.phones[ALICE].response(200);
        let (tx, _, _) = bench.phones[ONE].request(Method::Bye);
        bench.respond(ONE, tx, Reply::new(200));
    }
    call(&mut bench, ALICE, "bob");
    bench.phones[BOB].request(Method::Invite);
}

#[test]
fn the_limit_of_all_calls_spares_emergency_calls() {
    let mut bench = bench(&format!("[call]\nmax_calls = 1\n{PEERS}"));
    call(&mut bench, ALICE, "+441632960000");
    let (tx, _, _) = bench.phones[ONE].request(Method::Invite);
    answer(&mut bench, ONE, tx);
    bench.advance(Duration::from_millis(20));
    let request = bench.invite_request(ALICE, "+441632960000");
    bench.send(ALICE, request);
    bench.phones[ALICE].response(503);
    call(&mut bench, ALICE, "112");
    bench.phones[ONE].request(Method::Invite);
}

/// An INVITE from a trunk, which nobody challenges.
fn from_trunk(bench: &mut Bench, who: usize, uri: &str, edit: impl Fn(NewRequest) -> NewRequest) {
    let request = NewRequest::new(Method::Invite, uri)
        .from("\"Far Away\" <sip:+441632960000@192.0.2.61>")
        .to(format!("<{uri}>"))
        .body("application/sdp", sdp(4000));
    bench.send(who, edit(request));
}

#[test]
fn a_call_from_a_trunk_rings_the_user_whose_number_it_is() {
    let mut bench = bench(PEERS);
    give_numbers(&bench);
    bench.register(BOB);
    from_trunk(&mut bench, ONE, "sip:030301@192.0.2.1", |it| it);
    let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
    let from = text(&invite, Header::From);
    assert!(from.starts_with("\"Far Away\" <sip:+441632960000@tandem>"), "{from}");
    assert_eq!(trunk(&bench, "one").calls, 1);
    let reply = Reply::new(200).body("application/sdp", sdp(5000));
    bench.respond(BOB, tx, reply);
    let (_, far, _) = bench.phones[ONE].response(200);
    bench.ack(ONE, far.unwrap(), Fields::new());
    bench.in_dialog(ONE, far.unwrap(), Method::Bye, Fields::new());
    bench.phones[ONE].response(200);
    let (tx, _, _) = bench.phones[BOB].request(Method::Bye);
    bench.respond(BOB, tx, Reply::new(200));
    assert!(is_clean(&bench));
    let record = bench.only_record();
    assert_eq!((&*record.from, &*record.to), ("sip:+441632960000@tandem", "sip:bob@tandem"));
    // Extensions and telephone URIs lead there too.
    for uri in ["sip:31@192.0.2.1", "tel:+49-30-301"] {
        from_trunk(&mut bench, ONE, uri, |it| it);
        bench.phones[BOB].request(Method::Invite);
    }
}

#[test]
fn a_call_from_a_trunk_does_not_go_out_again_unless_a_route_says_so() {
    let transit = "[[route]]\nprefix = \"+4940\"\ntrunk = \"two\"\nfrom = [\"trunk:one\"]\n";
    let mut bench = bench(&format!("{PEERS}{transit}"));
    from_trunk(&mut bench, ONE, "sip:+441632960001@192.0.2.1", |it| it);
    bench.phones[ONE].response(404);
    from_trunk(&mut bench, ONE, "sip:112@192.0.2.1", |it| it);
    bench.phones[ONE].response(404);
    from_trunk(&mut bench, ONE, "sip:+4940123@192.0.2.1", |it| it);
    let (_, _, invite) = bench.phones[TWO].request(Method::Invite);
    let from = text(&invite, Header::From);
    assert!(from.contains("<sip:+441632960000@192.0.2.62>"), "{from}");
    // From elsewhere it has to prove who it is.
    from_trunk(&mut bench, BOB, "sip:+4940123@192.0.2.1", |it| it);
    bench.phones[BOB].response(407);
}

#[test]
fn networks_say_what_comes_from_a_trunk() {
    let config = "[[trunk]]\nname = \"one\"\npeer = \"sip:192.0.2.61\"\nsources = [\"192.0.2.52\", \"198.51.100.0/24\"]\n\
        [[route]]\nprefix = \"\"\nuser = \"alice\"\nfrom = [\"trunk:one\"]\n";
    let mut bench = bench(config);
    bench.register(ALICE);
    from_trunk(&mut bench, BOB, "sip:+4940123@192.0.2.1", |it| it);
    bench.phones[ALICE].request(Method::Invite);
    from_trunk(&mut bench, ONE, "sip:+4940123@192.0.2.1", |it| it);
    bench.phones[ONE].response(407);
}

#[test]
fn identities_go_to_trusted_trunks_alone_and_policies_hide_or_replace_them() {
    let rows = |rows: &str| PEERS.replacen("61\"\n", &format!("61\"\n{rows}"), 1);
    let invite = |config: &str, edit: fn(NewRequest) -> NewRequest| {
        let mut bench = bench(config);
        give_numbers(&bench);
        bench.invite_with(ALICE, "+441632960000", |it| edit(it).body("application/sdp", sdp(4000)));
        bench.phones[ONE].request(Method::Invite).2
    };
    let same = |it| it;
    let trusted = invite(&rows("trusted = true\n"), same);
    let asserted = text(&trusted, Header::PAssertedIdentity);
    assert_eq!(asserted, "\"Alice A.\" <sip:+4930201@192.0.2.61>");
    let replaced =
        rows("caller_id = \"replace\"\nnumber = \"+4930100\"\nnumber_format = \"national\"\n");
    let replaced = invite(&replaced, same);
    assert!(text(&replaced, Header::From).contains("<sip:030100@192.0.2.61>"));
    assert_eq!(replaced.request_uri(), Some("sip:00441632960000@192.0.2.61"));
    let hidden = invite(&rows("caller_id = \"anonymous\"\n"), same);
    assert!(
        text(&hidden, Header::From).starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>")
    );
    assert_eq!(text(&hidden, Header::Privacy), "id");
    assert!(!String::from_utf8_lossy(hidden.bytes()).contains("4930201"));
    let hidden = invite(&rows("caller_id = \"anonymous\"\ntrusted = true\n"), same);
    assert!(text(&hidden, Header::PAssertedIdentity).contains("+4930201"));
    let second = invite(PEERS, |it| it.header("P-Preferred-Identity", "<sip:+4930202@x>"));
    assert!(text(&second, Header::From).contains("<sip:+4930202@192.0.2.61>"));
    let forged = invite(PEERS, |it| it.header("P-Preferred-Identity", "<sip:+4930999@x>"));
    assert!(text(&forged, Header::From).contains("<sip:+4930201@192.0.2.61>"));
}

const PROVIDER: &str = "[[trunk]]\nname = \"one\"\npeer = \"sip:192.0.2.61\"\nregister = true\n\
    username = \"line1\"\npassword = \"s3cret\"\nexpires_s = 600\ndomain = \"provider.example\"\n\
    [[route]]\nprefix = \"+\"\ntrunk = \"one\"\n";

/// The provider's side of the digest.
fn provider() -> Authenticator {
    let mut policy = Policy::new("provider.example");
    policy.algorithms = vec![Algorithm::Md5];
    Authenticator::new(policy, [9; 32])
}

/// Whether a request has the credentials of the trunk; the count of their nonce if so.
fn accepted(
    bench: &Bench,
    provider: &mut Authenticator,
    request: &Message,
    header: Header,
) -> bool {
    let find = |name: &str, algorithm| {
        let (realm, password) = (b"provider.example", b"s3cret");
        (name == "line1").then(|| Ha1::compute(algorithm, name.as_bytes(), realm, password))
    };
    matches!(provider.check(bench.now, request, header, find), Outcome::Accepted { .. })
}

fn challenge(bench: &Bench, provider: &mut Authenticator, status: u16, stale: bool) -> Reply {
    let header = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
    let challenge = provider.challenges(bench.now, stale, 7).into_iter().next().unwrap();
    Reply::new(status).header(header, challenge)
}

/// The next REGISTER at the provider: challenged, then granted for so long.
fn register_at(bench: &mut Bench, provider: &mut Authenticator, expires_s: u32) -> Message {
    let (tx, _, first) = bench.phones[ONE].request(Method::Register);
    assert_eq!(first.request_uri(), Some("sip:provider.example"));
    let reply = challenge(bench, provider, 401, false);
    bench.respond(ONE, tx, reply);
    let (tx, _, request) = bench.phones[ONE].request(Method::Register);
    assert!(accepted(bench, provider, &request, Header::Authorization));
    assert_eq!(request.call_id(), first.call_id());
    grant(bench, tx, &request, expires_s);
    request
}

fn grant(bench: &mut Bench, tx: ServerTx, request: &Message, expires_s: u32) {
    let contact = text(request, Header::Contact);
    let contact = contact.split(';').next().unwrap();
    let reply = Reply::new(200)
        .header("Contact", format!("{contact};expires={expires_s}"))
        .header("Service-Route", "<sip:192.0.2.61;lr>");
    bench.respond(ONE, tx, reply);
}

#[test]
fn a_registration_is_made_with_digest_refreshed_and_taken_back() {
    let mut bench = bench(PROVIDER);
    let mut provider = provider();
    assert_eq!(trunk(&bench, "one").state, TrunkState::Unregistered);
    bench.advance(Duration::from_secs(1));
    let request = register_at(&mut bench, &mut provider, 300);
    assert_eq!(text(&request, Header::To), "<sip:line1@provider.example>");
    let one = trunk(&bench, "one");
    assert_eq!((one.state, one.registered_for_s), (TrunkState::Up, Some(300)));
    assert_eq!(one.service_route, ["<sip:192.0.2.61;lr>"]);
    let start = bench.now;
    while bench.phones[ONE].has_nothing() {
        bench.advance(Duration::from_secs(1));
    }
    assert!((209..257).contains(&bench.now.since(start).as_secs()));
    // The nonce is used again, so that it takes one request.
    let (tx, _, refresh) = bench.phones[ONE].request(Method::Register);
    assert!(accepted(&bench, &mut provider, &refresh, Header::Authorization));
    assert!(text(&refresh, Header::Authorization).contains("nc=00000002"));
    assert_eq!(refresh.cseq().unwrap().number, request.cseq().unwrap().number + 1);
    grant(&mut bench, tx, &refresh, 300);
    bench.switch.begin_stop();
    bench.pump();
    assert!(!bench.switch.is_quiet());
    let (tx, _, gone) = bench.phones[ONE].request(Method::Register);
    assert!(text(&gone, Header::Contact).ends_with(";expires=0"));
    bench.respond(ONE, tx, Reply::new(200));
    assert!(bench.switch.is_quiet());
}

#[test]
fn a_failed_registration_is_said_and_tried_again() {
    let mut bench = bench(PROVIDER);
    bench.advance(Duration::from_secs(1));
    let (tx, _, _) = bench.phones[ONE].request(Method::Register);
    bench.respond(ONE, tx, Reply::new(423).header("Min-Expires", "1800"));
    let (tx, _, request) = bench.phones[ONE].request(Method::Register);
    assert_eq!(request.expires(), Some(1_800));
    bench.respond(ONE, tx, Reply::new(500));
    let one = trunk(&bench, "one");
    assert_eq!(one.why.as_deref(), Some("it is not registered: 500 Server Internal Error"));
    call(&mut bench, ALICE, "+441632960000");
    bench.phones[ALICE].response(503);
    bench.advance(Duration::from_secs(6));
    let (tx, _, request) = bench.phones[ONE].request(Method::Register);
    grant(&mut bench, tx, &request, 600);
    assert_eq!(trunk(&bench, "one").state, TrunkState::Up);
    // Nobody answers the refresh: what was granted holds to its end.
    bench.phones[ONE].dark = true;
    bench.advance(Duration::from_secs(550));
    assert_eq!(trunk(&bench, "one").state, TrunkState::Up);
    bench.advance(Duration::from_secs(60));
    let one = trunk(&bench, "one");
    assert_eq!(one.state, TrunkState::Unregistered);
    assert!(one.registration_failures > 0);
}

/// A registered trunk and its digest.
fn registered() -> (Bench, Authenticator) {
    let mut bench = bench(PROVIDER);
    let mut provider = provider();
    bench.advance(Duration::from_secs(1));
    register_at(&mut bench, &mut provider, 600);
    (bench, provider)
}

#[test]
fn a_call_answers_the_challenge_and_its_dialog_keeps_the_credentials() {
    let (mut bench, mut provider) = registered();
    call(&mut bench, ALICE, "+441632960000");
    let (tx, _, first) = bench.phones[ONE].request(Method::Invite);
    assert_eq!(first.request_uri(), Some("sip:+441632960000@provider.example"));
    assert_eq!(text(&first, Header::Route), "<sip:192.0.2.61;lr>");
    let reply = challenge(&bench, &mut provider, 407, false);
    bench.respond(ONE, tx, reply);
    assert!(bench.phones[ALICE].has_nothing());
    let (tx, _, invite) = bench.phones[ONE].request(Method::Invite);
    assert!(accepted(&bench, &mut provider, &invite, Header::ProxyAuthorization));
    assert_eq!(invite.call_id(), first.call_id());
    assert_eq!(invite.cseq().unwrap().number, first.cseq().unwrap().number + 1);
    assert_eq!(media_port(&invite), media_port(&first));
    let (_, alice) = answer(&mut bench, ONE, tx);
    let ack = bench.phones[ONE].take(|event| match event {
        Event::Ack { request, .. } => Some(request.clone()),
        _ => None,
    });
    let credentials = text(&invite, Header::ProxyAuthorization);
    assert_eq!(text(&ack, Header::ProxyAuthorization), credentials);
    // A re-INVITE and a BYE are accepted at once, by the nonce counted on.
    let offer = Fields::new().body("application/sdp", held_sdp(4000));
    bench.in_dialog(ALICE, alice, Method::Invite, offer);
    let (tx, _, reinvite) = bench.phones[ONE].request(Method::Invite);
    assert!(accepted(&bench, &mut provider, &reinvite, Header::ProxyAuthorization));
    // An old nonce is answered anew, and the phone does not see it.
    let reply = challenge(&bench, &mut provider, 407, true);
    bench.respond(ONE, tx, reply);
    let (tx, _, again) = bench.phones[ONE].request(Method::Invite);
    assert!(accepted(&bench, &mut provider, &again, Header::ProxyAuthorization));
    bench.respond(ONE, tx, Reply::new(200).body("application/sdp", sdp(5000)));
    let (_, _, ok) = bench.phones[ALICE].response(200);
    assert!(!ok.body().is_empty());
    bench.ack(ALICE, alice, Fields::new());
    bench.phones[ONE].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
    bench.phones[ALICE].response(200);
    let (tx, _, _) = bench.phones[ONE].request(Method::Bye);
    let reply = challenge(&bench, &mut provider, 407, false);
    bench.respond(ONE, tx, reply);
    let (tx, _, bye) = bench.phones[ONE].request(Method::Bye);
    assert!(accepted(&bench, &mut provider, &bye, Header::ProxyAuthorization));
    bench.respond(ONE, tx, Reply::new(200));
    assert_eq!((bench.calls(), bench.switch.stats(None).sip.dialogs), (0, 0));
    assert!(is_clean(&bench));
}

#[test]
fn a_refused_password_goes_on_and_is_counted() {
    let second = "[[trunk]]\nname = \"two\"\npeer = \"sip:192.0.2.62\"\n\
        [[route]]\nprefix = \"+\"\ntrunk = \"two\"\npriority = 20\n";
    let mut bench = bench(&format!("{}{second}", PROVIDER.replace("register = true\n", "")));
    let mut provider = provider();
    call(&mut bench, ALICE, "+441632960000");
    for _ in 0..2 {
        let (tx, _, _) = bench.phones[ONE].request(Method::Invite);
        let reply = challenge(&bench, &mut provider, 401, false);
        bench.respond(ONE, tx, reply);
    }
    bench.phones[TWO].request(Method::Invite);
    assert_eq!(trunk(&bench, "one").counters.credentials_refused, 1);
}

#[test]
fn a_caller_who_gives_up_during_the_challenge_is_not_called_again() {
    let (mut bench, mut provider) = registered();
    let call = call(&mut bench, ALICE, "+441632960000");
    let (tx, _, _) = bench.phones[ONE].request(Method::Invite);
    bench.phones[ALICE].stack.cancel(bench.now, call, Fields::new()).unwrap();
    bench.pump();
    let reply = challenge(&bench, &mut provider, 407, false);
    let _ = bench.phones[ONE].stack.respond(bench.now, tx, reply);
    bench.advance(Duration::from_secs(40));
    bench.phones[ALICE].response(487);
    assert_eq!(bench.calls(), 0);
    assert!(is_clean(&bench));
}

#[test]
fn the_registered_line_is_known_wherever_its_call_comes_from() {
    let (mut bench, _) = registered();
    give_numbers(&bench);
    bench.register(BOB);
    let line = bench.switch.world.trunks.spec(0).unwrap().line.clone();
    let uri = format!("sip:{line}@192.0.2.1:5060");
    // Another machine of the provider; the number is in To.
    from_trunk(&mut bench, TWO, &uri, |it| it.to("<sip:+4930301@provider.example>"));
    bench.phones[BOB].request(Method::Invite);
    from_trunk(&mut bench, TWO, &uri, |it| {
        it.to("<sip:line1@provider.example>")
            .header("P-Called-Party-ID", "<sip:+4930301@provider.example>")
    });
    bench.phones[BOB].request(Method::Invite);
    let wrong = uri.replace(&line, &line.replace('l', "m"));
    from_trunk(&mut bench, TWO, &wrong, |it| it);
    bench.phones[TWO].response(407);
}

#[test]
fn options_tell_whether_a_trunk_is_there() {
    let config = PEERS.replacen("61\"\n", "61\"\noptions_s = 30\n", 1);
    let mut bench = bench(&config);
    bench.advance(Duration::from_secs(1));
    let (tx, _, _) = bench.phones[ONE].request(Method::Options);
    bench.respond(ONE, tx, Reply::new(404));
    assert_eq!(trunk(&bench, "one").state, TrunkState::Up);
    bench.phones[ONE].dark = true;
    bench.advance(Duration::from_secs(64));
    let one = trunk(&bench, "one");
    assert_eq!(
        (one.state, one.why.as_deref()),
        (TrunkState::Down, Some("it does not answer OPTIONS"))
    );
    let view = bench.switch.explain_route("+441632960000", None);
    assert_eq!((view.candidates.len(), &*view.excluded[0].trunk), (1, "one"));
    bench.phones[ONE].dark = false;
    bench.advance(Duration::from_secs(32));
    let (tx, _, _) = bench.phones[ONE].request(Method::Options);
    bench.respond(ONE, tx, Reply::new(200));
    assert_eq!(trunk(&bench, "one").state, TrunkState::Up);
}

#[test]
fn a_trunk_may_be_changed_while_calls_go_over_it() {
    let mut bench = bench(PEERS);
    call(&mut bench, ALICE, "+441632960000");
    let (tx, _, _) = bench.phones[ONE].request(Method::Invite);
    let (_, alice) = answer(&mut bench, ONE, tx);
    let other = Config::parse(&format!("{NUMBERS}{}", PEERS.replace("61\"", "61:5080\""))).unwrap();
    let routing = crate::trunk::Routing::new(&other);
    bench.switch.world.trunks.configure(bench.now, &routing, 1);
    assert_eq!(trunk(&bench, "one").calls, 0);
    bench.in_dialog(ALICE, alice, Method::Bye, Fields::new());
    bench.phones[ALICE].response(200);
    let (tx, _, _) = bench.phones[ONE].request(Method::Bye);
    bench.respond(ONE, tx, Reply::new(200));
    assert!(is_clean(&bench));
}
