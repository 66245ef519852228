//! Digest authentication of requests (RFC 3261 §22, RFC 8760).

use super::Registrar;
use crate::config::types;
use crate::core::Settings;
use crate::guard::{AuthNote, Source};
use crate::logging::Redacted;
use crate::store::users::{User, UserMap};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use tandem_signalling::digest::{Algorithm, Authenticator, Ha1, Outcome, Policy, Refusal};
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::stack::Reply;
use tandem_wire::time::Instant;
use tracing::field::display;

/// As what a request is challenged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// 401 and WWW-Authenticate.
    Registrar,
    /// 407 and Proxy-Authenticate.
    Proxy,
}

impl Role {
    const fn status(self) -> u16 {
        match self {
            Self::Registrar => 401,
            Self::Proxy => 407,
        }
    }

    const fn challenge(self) -> &'static str {
        match self {
            Self::Registrar => "WWW-Authenticate",
            Self::Proxy => "Proxy-Authenticate",
        }
    }

    const fn credentials(self) -> Header {
        match self {
            Self::Registrar => Header::Authorization,
            Self::Proxy => Header::ProxyAuthorization,
        }
    }
}

/// Makes and checks challenges as the operator wants them.
pub(super) fn authenticator(settings: &Settings, secret: [u8; 32]) -> Authenticator {
    let mut policy = Policy::new(&settings.realm);
    policy.nonce_lifetime = settings.nonce_lifetime;
    policy.algorithms = settings
        .algorithms
        .iter()
        .map(|it| match it {
            types::Algorithm::Sha256 => Algorithm::Sha256,
            types::Algorithm::Md5 => Algorithm::Md5,
        })
        .collect();
    Authenticator::new(policy, secret)
}

/// 64 hexadecimal digits that nobody can know.
pub(super) fn decoy(secret: &[u8; 32]) -> String {
    use core::fmt::Write;
    let mut hash = Sha256::new();
    hash.update(b"decoy");
    hash.update(secret);
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

impl Registrar {
    /// The user that a request from the address `source` comes from.
    ///
    /// Whoever is not let in learns nothing of who exists: the challenge depends on the realm
    /// alone, and the same digests are computed for a user who does not exist as for one who does.
    ///
    /// # Errors
    /// The answer: a challenge, the same for a wrong password and for a user who does not exist,
    /// or 400 for credentials that cannot be read.
    pub fn authenticate(
        &mut self,
        now: Instant,
        request: &Message,
        source: IpAddr,
        role: Role,
    ) -> Result<String, Reply> {
        let users = self.users.load();
        let realm = &self.realm;
        let decoy = &self.decoy;
        let find = |name: &str, algorithm| Some(ha1(&users, name, realm, algorithm, decoy));
        let outcome = self.authenticator.check(now, request, role.credentials(), find);
        let refusal = match outcome {
            Outcome::Accepted { username } => {
                self.note = Some(AuthNote::Accepted);
                return Ok(username);
            }
            Outcome::Refused(refusal) => refusal,
        };
        let origin = Source::of(source).bits();
        self.note = Some(match refusal {
            Refusal::Missing | Refusal::Stale => {
                let from = request.from().ok();
                let name = from.as_ref().and_then(|it| it.uri().user_decoded());
                AuthNote::Challenged {
                    known: name.is_some_and(|name| users.find(&name, realm).is_some()),
                }
            }
            _ => AuthNote::Wrong {
                answers_challenge: self.authenticator.answers_challenge(
                    now,
                    request,
                    role.credentials(),
                    origin,
                ),
            },
        });
        let stale = refusal == Refusal::Stale;
        match refusal {
            Refusal::Missing | Refusal::Stale => self.counters.challenges += 1,
            Refusal::Unreadable(error) => {
                self.counters.failures += 1;
                return Err(Reply::new(error.status()).reason("Unreadable credentials"));
            }
            _ => {
                self.counters.failures += 1;
                let from = request.from().ok();
                let user = from.as_ref().map(|it| display(Redacted(it.uri().as_str())));
                // In full, and before all that the sender chooses: who bans by it must not be led
                // to somebody else.
                let source = source.to_canonical();
                tracing::warn!(%source, reason = refusal.key(), method = %request.method(), user, "credentials refused");
            }
        }
        let mut challenges = self.authenticator.challenges(now, stale, origin);
        if users.has_md5_alone(realm) {
            // Who was imported with an MD5 digest alone cannot answer the others, and phones answer
            // the first that they understand. For everybody, or it would tell who exists.
            challenges.sort_by_key(|challenge| !challenge.contains("algorithm=MD5"));
        }
        let mut reply = Reply::new(role.status());
        for challenge in challenges {
            reply = reply.header(role.challenge(), challenge);
        }
        Err(reply)
    }
}

/// The digest of a user, or one that fits no password; both are made each time, so that it takes as
/// long for the one as for the other.
fn ha1(users: &UserMap, name: &str, realm: &str, algorithm: Algorithm, decoy: &str) -> Ha1 {
    let user: Option<&User> = users.find(name, realm);
    let stored = user.and_then(|user| match algorithm {
        Algorithm::Md5 => user.ha1_md5.as_deref(),
        Algorithm::Sha256 => user.ha1_sha256.as_deref(),
    });
    let length = match algorithm {
        Algorithm::Md5 => 32,
        Algorithm::Sha256 => 64,
    };
    let known = Ha1::from_hex(algorithm, stored.unwrap_or(&decoy[..length.min(decoy.len())]));
    let other = Ha1::compute(algorithm, name.as_bytes(), realm.as_bytes(), decoy.as_bytes());
    match known {
        Some(known) if stored.is_some() => known,
        _ => other,
    }
}
