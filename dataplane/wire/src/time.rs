//! Integer time that the caller passes in.

use core::ops::{Add, Sub};
use core::time::Duration;

/// A monotonic instant in nanoseconds since an arbitrary origin.
///
/// The engine reads it once per burst, the signalling stack gets it with every input, and a test
/// makes it up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    ns: u64,
}

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self { ns: 0 };

    /// An instant `ns` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(ns: u64) -> Self {
        Self { ns }
    }

    /// An instant `ms` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self { ns: ms * 1_000_000 }
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.ns
    }

    /// Milliseconds since the origin, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.ns / 1_000_000
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.ns.saturating_sub(earlier.ns))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        let ns = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self { ns: self.ns.saturating_add(ns) }
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_and_subtracting_agree() {
        let start = Instant::from_millis(5);
        let later = start + Duration::from_micros(1500);
        assert_eq!(later - start, Duration::from_micros(1500));
        assert_eq!(start - later, Duration::ZERO);
        assert_eq!(later.as_millis(), 6);
    }
}
