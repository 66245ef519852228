//! Numbers that spread timers and name legs; they keep no secret.

use tandem_hw::splitmix;

/// A small generator (splitmix64).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random {
    state: u64,
    seed: u64,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed, seed }
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        splitmix::next(&mut self.state)
    }

    /// A number that stays the same for one use of an index.
    pub(crate) fn name(&self, index: u32, generation: u32) -> u64 {
        splitmix::mix(self.seed ^ (u64::from(index) << 32 | u64::from(generation)))
    }
}
