//! Ids of calls: 64 bits, unique over restarts without a disk.

use core::fmt;
use jiff::Timestamp;

/// Bits of the random part.
const RANDOM_BITS: u32 = 22;

/// The id of a call: 42 bits of wall-clock milliseconds, so that a restarted daemon never repeats
/// one and ids sort by time, and 22 random bits. It is also the call's context in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

impl CallId {
    /// The id of a call that began at `at`.
    #[must_use]
    pub fn new(at: Timestamp, random: u64) -> Self {
        let ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
        Self((ms << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1)))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl core::str::FromStr for CallId {
    type Err = core::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_the_time_and_come_back_from_text() {
        let at: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let id = CallId::new(at, u64::MAX);
        assert_eq!(id.0 >> RANDOM_BITS, 1_767_323_045_678);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(CallId::new(at + jiff::SignedDuration::from_millis(1), 0) > id);
    }
}
