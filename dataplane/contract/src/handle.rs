//! Names of terminations and contexts that stay unique over reuse and restarts.

use bytemuck::{Pod, Zeroable};

/// A termination: the streams of one party on one endpoint (ITU-T H.248.1 §6.2).
///
/// The endpoint (a local port pair) and the termination that uses it share the handle: the engine
/// binds endpoints ahead and announces each under the handle that a later command will use. The
/// generation changes with every reuse, so a late command or packet never meets a stranger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct Handle {
    /// The engine, 0 for the local one.
    pub engine: u16,
    /// The worker (one core) that owns it.
    pub worker: u16,
    /// Index in the worker's tables.
    pub index: u32,
    /// Reuse count of the index; 0 is never used, so the all-zero handle names nothing.
    pub generation: u32,
}

impl Handle {
    /// Names nothing.
    pub const NONE: Self = Self { engine: 0, worker: 0, index: 0, generation: 0 };

    /// Whether this names something.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.generation != 0
    }
}

/// A context: the terminations that talk to each other (ITU-T H.248.1 §6.1). Control chooses it,
/// unique over its restarts (a call's 64-bit id).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(transparent)]
pub struct ContextId(pub u64);
