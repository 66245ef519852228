//! Answers to digest challenges (RFC 3261 §22, RFC 8760).

use crate::media::task::random_u32;
use tandem_signalling::digest::{Algorithm, ClientSession, Ha1, best_challenge};
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;

/// User and password.
#[derive(Clone, Copy)]
pub(crate) struct Credentials<'a> {
    /// Name for authentication.
    pub(crate) user: &'a str,
    /// Password.
    pub(crate) password: &'a str,
}

impl core::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Credentials({}, …)", self.user)
    }
}

/// The row that answers a challenge.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Authorization or Proxy-Authorization.
    pub(crate) header: &'static str,
    /// Its value.
    pub(crate) value: String,
    /// Algorithm that was used.
    pub(crate) algorithm: &'static str,
    /// The server says that only the nonce was too old.
    pub(crate) stale: bool,
}

/// Answers the best challenge of a 401 or 407; `None` if there is none that can be answered.
pub(crate) fn answer(
    response: &Message,
    method: Method,
    uri: &str,
    credentials: &Credentials<'_>,
) -> Option<Answer> {
    let (header, challenge) = best_challenge(response).ok()?;
    let algorithm: Algorithm = challenge.algorithm;
    let stale = challenge.stale;
    let Credentials { user, password } = credentials;
    let realm = challenge.realm.as_bytes();
    let ha1 = Ha1::compute(algorithm, user.as_bytes(), realm, password.as_bytes());
    let cnonce = format!("{:08x}{:08x}", random_u32(), random_u32());
    let mut session = ClientSession::new(challenge);
    let value = session.authorization(user, &ha1, method.as_str(), uri, &cnonce);
    Some(Answer { header: header.name(), value, algorithm: algorithm.name(), stale })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenged(rows: &str) -> Message {
        let text = format!(
            "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n\
             {rows}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.as_bytes()).unwrap()
    }

    const CREDENTIALS: Credentials<'_> = Credentials { user: "alice", password: "secret" };

    #[test]
    fn the_first_challenge_that_can_be_answered_is_answered() {
        let response = challenged(
            "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=SHA-512-256, qop=\"auth\"\r\n\
             WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"\r\n\
             WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=MD5, qop=\"auth\", stale=true\r\n",
        );
        let answer = answer(&response, Method::Register, "sip:b", &CREDENTIALS).unwrap();
        assert_eq!((answer.header, answer.algorithm), ("Authorization", "SHA-256"));
        assert!(!answer.stale);
        assert!(answer.value.starts_with("Digest username=\"alice\", realm=\"r\""));
    }

    #[test]
    fn without_a_usable_challenge_there_is_no_answer() {
        let response = challenged("WWW-Authenticate: Basic realm=\"r\"\r\n");
        assert!(answer(&response, Method::Register, "sip:b", &CREDENTIALS).is_none());
        assert!(!format!("{CREDENTIALS:?}").contains("secret"));
    }
}
