//! Who calls, and who is told: identities, privacy, signatures, and what one leg sees of the other.

use super::*;

/// Alice calls Bob with these rows; gives what Bob's phone gets.
fn called(config: &str, rows: &[(&str, &str)]) -> String {
    let mut bench = Bench::with(config);
    bench.register(BOB);
    bench.invite_with(ALICE, "bob", |request| {
        rows.iter()
            .fold(request, |request, (name, value)| request.header(name, value))
            .body("application/sdp", sdp(4000))
    });
    let (_, _, invite) = bench.phones[BOB].request(Method::Invite);
    String::from_utf8_lossy(invite.bytes()).into_owned()
}

#[test]
fn a_phone_is_not_told_an_asserted_identity_and_nobody_forges_one() {
    let forged = [("P-Asserted-Identity", "<sip:boss@tandem>"), ("X-Keep-Too", "1")];
    let invite = called("", &forged);
    assert!(!invite.contains("P-Asserted-Identity") && !invite.contains("boss"), "{invite}");
    assert!(invite.contains("X-Keep-Too: 1\r\n"));
    let invite = called("[call]\nshow_identity = true\n", &forged);
    assert!(invite.contains("P-Asserted-Identity: \"Alice A.\" <sip:alice@tandem>\r\n"));
    assert!(!invite.contains("boss"));
}

#[test]
fn a_trusted_peer_is_told_and_believed() {
    let config = "[sip]\ntrusted = [\"192.0.2.51\", \"192.0.2.52\"]\n";
    let rows = [("P-Asserted-Identity", "<sip:+4930123@carrier.example>"), ("Privacy", "id")];
    let invite = called(config, &rows);
    assert!(invite.contains("P-Asserted-Identity: <sip:+4930123@carrier.example>\r\n"));
    assert!(invite.contains("Privacy: id\r\n"));
    assert!(invite.contains("From: \"Alice A.\" <sip:alice@tandem>;tag="));
}

#[test]
fn a_private_caller_stays_unknown() {
    for privacy in ["id", "user", "header;user;critical"] {
        let rows = [
            ("Privacy", privacy),
            ("Subject", "from alice"),
            ("P-Preferred-Identity", "<sip:alice@tandem>"),
        ];
        let invite = called("[call]\nshow_identity = true\n", &rows);
        assert!(invite.contains("From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="));
        assert!(!invite.to_lowercase().contains("alice"), "{privacy}: {invite}");
        assert!(!invite.contains("Privacy"), "{privacy}: {invite}");
    }
}

#[test]
fn an_anonymous_from_is_taken_from_who_proves_to_be_a_user() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite_with(ALICE, "bob", |request| {
        request
            .from("\"Anonymous\" <sip:anonymous@anonymous.invalid>")
            .body("application/sdp", sdp(4000))
    });
    let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
    assert!(invite.from().unwrap().uri().as_str().contains("anonymous.invalid"));
    bench.respond(BOB, tx, Reply::new(486));
    assert_eq!(bench.only_record().from, "sip:alice@tandem");
}

#[test]
fn privacy_that_cannot_be_granted_is_refused_if_it_is_critical() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite_with(ALICE, "bob", |request| {
        request.header("Privacy", "magic;critical").body("application/sdp", sdp(4000))
    });
    bench.phones[ALICE].response(500);
    assert!(bench.phones[BOB].has_nothing());
}

#[test]
fn a_signature_its_date_and_the_history_go_on_as_they_are() {
    let rows = [
        ("Identity", "eyJhbGciOiJFUzI1NiJ9.e30.sig;info=<https://cert.example/a.cer>;alg=ES256"),
        ("Date", "Thu, 21 Feb 2002 13:02:03 GMT"),
        ("History-Info", "<sip:old@example.com>;index=1"),
        ("Diversion", "<sip:old@example.com>;reason=no-answer"),
        ("Reason", "Q.850;cause=16"),
    ];
    let invite = called("", &rows);
    for (name, value) in rows {
        assert!(invite.contains(&format!("{name}: {value}\r\n")), "{name} in {invite}");
    }
}

#[test]
fn a_warning_does_not_tell_the_address_of_the_other_phone() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    let (tx, _, _) = bench.phones[BOB].request(Method::Invite);
    let warning = "304 192.0.2.52:5060 \"no such codec\", 399 bob-phone \"x\"";
    bench.respond(BOB, tx, Reply::new(488).header("Warning", warning));
    let (_, _, response) = bench.phones[ALICE].response(488);
    let warnings: Vec<_> = response.values(Header::Warning).collect();
    assert_eq!(warnings, [&b"304 tandem \"no such codec\""[..], b"399 tandem \"x\""]);
}

#[test]
fn losers_are_told_that_somebody_else_answered() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.register(BOB2);
    bench.invite(ALICE, "bob");
    let (first, _, _) = bench.phones[BOB].request(Method::Invite);
    let (second, _, _) = bench.phones[BOB2].request(Method::Invite);
    bench.respond(BOB2, second, Reply::new(180));
    bench.respond(BOB, first, Reply::new(200).body("application/sdp", sdp(5000)));
    let cancel = bench.phones[BOB2].take(|event| match event {
        Event::Cancelled { request, .. } => Some(request.clone()),
        _ => None,
    });
    let reason = &b"SIP;cause=200;text=\"Call completed elsewhere\""[..];
    assert_eq!(cancel.value(Header::Reason), Some(reason));
}
