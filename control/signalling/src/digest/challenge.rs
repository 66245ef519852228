//! WWW-Authenticate and Proxy-Authenticate, and the client that answers them.

use std::fmt;

use super::credentials::digest_params;
use super::{Algorithm, Ha1, ResponseParts};
use crate::error::{Limit, Malformed, ParseError, Unsupported};
use crate::header::Header;
use crate::limits::MAX_CHALLENGES;
use crate::message::Message;
use crate::text::quote_into;

/// What a server asks of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The realm whose password is asked for.
    pub realm: String,
    /// The nonce to hash.
    pub nonce: String,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Whether `qop=auth` is offered; `false` is the way of RFC 2069.
    pub qop_auth: bool,
    /// To be sent back as it is.
    pub opaque: Option<String>,
    /// The password was right and the nonce too old: try again without asking the user.
    pub stale: bool,
}

impl Challenge {
    /// Reads the value of WWW-Authenticate or Proxy-Authenticate.
    ///
    /// # Errors
    /// Malformed when realm or nonce is missing; unsupported for other schemes, algorithms, and when
    /// only `auth-int` is offered.
    pub fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let mut this = Self {
            realm: String::new(),
            nonce: String::new(),
            algorithm: Algorithm::Md5,
            qop_auth: false,
            opaque: None,
            stale: false,
        };
        let mut realm = None;
        let mut nonce = None;
        for pair in digest_params(value)? {
            let (name, value) = pair.map_err(|_| Malformed::Challenge)?;
            let is = |it: &str| name.eq_ignore_ascii_case(it.as_bytes());
            let text = || String::from_utf8(value.to_vec()).map_err(|_| Malformed::Challenge);
            if is("realm") {
                realm = Some(text()?);
            } else if is("nonce") {
                nonce = Some(text()?);
            } else if is("opaque") {
                this.opaque = Some(text()?);
            } else if is("stale") {
                this.stale = value.eq_ignore_ascii_case(b"true");
            } else if is("algorithm") {
                this.algorithm = Algorithm::parse(Some(&value))?;
            } else if is("qop") {
                this.qop_auth = value
                    .split(|it| *it == b',')
                    .any(|it| it.trim_ascii().eq_ignore_ascii_case(b"auth"));
                if !this.qop_auth {
                    return Err(Unsupported::Qop.into());
                }
            }
        }
        this.realm = realm.ok_or(Malformed::Challenge)?;
        this.nonce = nonce.ok_or(Malformed::Challenge)?;
        Ok(this)
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(160);
        out.push_str("Digest realm=");
        quote_into(&mut out, &self.realm);
        out.push_str(", nonce=");
        quote_into(&mut out, &self.nonce);
        if let Some(opaque) = &self.opaque {
            out.push_str(", opaque=");
            quote_into(&mut out, opaque);
        }
        if self.stale {
            out.push_str(", stale=true");
        }
        out.push_str(", algorithm=");
        out.push_str(self.algorithm.name());
        if self.qop_auth {
            out.push_str(", qop=\"auth\"");
        }
        f.write_str(&out)
    }
}

/// The topmost challenge of a 401 or 407 that can be answered (RFC 8760 §2.4: the server puts the one
/// that it likes best first), and the header that answers it.
///
/// # Errors
/// Why the first challenge could not be used when none can; malformed when there is none.
pub fn best_challenge(response: &Message) -> Result<(Header, Challenge), ParseError> {
    let ways = [
        (Header::WwwAuthenticate, Header::Authorization),
        (Header::ProxyAuthenticate, Header::ProxyAuthorization),
    ];
    let mut first_error = None;
    for (asked, answer) in ways {
        for (place, value) in response.values(asked).enumerate() {
            if place == MAX_CHALLENGES {
                first_error.get_or_insert(Limit::Challenges.into());
                break;
            }
            match Challenge::parse(value) {
                Ok(challenge) => return Ok((answer, challenge)),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
    }
    Err(first_error.unwrap_or_else(|| Malformed::Challenge.into()))
}

/// A client's use of one challenge: counts its nonce.
#[derive(Clone, Debug)]
pub struct ClientSession {
    challenge: Challenge,
    count: u32,
}

impl ClientSession {
    /// Begins with a fresh challenge.
    #[must_use]
    pub const fn new(challenge: Challenge) -> Self {
        Self { challenge, count: 0 }
    }

    /// The challenge that is answered.
    #[must_use]
    pub const fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// The value of Authorization or Proxy-Authorization for the next request; `cnonce` is a fresh
    /// random token of the caller, `uri` the Request-URI. `ha1` has to be for the realm and the
    /// algorithm of the challenge.
    #[must_use]
    pub fn authorization(
        &mut self,
        username: &str,
        ha1: &Ha1,
        method: &str,
        uri: &str,
        cnonce: &str,
    ) -> String {
        use fmt::Write;
        self.count = self.count.saturating_add(1);
        let nc = format!("{:08x}", self.count);
        let challenge = &self.challenge;
        let response = ha1.response(&ResponseParts {
            method: method.as_bytes(),
            uri: uri.as_bytes(),
            nonce: challenge.nonce.as_bytes(),
            count: challenge.qop_auth.then_some((nc.as_bytes(), cnonce.as_bytes())),
        });
        let mut out = String::with_capacity(320);
        out.push_str("Digest username=");
        quote_into(&mut out, username);
        for (name, value) in
            [(", realm=", &*challenge.realm), (", nonce=", &challenge.nonce), (", uri=", uri)]
        {
            out.push_str(name);
            quote_into(&mut out, value);
        }
        let response = String::from_utf8_lossy(response.as_bytes());
        let algorithm = challenge.algorithm.name();
        let _ = write!(out, ", response=\"{response}\", algorithm={algorithm}");
        if challenge.qop_auth {
            out.push_str(", cnonce=");
            quote_into(&mut out, cnonce);
            let _ = write!(out, ", qop=auth, nc={nc}");
        }
        if let Some(opaque) = &challenge.opaque {
            out.push_str(", opaque=");
            quote_into(&mut out, opaque);
        }
        out
    }
}
