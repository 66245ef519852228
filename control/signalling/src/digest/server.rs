//! The server's side: which challenges to send, and whether a request proves its user.

use core::time::Duration;

use tandem_wire::time::Instant;

use super::{Algorithm, Challenge, Credentials, Ha1, NonceState, NonceStore};
use crate::error::ParseError;
use crate::header::Header;
use crate::message::Message;

/// What a server asks for and accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The realm.
    pub realm: String,
    /// The algorithms, the best liked first: one challenge for each.
    pub algorithms: Vec<Algorithm>,
    /// Whether MD5 without `qop` is accepted, from clients of RFC 2069.
    pub accept_without_qop: bool,
    /// Whether `uri` of the credentials has to be the Request-URI. RFC 3261 §22.4 says that it may
    /// differ, since a proxy may have changed the Request-URI; a replay is caught by the count.
    pub strict_uri: bool,
    /// How long a nonce lives.
    pub nonce_lifetime: Duration,
}

impl Policy {
    /// SHA-256 before MD5, `qop` required, any `uri`, nonces of five minutes.
    #[must_use]
    pub fn new(realm: &str) -> Self {
        Self {
            realm: realm.to_owned(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            accept_without_qop: false,
            strict_uri: false,
            nonce_lifetime: Duration::from_secs(300),
        }
    }
}

/// Why a request is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It has no credentials for this realm: challenge.
    Missing,
    /// The password was right and the nonce is too old, used, or of an earlier run: challenge with
    /// `stale`.
    Stale,
    /// The user is not known; answer as for [`Self::WrongPassword`], or names can be guessed.
    UnknownUser,
    /// The proof is wrong.
    WrongPassword,
    /// `uri` of the credentials is not the Request-URI, and the policy wants it to be
    /// (RFC 7616 §3.4.6).
    WrongUri,
    /// The policy does not have the algorithm, or `qop` is missing.
    Policy,
    /// The credentials cannot be read: 400, or what [`ParseError::status`] says.
    Unreadable(ParseError),
}

impl Refusal {
    /// The name under which this reason is counted.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::UnknownUser => "unknown_user",
            Self::WrongPassword => "wrong_password",
            Self::WrongUri => "wrong_uri",
            Self::Policy => "policy",
            Self::Unreadable(error) => error.key(),
        }
    }
}

/// The verdict on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It comes from this user.
    Accepted {
        /// The user as the credentials name it.
        username: String,
    },
    /// It does not.
    Refused(Refusal),
}

/// Makes challenges and checks requests for one realm.
#[derive(Debug)]
pub struct Authenticator {
    policy: Policy,
    nonces: NonceStore,
}

impl Authenticator {
    /// `secret` is random and stays in this process.
    #[must_use]
    pub const fn new(policy: Policy, secret: [u8; 32]) -> Self {
        let nonces = NonceStore::new(secret, policy.nonce_lifetime);
        Self { policy, nonces }
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The values for WWW-Authenticate or Proxy-Authenticate, one row each, in this order
    /// (RFC 8760 §2.3). `origin` stands for the address that they go to; see
    /// [`Authenticator::answers_challenge`].
    pub fn challenges(&mut self, now: Instant, stale: bool, origin: u64) -> Vec<String> {
        let nonce = self.nonces.make(now, origin);
        let challenge = |algorithm: &Algorithm| {
            let challenge = Challenge {
                realm: self.policy.realm.clone(),
                nonce: nonce.clone(),
                algorithm: *algorithm,
                qop_auth: true,
                opaque: None,
                stale,
            };
            challenge.to_string()
        };
        self.policy.algorithms.iter().map(challenge).collect()
    }

    /// Whether a request has credentials, right or wrong, for a challenge that was sent to
    /// `origin` within the lifetime of its nonce: only who receives there can have it.
    #[must_use]
    pub fn answers_challenge(
        &self,
        now: Instant,
        request: &Message,
        header: Header,
        origin: u64,
    ) -> bool {
        let credentials = self.own_credentials(request, header);
        credentials.is_ok_and(|it| self.nonces.is_from(now, &it.nonce, origin))
    }

    /// Checks the credentials of a request in `header` (Authorization or Proxy-Authorization).
    /// `find` looks up the hash of a user for an algorithm.
    pub fn check(
        &mut self,
        now: Instant,
        request: &Message,
        header: Header,
        find: impl FnOnce(&str, Algorithm) -> Option<Ha1>,
    ) -> Outcome {
        match self.verify(now, request, header, find) {
            Ok(username) => Outcome::Accepted { username },
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn verify(
        &mut self,
        now: Instant,
        request: &Message,
        header: Header,
        find: impl FnOnce(&str, Algorithm) -> Option<Ha1>,
    ) -> Result<String, Refusal> {
        let credentials = self.own_credentials(request, header)?;
        let count = credentials.nonce_count();
        let legacy = self.policy.accept_without_qop && credentials.algorithm == Algorithm::Md5;
        let known = self.policy.algorithms.contains(&credentials.algorithm);
        if !known || (count.is_none() && !legacy) {
            return Err(Refusal::Policy);
        }
        let username =
            core::str::from_utf8(&credentials.username).map_err(|_| Refusal::UnknownUser)?;
        let ha1 = find(username, credentials.algorithm).ok_or(Refusal::UnknownUser)?;
        if !credentials.verify(&ha1, request.method().as_str()) {
            return Err(Refusal::WrongPassword);
        }
        if self.policy.strict_uri && !same_uri(&credentials.uri, request) {
            return Err(Refusal::WrongUri);
        }
        match self.nonces.take(now, &credentials.nonce, count) {
            NonceState::Fresh => Ok(username.to_owned()),
            NonceState::Stale | NonceState::Replayed | NonceState::Foreign => Err(Refusal::Stale),
        }
    }

    /// The first credentials for this realm (RFC 3261 §22.3: others are for others).
    fn own_credentials<'a>(
        &self,
        request: &'a Message,
        header: Header,
    ) -> Result<Credentials<'a>, Refusal> {
        let mut first_error = None;
        for value in request.values(header) {
            match Credentials::parse(value) {
                Ok(it) if *it.realm == *self.policy.realm.as_bytes() => return Ok(it),
                Ok(_) => {}
                // Another scheme is as good as nothing.
                Err(ParseError::Unsupported(_)) => {}
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.map_or(Refusal::Missing, Refusal::Unreadable))
    }
}

/// The same text, or the same URI by RFC 3261 §19.1.4: proxies may have rewritten it that far.
fn same_uri(uri: &[u8], request: &Message) -> bool {
    use crate::uri::Uri;
    let Some(target) = request.request_uri() else { return false };
    if uri == target.as_bytes() {
        return true;
    }
    match (Uri::parse_bytes(uri), Uri::parse(target)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
