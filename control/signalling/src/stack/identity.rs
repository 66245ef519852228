//! What Tandem makes up: branches, tags, Call-IDs; and the secret hash that tables are indexed by.
//!
//! Every generated value carries the shard of its signalling thread, so that a message finds its
//! thread without a table. Values come from SHA-256 over the seed and a counter: the same seed
//! gives the same values, and what goes out tells nothing about what comes next (RFC 3261 §19.3).

use crate::via::MAGIC_COOKIE;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};

/// Letters that follow the cookie in Tandem's own branches, and begin its tags and Call-IDs.
const MARK: &str = "t";

/// Source of everything random in a stack.
#[derive(Clone, Debug)]
pub(crate) struct Generator {
    seed: u64,
    shard: u16,
    counter: u64,
    block: [u64; 4],
    used: usize,
}

impl Generator {
    pub(crate) const fn new(seed: u64, shard: u16) -> Self {
        Self { seed, shard, counter: 0, block: [0; 4], used: 4 }
    }

    /// 64 random bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        if self.used == self.block.len() {
            self.refill();
        }
        let value = self.block[self.used];
        self.used += 1;
        value
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    fn refill(&mut self) {
        let mut hash = Sha256::new();
        hash.update(b"tandem-signalling");
        hash.update(self.seed.to_le_bytes());
        hash.update(self.shard.to_le_bytes());
        hash.update(self.counter.to_le_bytes());
        let digest = hash.finalize();
        for (word, octets) in self.block.iter_mut().zip(digest.chunks_exact(8)) {
            *word = octets.iter().fold(0, |value, octet| (value << 8) | u64::from(*octet));
        }
        self.counter += 1;
        self.used = 0;
    }

    /// A From or To tag.
    pub(crate) fn tag(&mut self) -> String {
        let random = self.next_u64();
        format!("{MARK}{:04x}{random:016x}", self.shard)
    }

    /// The tag that always belongs to `print`.
    pub(crate) fn tag_of(&self, print: u128) -> String {
        let bits = u64::try_from(print >> 64).unwrap_or(0);
        format!("{MARK}{:04x}{bits:016x}", self.shard)
    }

    /// A Call-ID.
    pub(crate) fn call_id(&mut self) -> String {
        let (high, low) = (self.next_u64(), self.next_u64());
        format!("{MARK}{:04x}{high:016x}{low:016x}", self.shard)
    }

    /// A branch that leads straight to the client transaction `key`.
    pub(crate) fn branch(&mut self, key: u64) -> String {
        let mut branch = String::with_capacity(48);
        let random = self.next_u64();
        let shard = self.shard;
        write!(branch, "{MAGIC_COOKIE}{MARK}{shard:04x}{key:016x}{random:016x}")
            .expect("writing to a string succeeds");
        branch
    }
}

/// The shard in a tag or Call-ID that Tandem generated, `None` for anybody else's.
///
/// ```
/// use tandem_signalling::stack::shard_of;
/// assert_eq!(shard_of("t0003a1b2c3d4e5f60718"), Some(3));
/// assert_eq!(shard_of("1928301774"), None);
/// ```
#[must_use]
pub fn shard_of(token: &str) -> Option<u16> {
    let rest = token.strip_prefix(MARK)?;
    let plausible = matches!(rest.len(), 20 | 36) && rest.bytes().all(|b| b.is_ascii_hexdigit());
    if !plausible {
        return None;
    }
    u16::from_str_radix(rest.get(..4)?, 16).ok()
}

/// The shard in a branch that Tandem generated, `None` for anybody else's.
#[must_use]
pub fn shard_of_branch(branch: &str) -> Option<u16> {
    parse_branch(branch).map(|(shard, _)| shard)
}

/// Shard and transaction key of one of Tandem's branches.
pub(crate) fn parse_branch(branch: &str) -> Option<(u16, u64)> {
    let rest = branch.strip_prefix(MAGIC_COOKIE)?.strip_prefix(MARK)?;
    if rest.len() != 36 || !rest.is_ascii() {
        return None;
    }
    let shard = u16::from_str_radix(rest.get(..4)?, 16).ok()?;
    let key = u64::from_str_radix(rest.get(4..20)?, 16).ok()?;
    Some((shard, key))
}

/// A 128-bit hash under a secret: equal fingerprints mean equal parts, and nobody outside can
/// make two that collide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fingerprinter {
    secret: [u64; 2],
}

impl Fingerprinter {
    pub(crate) const fn new(secret: [u64; 2]) -> Self {
        Self { secret }
    }

    /// Hash of `parts`; where one part ends and the next begins counts.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> u128 {
        let [high, low] = self.secret.map(|secret| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(secret);
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
            hasher.finish()
        });
        (u128::from(high) << 64) | u128::from(low)
    }
}

/// A table by fingerprint. Fingerprints are hashes under a secret, and are not hashed again.
pub(crate) type PrintIndex<V> = HashMap<u128, V, BuildHasherDefault<PrintHasher>>;

/// Takes the low half of a fingerprint as its hash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PrintHasher(u64);

impl Hasher for PrintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for octet in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*octet);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
    fn write_u128(&mut self, print: u128) {
        self.0 = print as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_carry_the_shard_and_repeat_with_the_seed() {
        let mut generator = Generator::new(7, 0x12);
        let (tag, call_id) = (generator.tag(), generator.call_id());
        assert_eq!(shard_of(&tag), Some(0x12));
        assert_eq!(shard_of(&call_id), Some(0x12));
        let branch = generator.branch(0x1_0000_0002);
        assert_eq!(parse_branch(&branch), Some((0x12, 0x1_0000_0002)));
        assert_eq!(shard_of_branch(&branch), Some(0x12));
        let mut again = Generator::new(7, 0x12);
        assert_eq!(again.tag(), tag);
        assert_ne!(again.tag(), tag);
    }

    #[test]
    fn foreign_values_have_no_shard() {
        assert_eq!(shard_of("a6c85cf"), None);
        assert_eq!(shard_of("t0001"), None);
        assert_eq!(shard_of("t+00100112233445566aa"), None);
        assert_eq!(parse_branch("z9hG4bK776asdhds"), None);
        assert_eq!(parse_branch("z9hG4bKt\u{fc}"), None);
    }

    #[test]
    fn fingerprints_tell_where_parts_end() {
        let fingerprinter = Fingerprinter::new([1, 2]);
        assert_eq!(fingerprinter.of(&[b"ab", b"c"]), fingerprinter.of(&[b"ab", b"c"]));
        assert_ne!(fingerprinter.of(&[b"ab", b"c"]), fingerprinter.of(&[b"a", b"bc"]));
        assert_ne!(fingerprinter.of(&[b"a"]), Fingerprinter::new([1, 3]).of(&[b"a"]));
    }

    #[test]
    fn below_stays_below() {
        let mut generator = Generator::new(1, 0);
        assert!((0..1000).all(|_| generator.below(10) < 10));
        assert_eq!(generator.below(0), 0);
    }
}
