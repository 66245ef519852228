//! Where the loop gets its time.

use tandem_wire::time::Instant;

/// A clock that the loop reads once per burst and once after sending it.
pub trait Clock {
    /// Now.
    fn now(&self) -> Instant;
}

impl Clock for tandem_hw::clock::Clock {
    #[inline]
    fn now(&self) -> Instant {
        Self::now(self)
    }
}
