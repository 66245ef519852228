//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760): MD5 and SHA-256 with `qop=auth`.
//!
//! [`Authenticator`] is the server: it makes challenges and checks requests. [`ClientSession`] is
//! the client: it answers a challenge and counts. Session keys (`-sess`) and `auth-int` are refused.
//! MD5 without `qop` (RFC 2069) is taken only where the policy says so.

mod challenge;
mod credentials;
mod nonce;
mod server;

use core::fmt;
use core::hint::black_box;

use md5::Md5;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::Unsupported;

pub use challenge::{Challenge, ClientSession, best_challenge};
pub use credentials::Credentials;
pub use nonce::{NonceState, NonceStore};
pub use server::{Authenticator, Outcome, Policy, Refusal};

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// MD5 (RFC 2617), which most phones still speak.
    Md5,
    /// SHA-256 (RFC 8760).
    Sha256,
}

impl Algorithm {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// Reads a name, in any case; none means MD5 (RFC 3261 §22.4).
    ///
    /// # Errors
    /// Unsupported for anything else, as for the `-sess` variants.
    pub fn parse(name: Option<&[u8]>) -> Result<Self, Unsupported> {
        match name {
            None => Ok(Self::Md5),
            Some(it) if it.eq_ignore_ascii_case(b"MD5") => Ok(Self::Md5),
            Some(it) if it.eq_ignore_ascii_case(b"SHA-256") => Ok(Self::Sha256),
            Some(_) => Err(Unsupported::Algorithm),
        }
    }

    const fn hex_len(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 => 64,
        }
    }

    /// The hash of the parts with colons between them.
    fn hash(self, parts: &[&[u8]]) -> Hex {
        match self {
            Self::Md5 => Hex::new(&hash_parts(Md5::new(), parts)),
            Self::Sha256 => Hex::new(&hash_parts(Sha256::new(), parts)),
        }
    }
}

fn hash_parts<D: md5::Digest>(mut hasher: D, parts: &[&[u8]]) -> Vec<u8> {
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            hasher.update(b":");
        }
        hasher.update(part);
    }
    hasher.finalize().to_vec()
}

/// A hash as hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Hex {
    digits: [u8; 64],
    len: u8,
}

impl Hex {
    fn new(octets: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut this = Self { digits: [0; 64], len: 0 };
        for (pair, octet) in this.digits.chunks_exact_mut(2).zip(octets) {
            pair[0] = DIGITS[usize::from(octet >> 4)];
            pair[1] = DIGITS[usize::from(octet & 15)];
            this.len += 2;
        }
        this
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[..usize::from(self.len)]
    }
}

/// The hash of user, realm and password: as good as the password for this realm, so it is wiped when
/// dropped and never printed.
#[derive(Clone)]
pub struct Ha1 {
    algorithm: Algorithm,
    hex: Hex,
}

impl Ha1 {
    /// Computes it from a password.
    #[must_use]
    pub fn compute(algorithm: Algorithm, username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        Self { algorithm, hex: algorithm.hash(&[username, realm, password]) }
    }

    /// Takes one that is already computed, as hexadecimal digits in any case; `None` when it does not
    /// have the length of the algorithm or holds other octets.
    #[must_use]
    pub fn from_hex(algorithm: Algorithm, text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() != algorithm.hex_len() || !text.bytes().all(|it| it.is_ascii_hexdigit()) {
            return None;
        }
        let mut hex = Hex { digits: [0; 64], len: u8::try_from(text.len()).ok()? };
        hex.digits[..text.len()].copy_from_slice(text.as_bytes());
        hex.digits.make_ascii_lowercase();
        Some(Self { algorithm, hex })
    }

    /// The hexadecimal digits, for the store of users alone.
    #[must_use]
    pub fn expose_hex(&self) -> String {
        String::from_utf8_lossy(self.hex.as_bytes()).into_owned()
    }

    /// Which algorithm it is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn response(&self, parts: &ResponseParts<'_>) -> Hex {
        let ha2 = self.algorithm.hash(&[parts.method, parts.uri]);
        let (ha1, ha2) = (self.hex.as_bytes(), ha2.as_bytes());
        match parts.count {
            Some((nc, cnonce)) => {
                self.algorithm.hash(&[ha1, parts.nonce, nc, cnonce, b"auth", ha2])
            }
            None => self.algorithm.hash(&[ha1, parts.nonce, ha2]),
        }
    }
}

impl Drop for Ha1 {
    fn drop(&mut self) {
        self.hex.digits = [0; 64];
        black_box(&self.hex.digits);
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ha1({}, …)", self.algorithm.name())
    }
}

struct ResponseParts<'a> {
    method: &'a [u8],
    uri: &'a [u8],
    nonce: &'a [u8],
    /// `nc` and `cnonce` with `qop=auth`; `None` without `qop`.
    count: Option<(&'a [u8], &'a [u8])>,
}

/// Whether two secrets are equal, in a time that depends on their lengths only.
fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && bool::from(a.ct_eq(b))
}

#[cfg(test)]
mod tests;
