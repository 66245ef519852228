//! What the signalling thread is asked to do from outside: drain, stop, take other settings.

use crate::config::Config;
use crate::media::MediaConfig;
use core::time::Duration;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A configuration for a running signalling thread.
#[derive(Debug)]
pub(super) struct NewConfig {
    pub(super) config: Config,
    pub(super) media: MediaConfig,
}

/// Whether and how the thread shall stop.
#[derive(Debug, Default)]
pub(super) struct Stop {
    now: AtomicBool,
    /// How long calls may go on, ms; 0 while nobody has asked.
    drain_ms: AtomicU64,
}

impl Stop {
    /// Calls may go on for so long; then, or when none is left, it stops.
    pub(super) fn drain(&self, limit: Duration) {
        let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        self.drain_ms.store(ms, Ordering::Relaxed);
    }

    /// It stops at once.
    pub(super) fn stop(&self) {
        self.now.store(true, Ordering::Relaxed);
    }

    /// Whether it shall stop at once.
    pub(super) fn is_now(&self) -> bool {
        self.now.load(Ordering::Relaxed)
    }

    /// For how long calls may go on, if it shall drain.
    pub(super) fn drains(&self) -> Option<Duration> {
        let ms = self.drain_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(ms))
    }
}
