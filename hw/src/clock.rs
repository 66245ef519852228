//! The clock of the engine.
//!
//! It is the system's monotonic clock, read without a system call (vDSO): 17 ns on a 2-core
//! virtual machine (`examples/figures`). Reading the time-stamp counter alone takes 8 ns there;
//! a calibrated clock of our own on top of it would save less than 10 ns per burst, which is a
//! tenth of a nanosecond per packet at full load, and would have to follow the system's frequency
//! corrections. So there is none.

use tandem_wire::time::Instant;

/// Nanoseconds of the system's monotonic clock, equal in all processes of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// The clock.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    /// Now.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        // The monotonic clock counts from boot: both parts are positive.
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Instant::from_nanos(seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn it_runs_forward_at_the_right_speed() {
        let clock = Clock::new();
        let (start, reference) = (clock.now(), std::time::Instant::now());
        assert!(start.as_nanos() > 0);
        std::thread::sleep(Duration::from_millis(20));
        let (elapsed, expected) = (clock.now() - start, reference.elapsed());
        assert!(elapsed >= Duration::from_millis(20));
        assert!(elapsed.abs_diff(expected) < Duration::from_millis(5), "{elapsed:?} {expected:?}");
    }
}
