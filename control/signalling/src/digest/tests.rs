//! Digest authentication by the examples of the RFCs, and by what attackers try.

use core::time::Duration;

use tandem_wire::time::Instant;

use super::*;
use crate::error::{Malformed, ParseError, Unsupported};
use crate::header::Header;
use crate::message::Message;

#[test]
fn the_example_of_rfc_2617_3_5() {
    let ha1 = Ha1::compute(Algorithm::Md5, b"Mufasa", b"testrealm@host.com", b"Circle Of Life");
    assert_eq!(ha1.expose_hex(), "939e7578ed9e3c518a452acee763bce9");
    let value = br#"Digest username="Mufasa",
            realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
            uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b",
            response="6629fae49393a05397450978507c4ef1",
            opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
    let value = value.map(|it| if it == b'\n' { b' ' } else { it });
    let credentials = Credentials::parse(&value).unwrap();
    assert!(credentials.verify(&ha1, "GET"));
    assert!(!credentials.verify(&ha1, "POST"));
    assert_eq!(credentials.nonce_count(), Some(1));
}

#[test]
fn the_example_of_rfc_7616_3_9_1() {
    let parts = |algorithm| {
        let ha1 = Ha1::compute(algorithm, b"Mufasa", b"http-auth@example.org", b"Circle of Life");
        let hex = ha1.response(&ResponseParts {
            method: b"GET",
            uri: b"/dir/index.html",
            nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            count: Some((b"00000001", b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")),
        });
        String::from_utf8_lossy(hex.as_bytes()).into_owned()
    };
    assert_eq!(parts(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
    assert_eq!(
        parts(Algorithm::Sha256),
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    );
}

#[test]
fn broken_credentials_are_refused() {
    let good = r#"Digest username="a", realm="r", nonce="n", uri="sip:r", response="0123456789abcdef0123456789abcdef""#;
    assert!(Credentials::parse(good.as_bytes()).is_ok());
    assert!(Credentials::parse(format!("{good},").as_bytes()).is_ok());
    let error = |text: &str| Credentials::parse(text.as_bytes()).map(|_| ()).unwrap_err();
    let malformed = ParseError::from(Malformed::Authorization);
    assert_eq!(error("NoOneKnowsThisScheme opaque-data=here"), Unsupported::AuthScheme.into());
    assert_eq!(error(""), Unsupported::AuthScheme.into());
    assert_eq!(error("Digest"), malformed);
    assert_eq!(error(&good.replace("nonce", "x")), malformed);
    assert_eq!(error(&good.replace("0123456789abcdef\"", "\"")), malformed);
    assert_eq!(error(&format!("{good}, username=\"b\"")), malformed);
    assert_eq!(error(&format!("{good}, opaque=\"x")), malformed);
    assert_eq!(error(&format!("{good}, opaque")), malformed);
    assert_eq!(error(&format!("{good}, qop=auth")), malformed);
    assert_eq!(error(&format!("{good}, qop=auth, cnonce=\"c\", nc=1")), malformed);
    assert_eq!(error(&format!("{good}, qop=auth, cnonce=\"c\", nc=00000000")), malformed);
    assert_eq!(error(&format!("{good}, qop=auth-int")), Unsupported::Qop.into());
    assert_eq!(error(&format!("{good}, algorithm=MD5-sess")), Unsupported::Algorithm.into());
    assert_eq!(error(&format!("{good}, algorithm=SHA-256")), malformed);
}

#[test]
fn hashes_from_hex() {
    let text = "939E7578ED9E3C518A452ACEE763BCE9";
    let ha1 = Ha1::from_hex(Algorithm::Md5, text).unwrap();
    assert_eq!(ha1.expose_hex(), text.to_lowercase());
    assert_eq!(format!("{ha1:?}"), "Ha1(MD5, …)");
    assert!(Ha1::from_hex(Algorithm::Sha256, text).is_none());
    assert!(Ha1::from_hex(Algorithm::Md5, &text.replace('9', "g")).is_none());
}

fn request(more: &str) -> Message {
    let text = format!(
        "REGISTER sip:tandem SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
         CSeq: 1 REGISTER\r\n{more}\r\n"
    );
    Message::parse(text.as_bytes()).unwrap()
}

fn challenged(server: &mut Authenticator, now: Instant, stale: bool) -> Message {
    let mut text = "SIP/2.0 401 Unauthorized\r\nCSeq: 1 REGISTER\r\n\
                    WWW-Authenticate: Basic realm=\"x\"\r\n"
        .to_owned();
    for value in server.challenges(now, stale, 7) {
        text.push_str(&format!("WWW-Authenticate: {value}\r\n"));
    }
    Message::parse(format!("{text}\r\n").as_bytes()).unwrap()
}

fn find(username: &str, algorithm: Algorithm) -> Option<Ha1> {
    (username == "alice").then(|| Ha1::compute(algorithm, b"alice", b"tandem", b"secret"))
}

#[test]
fn a_client_and_a_server_agree() {
    let now = Instant::from_millis(5);
    let mut server = Authenticator::new(Policy::new("tandem"), [1; 32]);
    let check = |server: &mut Authenticator, now, value: &str| {
        let request = request(&format!("Authorization: {value}\r\n"));
        server.check(now, &request, Header::Authorization, find)
    };
    let (header, challenge) = best_challenge(&challenged(&mut server, now, false)).unwrap();
    assert_eq!(header, Header::Authorization);
    assert_eq!(challenge.algorithm, Algorithm::Sha256);
    assert_eq!(Challenge::parse(challenge.to_string().as_bytes()), Ok(challenge.clone()));
    let ha1 = Ha1::compute(challenge.algorithm, b"alice", b"tandem", b"secret");
    let mut client = ClientSession::new(challenge);
    let first = client.authorization("alice", &ha1, "REGISTER", "sip:tandem", "c1");
    let second = client.authorization("alice", &ha1, "REGISTER", "sip:tandem", "c2");
    assert!(first.contains("nc=00000001") && second.contains("nc=00000002"));
    let accepted = Outcome::Accepted { username: "alice".to_owned() };
    assert_eq!(check(&mut server, now, &first), accepted);
    assert_eq!(check(&mut server, now, &second), accepted);
    // A replay, an old nonce, and one of an earlier run: the password is right, so `stale`.
    assert_eq!(check(&mut server, now, &first), Outcome::Refused(Refusal::Stale));
    let third = client.authorization("alice", &ha1, "REGISTER", "sip:tandem", "c3");
    let late = now + Duration::from_secs(301);
    assert_eq!(check(&mut server, late, &third), Outcome::Refused(Refusal::Stale));
    let mut restarted = Authenticator::new(Policy::new("tandem"), [2; 32]);
    assert_eq!(check(&mut restarted, now, &third), Outcome::Refused(Refusal::Stale));
    let (_, again) = best_challenge(&challenged(&mut server, late, true)).unwrap();
    assert!(again.stale);

    let answers = |origin| {
        let request = request(&format!("Authorization: {third}\r\n"));
        server.answers_challenge(now, &request, Header::Authorization, origin)
    };
    assert!(answers(7) && !answers(8), "the challenge went to one address alone");
    let wrong = Ha1::compute(Algorithm::Sha256, b"alice", b"tandem", b"guess");
    let value = client.authorization("alice", &wrong, "REGISTER", "sip:tandem", "c");
    assert_eq!(check(&mut server, now, &value), Outcome::Refused(Refusal::WrongPassword));
    let value = client.authorization("bob", &ha1, "REGISTER", "sip:tandem", "c");
    assert_eq!(check(&mut server, now, &value), Outcome::Refused(Refusal::UnknownUser));
    let value = client.authorization("alice", &ha1, "REGISTER", "sip:other", "c");
    let policy = Policy { strict_uri: true, ..Policy::new("tandem") };
    let mut strict = Authenticator::new(policy, [1; 32]);
    assert_eq!(check(&mut strict, now, &value), Outcome::Refused(Refusal::WrongUri));
    assert_eq!(check(&mut server, now, &value), accepted);
    let value = client.authorization("alice", &ha1, "INVITE", "sip:tandem", "c");
    assert_eq!(check(&mut server, now, &value), Outcome::Refused(Refusal::WrongPassword));
    let foreign = value.replace("tandem", "elsewhere");
    assert_eq!(check(&mut server, now, &foreign), Outcome::Refused(Refusal::Missing));
    assert_eq!(check(&mut server, now, "NoOneKnows x=y"), Outcome::Refused(Refusal::Missing));
    let unreadable = Refusal::Unreadable(Malformed::Authorization.into());
    assert_eq!(check(&mut server, now, "Digest x"), Outcome::Refused(unreadable));
    let none = server.check(now, &request(""), Header::Authorization, find);
    assert_eq!(none, Outcome::Refused(Refusal::Missing));
}

#[test]
fn clients_without_qop_need_the_policy() {
    let policy = Policy { accept_without_qop: true, ..Policy::new("tandem") };
    let mut lenient = Authenticator::new(policy, [1; 32]);
    let mut strict = Authenticator::new(Policy::new("tandem"), [1; 32]);
    let value = lenient.challenges(Instant::ZERO, false, 7)[1].replace(", qop=\"auth\"", "");
    let challenge = Challenge::parse(value.as_bytes()).unwrap();
    assert!(!challenge.qop_auth);
    let ha1 = Ha1::compute(Algorithm::Md5, b"alice", b"tandem", b"secret");
    let value =
        ClientSession::new(challenge).authorization("alice", &ha1, "REGISTER", "sip:tandem", "");
    assert!(!value.contains("nc="));
    let request = request(&format!("Authorization: {value}\r\n"));
    let check = |server: &mut Authenticator| {
        server.check(Instant::ZERO, &request, Header::Authorization, find)
    };
    assert_eq!(check(&mut strict), Outcome::Refused(Refusal::Policy));
    assert_eq!(check(&mut lenient), Outcome::Accepted { username: "alice".to_owned() });
    assert_eq!(check(&mut lenient), Outcome::Refused(Refusal::Stale));
}

#[test]
fn challenges_that_cannot_be_answered() {
    let error = |text: &str| Challenge::parse(text.as_bytes()).map(|_| ()).unwrap_err();
    assert_eq!(error("Basic realm=\"x\""), Unsupported::AuthScheme.into());
    assert_eq!(error("Digest realm=\"x\""), Malformed::Challenge.into());
    assert_eq!(error("Digest realm=\"x\", nonce=\"n\", qop=\"auth-int\""), Unsupported::Qop.into());
    assert_eq!(
        error("Digest realm=\"x\", nonce=\"n\", algorithm=SHA-512-256"),
        Unsupported::Algorithm.into()
    );
    assert_eq!(best_challenge(&request("")).unwrap_err(), Malformed::Challenge.into());
}
