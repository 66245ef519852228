//! The softphone's clocks: monotonic time for all timers, wall-clock time for RTCP.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tandem_wire::time::Instant;
use tokio::time::Instant as TokioInstant;

/// Seconds between the epochs of NTP (1900) and Unix (1970), RFC 3550 §4.
const NTP_OFFSET_S: u64 = 2_208_988_800;

/// A monotonic clock whose origin is its creation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: TokioInstant,
    wall_origin: Duration,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn new() -> Self {
        let wall_origin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: TokioInstant::now(), wall_origin }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    /// A moment for tokio's timers.
    #[must_use]
    pub fn to_tokio(&self, at: Instant) -> TokioInstant {
        self.origin + at.since(Instant::ZERO)
    }

    /// A moment as an NTP time stamp in 32.32 fixed point. It never jumps, even if the wall clock
    /// is set, because only differences matter to RTCP.
    #[must_use]
    pub fn to_ntp(&self, at: Instant) -> u64 {
        let wall = self.wall_origin + at.since(Instant::ZERO);
        let fraction = (u64::from(wall.subsec_nanos()) << 32) / 1_000_000_000;
        ((wall.as_secs() + NTP_OFFSET_S) << 32) | fraction
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_counts_seconds_in_the_upper_half() {
        let clock = Clock { origin: TokioInstant::now(), wall_origin: Duration::from_secs(1) };
        let at = Instant::from_millis(1_500);
        assert_eq!(clock.to_ntp(at), ((NTP_OFFSET_S + 2) << 32) | 0x8000_0000);
    }
}
