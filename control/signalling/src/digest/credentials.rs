//! Authorization and Proxy-Authorization, and the parameter list that challenges share with them.

use std::borrow::Cow;

use super::{Algorithm, Ha1, ResponseParts, equal_in_constant_time};
use crate::error::{Malformed, ParseError, Unsupported};
use crate::text::{is_space, is_token, quoted_len, trim, trim_start, unquote};

/// Splits off the scheme, which has to be Digest.
pub(super) fn digest_params(value: &[u8]) -> Result<AuthParams<'_>, ParseError> {
    let value = trim(value);
    let end = value.iter().position(|it| is_space(*it)).unwrap_or(value.len());
    if !value[..end].eq_ignore_ascii_case(b"Digest") {
        return Err(Unsupported::AuthScheme.into());
    }
    Ok(AuthParams { rest: trim(&value[end..]) })
}

/// `name=value, name="value"` (RFC 3261 §25.1, auth-param).
pub(super) struct AuthParams<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for AuthParams<'a> {
    type Item = Result<(&'a [u8], Cow<'a, [u8]>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        // Stray commas are harmless here, and some phones end the list with one.
        while let [b',', rest @ ..] = self.rest {
            self.rest = trim_start(rest);
        }
        if self.rest.is_empty() {
            return None;
        }
        let pair = self.pair();
        if pair.is_none() {
            self.rest = b"";
        }
        Some(pair.ok_or(Malformed::Authorization))
    }
}

impl<'a> AuthParams<'a> {
    fn pair(&mut self) -> Option<(&'a [u8], Cow<'a, [u8]>)> {
        let equals = memchr::memchr(b'=', self.rest)?;
        let name = trim(&self.rest[..equals]);
        let rest = trim_start(&self.rest[equals + 1..]);
        let len = match rest.first() {
            Some(b'"') => quoted_len(rest)?,
            _ => memchr::memchr(b',', rest).unwrap_or(rest.len()),
        };
        let (value, rest) = rest.split_at(len);
        let value = trim(value);
        let rest = trim_start(rest);
        if !is_token(name) || value.is_empty() || !matches!(rest.first(), None | Some(b',')) {
            return None;
        }
        self.rest = rest;
        Some((name, unquote(value)))
    }
}

/// What a client proves its password with; quotes and escapes are resolved.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The user.
    pub username: Cow<'a, [u8]>,
    /// The realm.
    pub realm: Cow<'a, [u8]>,
    /// The nonce of the challenge.
    pub nonce: Cow<'a, [u8]>,
    /// The Request-URI as the client hashed it.
    pub uri: Cow<'a, [u8]>,
    /// The proof, in hexadecimal digits.
    pub response: Cow<'a, [u8]>,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The opaque text of the challenge.
    pub opaque: Option<Cow<'a, [u8]>>,
    /// Only with `qop=auth`.
    count: Option<Count<'a>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Count<'a> {
    /// Eight hexadecimal digits, as they were hashed.
    nc: Cow<'a, [u8]>,
    number: u32,
    cnonce: Cow<'a, [u8]>,
}

impl core::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Credentials({}, …)", self.algorithm.name())
    }
}

impl<'a> Credentials<'a> {
    /// Reads the value of Authorization or Proxy-Authorization.
    ///
    /// # Errors
    /// Malformed when a mandatory part is missing or appears twice; unsupported for other schemes,
    /// algorithms and qualities of protection.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        const NAMES: [&str; 10] = [
            "username",
            "realm",
            "nonce",
            "uri",
            "response",
            "algorithm",
            "opaque",
            "qop",
            "cnonce",
            "nc",
        ];
        let mut parts: [Option<Cow<'a, [u8]>>; 10] = Default::default();
        for pair in digest_params(value)? {
            let (name, value) = pair?;
            let place = NAMES.iter().position(|it| name.eq_ignore_ascii_case(it.as_bytes()));
            if let Some(part) = place.and_then(|it| parts.get_mut(it)) {
                if part.is_some() {
                    return Err(Malformed::Authorization.into());
                }
                *part = Some(value);
            }
        }
        let [username, realm, nonce, uri, response, algorithm, opaque, qop, cnonce, nc] = parts;
        let need = |part: Option<Cow<'a, [u8]>>| part.ok_or(Malformed::Authorization);
        let algorithm = Algorithm::parse(algorithm.as_deref())?;
        let count = match qop {
            None => None,
            Some(it) if it.eq_ignore_ascii_case(b"auth") => {
                let (nc, cnonce) = (need(nc)?, need(cnonce)?);
                let number = parse_count(&nc).ok_or(Malformed::Authorization)?;
                Some(Count { nc, number, cnonce })
            }
            Some(_) => return Err(Unsupported::Qop.into()),
        };
        let this = Self {
            username: need(username)?,
            realm: need(realm)?,
            nonce: need(nonce)?,
            uri: need(uri)?,
            response: need(response)?,
            algorithm,
            opaque,
            count,
        };
        if this.response.len() != algorithm.hex_len() {
            return Err(Malformed::Authorization.into());
        }
        Ok(this)
    }

    /// The count of this nonce; `None` without `qop`.
    #[must_use]
    pub fn nonce_count(&self) -> Option<u32> {
        self.count.as_ref().map(|it| it.number)
    }

    /// Whether the proof is right for this method; compared in constant time.
    #[must_use]
    pub fn verify(&self, ha1: &Ha1, method: &str) -> bool {
        if ha1.algorithm() != self.algorithm {
            return false;
        }
        let expected = ha1.response(&ResponseParts {
            method: method.as_bytes(),
            uri: &self.uri,
            nonce: &self.nonce,
            count: self.count.as_ref().map(|it| (&*it.nc, &*it.cnonce)),
        });
        equal_in_constant_time(expected.as_bytes(), &self.response.to_ascii_lowercase())
    }
}

/// Eight hexadecimal digits, not zero.
fn parse_count(digits: &[u8]) -> Option<u32> {
    if digits.len() != 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let text = core::str::from_utf8(digits).ok()?;
    u32::from_str_radix(text, 16).ok().filter(|it| *it != 0)
}
