//! Nonces that need no memory until they are used: time, number, whom it was made for, and a keyed
//! hash over them.
//!
//! Only a nonce that was used with a right password is remembered, with a window of its counts, so a
//! flood of requests without passwords fills nothing.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use tandem_wire::time::Instant;

use super::equal_in_constant_time;
use crate::limits::MAX_TRACKED_NONCES;

/// What is known of a nonce that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NonceState {
    /// It is ours, young enough, and this count is new.
    Fresh,
    /// It is ours, and too old or forgotten.
    Stale,
    /// It is ours, and this count was used before.
    Replayed,
    /// It is not ours.
    Foreign,
}

/// Which counts of one nonce were used: the highest, and the 64 below it.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    highest: u32,
    /// Bit n: `highest - n` was used.
    used: u64,
}

impl Window {
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let shift = count - self.highest;
            self.used = self.used.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = self.highest - count;
        if bit >= 64 || self.used >> bit & 1 == 1 {
            return false;
        }
        self.used |= 1 << bit;
        true
    }
}

/// Makes and checks nonces.
pub struct NonceStore {
    secret: [u8; 32],
    lifetime: Duration,
    next: u64,
    /// Nonces up to this number that are not in `windows` count as stale.
    forgotten: u64,
    windows: BTreeMap<u64, (Instant, Window)>,
    capacity: usize,
}

impl fmt::Debug for NonceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NonceStore({} tracked)", self.windows.len())
    }
}

impl Drop for NonceStore {
    fn drop(&mut self) {
        self.secret = [0; 32];
        core::hint::black_box(&self.secret);
    }
}

/// Time, number and origin.
const TEXT_LEN: usize = 8 + 8 + 8;
const TAG_LEN: usize = 16;
const NONCE_LEN: usize = 2 * (TEXT_LEN + TAG_LEN);

/// What a nonce of ours says.
#[derive(Clone, Copy, Debug)]
struct Opened {
    made: Instant,
    number: u64,
    origin: u64,
}

impl NonceStore {
    /// `secret` is random and stays in this process; a nonce lives for `lifetime`.
    #[must_use]
    pub const fn new(secret: [u8; 32], lifetime: Duration) -> Self {
        Self {
            secret,
            lifetime,
            next: 1,
            forgotten: 0,
            windows: BTreeMap::new(),
            capacity: MAX_TRACKED_NONCES,
        }
    }

    /// A new nonce; `origin` stands for the address that it is sent to, see
    /// [`NonceStore::is_from`].
    pub fn make(&mut self, now: Instant, origin: u64) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let number = self.next;
        self.next += 1;
        let mut octets = [0; NONCE_LEN / 2];
        octets[..8].copy_from_slice(&now.as_nanos().to_be_bytes());
        octets[8..16].copy_from_slice(&number.to_be_bytes());
        octets[16..TEXT_LEN].copy_from_slice(&origin.to_be_bytes());
        let tag = self.tag(&octets[..TEXT_LEN]);
        octets[TEXT_LEN..].copy_from_slice(&tag);
        let mut nonce = String::with_capacity(NONCE_LEN);
        for octet in octets {
            nonce.push(char::from(DIGITS[usize::from(octet >> 4)]));
            nonce.push(char::from(DIGITS[usize::from(octet & 15)]));
        }
        nonce
    }

    /// Whether a nonce is ours, young enough, and was made for `origin`: who sends it from there
    /// has received what was sent there, so the address is not forged.
    #[must_use]
    pub fn is_from(&self, now: Instant, nonce: &[u8], origin: u64) -> bool {
        self.open(nonce).is_some_and(|it| it.origin == origin && !self.is_old(now, it.made))
    }

    fn is_old(&self, now: Instant, made: Instant) -> bool {
        made > now || now.since(made) > self.lifetime
    }

    /// Looks at a nonce without using it up; the count is not looked at.
    #[must_use]
    pub fn peek(&self, now: Instant, nonce: &[u8]) -> NonceState {
        let Some(Opened { made, number, .. }) = self.open(nonce) else {
            return NonceState::Foreign;
        };
        if self.is_old(now, made)
            || (number <= self.forgotten && !self.windows.contains_key(&number))
        {
            NonceState::Stale
        } else {
            NonceState::Fresh
        }
    }

    /// Uses a nonce with a count, or once and for all when there is no count; call it only after the
    /// proof was verified.
    pub fn take(&mut self, now: Instant, nonce: &[u8], count: Option<u32>) -> NonceState {
        let state = self.peek(now, nonce);
        let fresh = self.open(nonce).filter(|_| state == NonceState::Fresh);
        let Some(Opened { made, number, .. }) = fresh else { return state };
        self.make_room(now, number);
        let (_, window) = self.windows.entry(number).or_insert((made, Window::default()));
        if window.take(count.unwrap_or(u32::MAX)) {
            NonceState::Fresh
        } else {
            NonceState::Replayed
        }
    }

    /// Nonces that are remembered.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.windows.len()
    }

    /// Forgets the oldest while they are too old, or while there is no room for `number`.
    fn make_room(&mut self, now: Instant, number: u64) {
        while let Some((oldest, (made, _))) = self.windows.first_key_value() {
            let oldest = *oldest;
            let full = self.windows.len() >= self.capacity && !self.windows.contains_key(&number);
            if now.since(*made) <= self.lifetime && !full {
                return;
            }
            self.windows.remove(&oldest);
            self.forgotten = self.forgotten.max(oldest);
        }
    }

    fn open(&self, nonce: &[u8]) -> Option<Opened> {
        if nonce.len() != NONCE_LEN {
            return None;
        }
        let mut octets = [0; NONCE_LEN / 2];
        for (octet, pair) in octets.iter_mut().zip(nonce.chunks_exact(2)) {
            *octet = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        let (text, tag) = octets.split_at(TEXT_LEN);
        if !equal_in_constant_time(&self.tag(text), tag) {
            return None;
        }
        let field = |at: usize| Some(u64::from_be_bytes(text.get(at..at + 8)?.try_into().ok()?));
        Some(Opened { made: Instant::from_nanos(field(0)?), number: field(8)?, origin: field(16)? })
    }

    fn tag(&self, text: &[u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&hmac_sha256(&self.secret, text)[..TAG_LEN]);
        tag
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// HMAC (RFC 2104) with a key of at most one block.
fn hmac_sha256(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let mut inner_pad = [0x36; 64];
    let mut outer_pad = [0x5c; 64];
    for (place, octet) in key.iter().enumerate() {
        inner_pad[place] ^= octet;
        outer_pad[place] ^= octet;
    }
    let inner = Sha256::new().chain_update(inner_pad).chain_update(text).finalize();
    Sha256::new().chain_update(outer_pad).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> NonceStore {
        NonceStore::new([7; 32], Duration::from_secs(60))
    }

    #[test]
    fn hmac_of_rfc_4231_test_case_2() {
        // The key "Jefe", which zero octets behind it do not change.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let hex: String = hmac_sha256(&key, b"what do ya want for nothing?")
            .iter()
            .map(|it| format!("{it:02x}"))
            .collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn counts_may_overtake_each_other_and_not_repeat() {
        let mut store = store();
        let nonce = store.make(Instant::ZERO, 7);
        let mut take = |count| store.take(Instant::from_millis(1), nonce.as_bytes(), Some(count));
        assert_eq!(take(1), NonceState::Fresh);
        assert_eq!(take(3), NonceState::Fresh);
        assert_eq!(take(2), NonceState::Fresh);
        assert_eq!(take(2), NonceState::Replayed);
        assert_eq!(take(1000), NonceState::Fresh);
        assert_eq!(take(936), NonceState::Replayed);
        assert_eq!(take(937), NonceState::Fresh);
        assert_eq!(take(1000), NonceState::Replayed);
        assert_eq!(take(u32::MAX), NonceState::Fresh);
    }

    #[test]
    fn without_a_count_a_nonce_is_good_once() {
        let mut store = store();
        let nonce = store.make(Instant::ZERO, 7);
        assert_eq!(store.take(Instant::ZERO, nonce.as_bytes(), None), NonceState::Fresh);
        assert_eq!(store.take(Instant::ZERO, nonce.as_bytes(), None), NonceState::Replayed);
    }

    #[test]
    fn age_and_origin() {
        let mut store = store();
        let nonce = store.make(Instant::from_millis(10), 7);
        let late = Instant::from_millis(60_011);
        assert_eq!(store.peek(Instant::from_millis(60_010), nonce.as_bytes()), NonceState::Fresh);
        assert_eq!(store.take(late, nonce.as_bytes(), Some(1)), NonceState::Stale);
        assert_eq!(store.peek(late, b"0123"), NonceState::Foreign);
        let mut forged = nonce.into_bytes();
        forged[20] ^= 1;
        assert_eq!(store.peek(Instant::ZERO, &forged), NonceState::Foreign);
        let mut other = NonceStore::new([8; 32], Duration::from_secs(60));
        let foreign = other.make(Instant::ZERO, 7);
        assert_eq!(store.peek(Instant::ZERO, foreign.as_bytes()), NonceState::Foreign);
    }

    #[test]
    fn a_nonce_proves_the_address_it_was_sent_to_and_serves_at_any() {
        let mut store = store();
        let nonce = store.make(Instant::ZERO, 7);
        let at = |ms| Instant::from_millis(ms);
        assert!(store.is_from(at(1), nonce.as_bytes(), 7));
        assert!(!store.is_from(at(1), nonce.as_bytes(), 8), "another address");
        assert!(!store.is_from(at(60_001), nonce.as_bytes(), 7), "too old");
        assert!(!store.is_from(at(1), &nonce.as_bytes()[1..], 7), "not ours");
        assert_eq!(store.take(at(1), nonce.as_bytes(), Some(1)), NonceState::Fresh);
    }

    #[test]
    fn the_table_has_a_limit_and_forgets_the_oldest() {
        let mut store = store();
        store.capacity = 3;
        let nonces: Vec<_> = (0..5).map(|_| store.make(Instant::ZERO, 7)).collect();
        for nonce in &nonces {
            assert_eq!(store.take(Instant::ZERO, nonce.as_bytes(), Some(1)), NonceState::Fresh);
        }
        assert_eq!(store.tracked(), 3);
        // What was forgotten cannot be replayed.
        assert_eq!(store.take(Instant::ZERO, nonces[0].as_bytes(), Some(1)), NonceState::Stale);
        assert_eq!(store.take(Instant::ZERO, nonces[4].as_bytes(), Some(1)), NonceState::Replayed);
        let late = Instant::from_millis(61_000);
        let nonce = store.make(late, 7);
        assert_eq!(store.take(late, nonce.as_bytes(), Some(1)), NonceState::Fresh);
        assert_eq!(store.tracked(), 1);
    }
}
