//! Our credentials at a trunk: challenges are answered, and their nonces used again for what comes
//! after, counted (RFC 3261 §22, RFC 7616 §3.4).

use tandem_signalling::digest::{Algorithm, ClientSession, Ha1, best_challenge};
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::stack::Fields;

/// Realms of one trunk at most: its own, and proxies before it.
const MAX_REALMS: usize = 4;
/// Times that one request is repeated because its nonce was too old.
const MAX_STALE: u8 = 2;

/// User name and password.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// Name for the digest.
    pub username: &'a str,
    /// Password.
    pub password: &'a str,
}

impl core::fmt::Debug for Account<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Account({}, …)", self.username)
    }
}

/// What one request has answered already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    realms: Vec<String>,
    stale: u8,
}

/// The challenges of one trunk.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    sessions: Vec<Session>,
}

#[derive(Clone, Debug)]
struct Session {
    header: Header,
    client: ClientSession,
    ha1: Ha1,
}

impl Credentials {
    /// A 401 or 407 came: whether the request is worth to be sent again with
    /// [`Credentials::authorize`]. A second challenge of the same realm means that the password is
    /// wrong, unless it says that the nonce was too old (RFC 3261 §22.1).
    pub fn challenged(
        &mut self,
        account: Account<'_>,
        response: &Message,
        attempts: &mut Attempts,
    ) -> bool {
        let Ok((header, challenge)) = best_challenge(response) else { return false };
        if account.username.is_empty() {
            return false;
        }
        if attempts.realms.contains(&challenge.realm) {
            if !challenge.stale || attempts.stale >= MAX_STALE {
                return false;
            }
            attempts.stale += 1;
        } else if attempts.realms.len() >= MAX_REALMS {
            return false;
        } else {
            attempts.realms.push(challenge.realm.clone());
        }
        let algorithm: Algorithm = challenge.algorithm;
        let (user, realm) = (account.username.as_bytes(), challenge.realm.as_bytes());
        let ha1 = Ha1::compute(algorithm, user, realm, account.password.as_bytes());
        let same =
            |it: &Session| it.header == header && it.client.challenge().realm == challenge.realm;
        self.sessions.retain(|it| !same(it));
        if self.sessions.len() >= MAX_REALMS {
            self.sessions.remove(0);
        }
        self.sessions.push(Session { header, client: ClientSession::new(challenge), ha1 });
        true
    }

    /// Whether there is a challenge to answer before it is asked again.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The rows for a request; each call counts the nonces up. `cnonce` is fresh for each request.
    pub fn authorize(
        &mut self,
        account: Account<'_>,
        method: &str,
        uri: &str,
        cnonce: u64,
    ) -> Vec<(&'static str, String)> {
        let cnonce = format!("{cnonce:016x}");
        let rows = self.sessions.iter_mut().map(|it| {
            let value = it.client.authorization(account.username, &it.ha1, method, uri, &cnonce);
            (it.header.name(), value)
        });
        rows.collect()
    }
}

/// The fields with these rows.
#[must_use]
pub fn with_rows(mut fields: Fields, rows: &[(&'static str, String)]) -> Fields {
    for (name, value) in rows {
        fields.push(name, value);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_signalling::digest::Credentials as Read;

    const ACCOUNT: Account<'static> = Account { username: "line1", password: "secret" };

    fn challenge(rows: &str) -> Message {
        let text = format!(
            "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             {rows}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.as_bytes()).unwrap()
    }

    fn digest(realm: &str, nonce: &str, more: &str) -> Message {
        challenge(&format!(
            "WWW-Authenticate: Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\"{more}\r\n"
        ))
    }

    #[test]
    fn a_challenge_is_answered_and_its_nonce_counted_on() {
        let mut credentials = Credentials::default();
        assert!(credentials.authorize(ACCOUNT, "INVITE", "sip:x", 1).is_empty());
        let mut attempts = Attempts::default();
        assert!(credentials.challenged(ACCOUNT, &digest("r", "n1", ""), &mut attempts));
        for count in 1..=3 {
            let rows = credentials.authorize(ACCOUNT, "BYE", "sip:x", count);
            assert_eq!((rows.len(), rows[0].0), (1, "Authorization"));
            let read = Read::parse(rows[0].1.as_bytes()).unwrap();
            assert_eq!(read.nonce_count(), Some(u32::try_from(count).unwrap()));
            let ha1 = Ha1::compute(Algorithm::Md5, b"line1", b"r", b"secret");
            assert!(read.verify(&ha1, "BYE"));
        }
    }

    #[test]
    fn a_wrong_password_is_not_tried_twice_and_a_stale_nonce_is() {
        let mut credentials = Credentials::default();
        let mut attempts = Attempts::default();
        assert!(credentials.challenged(ACCOUNT, &digest("r", "n1", ""), &mut attempts));
        assert!(!credentials.challenged(ACCOUNT, &digest("r", "n2", ""), &mut attempts));
        let stale = digest("r", "n3", ", stale=true");
        assert!(credentials.challenged(ACCOUNT, &stale, &mut attempts));
        assert!(credentials.challenged(ACCOUNT, &stale, &mut attempts));
        assert!(!credentials.challenged(ACCOUNT, &stale, &mut attempts));
        // The next request begins anew: the old nonce may have run out meanwhile.
        let mut next = Attempts::default();
        assert!(credentials.challenged(ACCOUNT, &digest("r", "n4", ""), &mut next));
        let rows = credentials.authorize(ACCOUNT, "INVITE", "sip:x", 9);
        assert_eq!(rows.len(), 1);
        assert!(rows[0].1.contains("nonce=\"n4\"") && rows[0].1.contains("nc=00000001"));
    }

    #[test]
    fn a_proxy_and_a_server_are_answered_both() {
        let mut credentials = Credentials::default();
        let mut attempts = Attempts::default();
        let proxy = challenge("Proxy-Authenticate: Digest realm=\"p\", nonce=\"n\"\r\n");
        assert!(credentials.challenged(ACCOUNT, &proxy, &mut attempts));
        assert!(credentials.challenged(ACCOUNT, &digest("r", "n", ""), &mut attempts));
        let names: Vec<_> = credentials
            .authorize(ACCOUNT, "INVITE", "sip:x", 1)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["Proxy-Authorization", "Authorization"]);
    }

    #[test]
    fn what_cannot_be_answered_is_not() {
        let mut credentials = Credentials::default();
        let basic = challenge("WWW-Authenticate: Basic realm=\"r\"\r\n");
        assert!(!credentials.challenged(ACCOUNT, &basic, &mut Attempts::default()));
        let nobody = Account { username: "", password: "" };
        let asked = digest("r", "n", "");
        assert!(!credentials.challenged(nobody, &asked, &mut Attempts::default()));
        assert!(credentials.is_empty());
        for n in 0..9 {
            let asked = digest(&format!("r{n}"), "n", "");
            assert!(credentials.challenged(ACCOUNT, &asked, &mut Attempts::default()));
        }
        assert_eq!(credentials.sessions.len(), MAX_REALMS);
        assert!(!format!("{ACCOUNT:?} {credentials:?}").contains("secret"));
    }
}
