//! Keying and ICE attributes: `a=crypto` (RFC 4568), `a=fingerprint` and `a=setup` (RFC 8122,
//! RFC 4145), `a=ice-*` and `a=candidate` (RFC 8839).

use super::{Line, Section, SessionDescription};
use core::fmt;

/// Attributes that only make sense to an ICE agent (RFC 8839 §5).
const ICE: [&[u8]; 9] = [
    b"candidate",
    b"remote-candidates",
    b"end-of-candidates",
    b"ice-ufrag",
    b"ice-pwd",
    b"ice-lite",
    b"ice-mismatch",
    b"ice-options",
    b"ice-pacing",
];

/// Attributes of DTLS keying (RFC 8122, RFC 4145, RFC 8842).
const DTLS: [&[u8]; 4] = [b"fingerprint", b"setup", b"connection", b"tls-id"];

/// One `a=crypto` line (RFC 4568 §4). Its key does not print.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Crypto<'a> {
    /// Tag that pairs offer and answer.
    pub tag: u32,
    /// `AES_CM_128_HMAC_SHA1_80`, …
    pub suite: &'a str,
    /// `inline:` and the key, with lifetime and MKI if written.
    pub key_params: &'a str,
}

impl fmt::Debug for Crypto<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto")
            .field("tag", &self.tag)
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

impl SessionDescription {
    /// The `a=crypto` lines of a media line that can be read, in order.
    pub fn cryptos(&self, media: usize) -> impl Iterator<Item = Crypto<'_>> {
        self.attributes(Section::Media(media), "crypto").filter_map(|value| {
            let mut fields = core::str::from_utf8(value).ok()?.split_ascii_whitespace();
            let tag = fields.next()?.parse().ok()?;
            Some(Crypto { tag, suite: fields.next()?, key_params: fields.next()? })
        })
    }

    /// The certificate fingerprint that holds for a media line: its own, else the session's.
    #[must_use]
    pub fn fingerprint(&self, media: usize) -> Option<&[u8]> {
        self.inherited_attribute(media, "fingerprint")
    }

    /// The role in the DTLS handshake (`active`, `passive`, `actpass`).
    #[must_use]
    pub fn setup(&self, media: usize) -> Option<&[u8]> {
        self.inherited_attribute(media, "setup")
    }

    /// The ICE user fragment and password that hold for a media line.
    #[must_use]
    pub fn ice_credentials(&self, media: usize) -> Option<(&[u8], &[u8])> {
        Some((
            self.inherited_attribute(media, "ice-ufrag")?,
            self.inherited_attribute(media, "ice-pwd")?,
        ))
    }

    /// Removes every ICE attribute, so that the reader does not take us for an ICE agent
    /// (RFC 8839 §4.2.4: it falls back to `c=` and `m=`).
    pub fn remove_ice(&mut self) {
        self.remove_everywhere(|line| named(line, &ICE));
    }

    /// Removes every attribute of DTLS keying.
    pub fn remove_dtls(&mut self) {
        self.remove_everywhere(|line| named(line, &DTLS));
    }

    /// Removes what bundles several media lines on one transport (RFC 9143), so that each keeps
    /// its own.
    pub fn remove_bundle(&mut self) {
        self.remove_everywhere(|line| {
            line.attribute().is_some_and(|(name, value)| {
                name == b"bundle-only" || (name == b"group" && value.starts_with(b"BUNDLE"))
            })
        });
    }

    fn remove_everywhere(&mut self, remove: impl Fn(Line<'_>) -> bool) {
        self.remove_lines(Section::Session, &remove);
        for media in 0..self.media_count() {
            self.remove_lines(Section::Media(media), &remove);
        }
    }
}

fn named(line: Line<'_>, names: &[&[u8]]) -> bool {
    line.attribute().is_some_and(|(name, _)| names.contains(&name))
}
