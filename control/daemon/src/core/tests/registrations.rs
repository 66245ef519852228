//! REGISTER.

use super::*;

#[test]
fn a_phone_registers_and_is_told_its_contacts() {
    let mut bench = Bench::new();
    let ok = bench.register(BOB);
    assert_eq!(ok.value(Header::Contact), Some(&b"<sip:bob@192.0.2.52:5060>;expires=3600"[..]));
    let ok = bench.register_with(BOB, &[], 200);
    assert_eq!(ok.values(Header::Contact).count(), 1);
    let all = bench.switch.world.registrar.registrations();
    assert_eq!(all[0].received, Some(bench.phones[BOB].addr));
    assert_eq!((&*all[0].aor, &*all[0].transport), ("sip:bob@tandem", "udp"));
}

#[test]
fn both_algorithms_are_offered_and_md5_works() {
    let mut bench = Bench::with("[registrar]\nalgorithms = [\"SHA-256\", \"MD5\"]\n");
    let request = bench.register_request(BOB, "x", 1);
    bench.send(BOB, request);
    let (_, _, challenge) = bench.phones[BOB].response(401);
    let offered: Vec<_> = challenge
        .values(Header::WwwAuthenticate)
        .map(|it| String::from_utf8_lossy(it).into_owned())
        .collect();
    assert_eq!(offered.len(), 2);
    // Carol can answer MD5 alone, and phones answer the first that they understand.
    assert!(offered[0].contains("MD5") && offered[1].contains("SHA-256"), "{offered:?}");
    let md5 = tandem_signalling::digest::Challenge::parse(offered[0].as_bytes()).unwrap();
    let ha1 = Ha1::compute(md5.algorithm, b"bob", b"tandem", PASSWORD.as_bytes());
    let value = ClientSession::new(md5).authorization("bob", &ha1, "REGISTER", "sip:tandem", "c");
    let contact = bench.phones[BOB].contact();
    let request = bench.register_request(BOB, "x", 2).header("Contact", contact);
    bench.send(BOB, request.header("Authorization", value));
    bench.phones[BOB].response(200);
}

#[test]
fn who_has_an_imported_md5_digest_alone_is_challenged_as_everybody() {
    let mut bench = Bench::with("[registrar]\nalgorithms = [\"SHA-256\", \"MD5\"]\n");
    for user in ["carol", "bob", "nobody"] {
        let aor = format!("<sip:{user}@tandem>");
        let request =
            NewRequest::new(Method::Register, "sip:tandem").from(aor.clone()).to(aor.clone());
        bench.send(ALICE, request);
        let (_, _, challenge) = bench.phones[ALICE].response(401);
        let offered: Vec<_> = challenge.values(Header::WwwAuthenticate).collect();
        assert_eq!(offered.len(), 2, "{user}");
        assert!(offered[0].ends_with(b"algorithm=MD5, qop=\"auth\""), "{user}");
    }
}

#[test]
fn a_refusal_has_a_challenge_even_for_who_cannot_answer_it() {
    let mut bench = Bench::with("[registrar]\nalgorithms = [\"SHA-256\"]\n");
    let request = NewRequest::new(Method::Register, "sip:tandem")
        .from("<sip:carol@tandem>")
        .to("<sip:carol@tandem>");
    bench.send(ALICE, request);
    let (_, _, challenge) = bench.phones[ALICE].response(401);
    assert_eq!(challenge.values(Header::WwwAuthenticate).count(), 1);
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let mut bench = Bench::new();
    let mut seen = Vec::new();
    for (user, password) in [("bob", "wrong"), ("nobody", "secret")] {
        let aor = format!("<sip:{user}@tandem>");
        let request = |cseq| {
            NewRequest::new(Method::Register, "sip:tandem")
                .from(aor.clone())
                .to(aor.clone())
                .call_id(user)
                .cseq(cseq)
                .header("Contact", "<sip:x@192.0.2.51>")
        };
        bench.send(ALICE, request(1));
        let (_, _, response) = bench.phones[ALICE].response(401);
        let (_, challenge) = best_challenge(&response).unwrap();
        let ha1 =
            Ha1::compute(challenge.algorithm, user.as_bytes(), b"tandem", password.as_bytes());
        let value =
            ClientSession::new(challenge).authorization(user, &ha1, "REGISTER", "sip:tandem", "c");
        bench.send(ALICE, request(2).header("Authorization", value));
        let (_, _, refusal) = bench.phones[ALICE].response(401);
        let names: Vec<_> = refusal.rows().map(|row| row.name.to_owned()).collect();
        seen.push((refusal.reason().unwrap().to_owned(), names));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(bench.switch.stats(None).sip.auth_failures, 2);
    assert!(bench.switch.world.registrar.is_empty());
}

#[test]
fn credentials_serve_once() {
    let mut bench = Bench::new();
    let request = bench.register_request(BOB, "x", 1);
    bench.send(BOB, request);
    let (_, _, challenge) = bench.phones[BOB].response(401);
    let (name, value) = bench.credentials(BOB, &challenge, "REGISTER", "sip:tandem");
    for (cseq, status) in [(2, 200), (3, 401)] {
        let request = bench.register_request(BOB, "x", cseq).header(name, &value);
        bench.send(BOB, request);
        let (_, _, response) = bench.phones[BOB].response(status);
        if status == 401 {
            assert!(response.value_str(Header::WwwAuthenticate).unwrap().contains("stale=true"));
        }
    }
}

#[test]
fn nobody_registers_for_another() {
    let mut bench = Bench::new();
    let request = |cseq| {
        NewRequest::new(Method::Register, "sip:tandem")
            .from("<sip:alice@tandem>")
            .to("<sip:bob@tandem>")
            .call_id("x")
            .cseq(cseq)
    };
    bench.send(ALICE, request(1));
    let (_, _, challenge) = bench.phones[ALICE].response(401);
    let (name, value) = bench.credentials(ALICE, &challenge, "REGISTER", "sip:tandem");
    bench.send(ALICE, request(2).header(name, value).header("Contact", "<sip:a@192.0.2.51>"));
    bench.phones[ALICE].response(403);
}

#[test]
fn expiry_is_bounded_and_kept() {
    let mut bench = Bench::new();
    let contact = bench.phones[BOB].contact();
    let short = bench.register_with(BOB, &[("Contact", &contact), ("Expires", "5")], 423);
    assert_eq!(short.min_expires(), Some(60));
    let long = bench.register_with(BOB, &[("Contact", &format!("{contact};expires=1000000"))], 200);
    assert!(long.value(Header::Contact).unwrap().ends_with(b";expires=7200"));
    bench.register_with(BOB, &[("Contact", &contact), ("Expires", "60")], 200);
    bench.advance(Duration::from_secs(59));
    assert_eq!(bench.switch.world.registrar.len(), 1);
    bench.advance(Duration::from_secs(2));
    assert!(bench.switch.world.registrar.is_empty());
}

#[test]
fn contacts_are_removed_one_by_one_and_all_together() {
    let mut bench = Bench::new();
    bench.register_with(
        BOB,
        &[
            ("Contact", "<sip:bob@192.0.2.52>, <sip:bob@192.0.2.53>;q=0.2"),
            ("Contact", "<sip:bob@192.0.2.54>"),
        ],
        200,
    );
    assert_eq!(bench.switch.world.registrar.len(), 3);
    let ok = bench.register_with(BOB, &[("Contact", "<sip:bob@192.0.2.53>;expires=0")], 200);
    assert_eq!(ok.values(Header::Contact).count(), 2);
    bench.register_with(BOB, &[("Contact", "*"), ("Expires", "60")], 400);
    bench.register_with(BOB, &[("Contact", "*, <sip:x@192.0.2.52>"), ("Expires", "0")], 400);
    let ok = bench.register_with(BOB, &[("Contact", "*"), ("Expires", "0")], 200);
    assert!(!ok.has(Header::Contact));
    assert!(bench.switch.world.registrar.is_empty());
}

#[test]
fn the_path_is_told_back_and_used() {
    let mut bench = Bench::new();
    let contact = bench.phones[BOB].contact();
    let path = "<sip:edge.example.com;lr>";
    let ok = bench.register_with(
        BOB,
        &[("Contact", &contact), ("Path", path), ("Supported", "path")],
        200,
    );
    assert_eq!(ok.value(Header::Path), Some(path.as_bytes()));
    bench.invite(ALICE, "bob");
    let (_, _, invite) = bench.phones[BOB].request(Method::Invite);
    assert_eq!(invite.value(Header::Route), Some(path.as_bytes()));
}

#[test]
fn a_phone_behind_a_nat_is_called_where_it_came_from() {
    let mut bench = Bench::new();
    bench.register_with(BOB, &[("Contact", "<sip:bob@10.0.0.7:5099;ob>")], 200);
    bench.invite(ALICE, "bob");
    let (_, _, invite) = bench.phones[BOB].request(Method::Invite);
    assert_eq!(invite.request_uri(), Some("sip:bob@10.0.0.7:5099;ob"));
}

#[test]
fn phones_behind_nats_talk_when_their_sources_are_private_too() {
    let mut bench = Bench::new();
    for (who, own, seen) in
        [(ALICE, "10.0.0.4:5060", "10.64.3.4:40000"), (BOB, "192.168.1.5:5060", "100.64.3.4:41000")]
    {
        (bench.phones[who].own, bench.phones[who].addr) =
            (own.parse().unwrap(), seen.parse().unwrap());
    }
    let (alice, bob) = bench.established();
    // A re-INVITE and a BYE from the other side: Tandem's requests towards both phones.
    let body = Fields::new().body("application/sdp", sdp(4000));
    bench.in_dialog(ALICE, alice, Method::Invite, body);
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    bench.respond(BOB, tx, Reply::new(200).body("application/sdp", sdp(5000)));
    let (_, _, _) = bench.phones[ALICE].response(200);
    bench.ack(ALICE, alice, Fields::new());
    bench.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
    bench.in_dialog(BOB, bob, Method::Bye, Fields::new());
    bench.phones[BOB].response(200);
    let (tx, _, _) = bench.phones[ALICE].request(Method::Bye);
    bench.respond(ALICE, tx, Reply::new(200));
    assert_eq!(bench.calls(), 0);
}

#[test]
fn contacts_are_asked_for_a_sign_of_life_if_the_operator_wants_it() {
    let mut bench = Bench::with("[registrar]\nping_s = 20\n");
    bench.register(BOB);
    bench.advance(Duration::from_secs(61));
    let pings = |bench: &Bench| {
        let events = bench.phones[BOB].events.iter();
        events.filter(|event| matches!(event, Event::Request { .. })).count()
    };
    assert!((2..=4).contains(&pings(&bench)), "{}", pings(&bench));
    let (tx, _, _) = bench.phones[BOB].request(Method::Options);
    bench.respond(BOB, tx, Reply::new(200));
    assert_eq!(bench.switch.world.registrar.len(), 1);
}

#[test]
fn domains_and_extensions_that_are_not_ours_are_refused() {
    let mut bench = Bench::new();
    let request = NewRequest::new(Method::Register, "sip:elsewhere.example")
        .from("<sip:alice@tandem>")
        .to("<sip:alice@tandem>");
    bench.send(ALICE, request);
    bench.phones[ALICE].response(404);
    let request = bench.register_request(ALICE, "x", 1).header("Require", "gruu");
    bench.send(ALICE, request);
    bench.phones[ALICE].response(420);
}

#[test]
fn the_phone_of_a_removed_user_is_not_called_when_the_name_is_given_again() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.register(ALICE);
    bench.users.replace(users().into_iter().filter(|it| it.username != "bob").collect(), 1);
    assert_eq!(bench.switch.stats(None).users_version, 0, "its contacts are there still");
    bench.pump();
    assert_eq!(bench.switch.stats(None).users_version, 1);
    let left = bench.switch.world.registrar.registrations();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].aor, "sip:alice@tandem");
    bench.users.replace(users(), 2);
    bench.invite(ALICE, "bob");
    bench.phones[ALICE].response(480);
    assert!(bench.phones[BOB].has_nothing());
    bench.restart();
    assert_eq!(bench.switch.world.registrar.registrations(), left, "it was journalled");
}
