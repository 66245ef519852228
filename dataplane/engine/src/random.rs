//! Numbers that spread timers and name legs; they keep no secret.

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
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number that stays the same for one use of an index.
    pub(crate) fn name(&self, index: u32, generation: u32) -> u64 {
        mix(self.seed ^ (u64::from(index) << 32 | u64::from(generation)))
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
