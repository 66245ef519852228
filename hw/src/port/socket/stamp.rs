//! Arrival times by the kernel, so that what is measured is the network and not how soon a worker
//! woke up.
//!
//! The kernel stamps a packet with the real-time clock when the driver hands it over
//! (`SO_TIMESTAMPNS`). Only the age of a stamp is used: it is subtracted from the time of the
//! burst. An age that can't be (the clock was set) counts as none.
//!
//! Invariants of the unsafe code:
//! - What a call points to lives on the stack until the call returns.

use rustix::fd::AsRawFd;
use std::net::UdpSocket;
use tandem_wire::time::Instant;

/// Octets of the control message that carries a stamp: its header, and seconds and nanoseconds.
pub(super) const STAMP_LEN: usize = size_of::<libc::cmsghdr>() + size_of::<libc::timespec>();

/// Oldest age that is believed; packets do not wait longer in a socket that is read.
const MAX_AGE_NS: u64 = 1_000_000_000;

/// Asks the kernel for stamps. Without them packets arrive when they are read.
pub(super) fn enable(socket: &UdpSocket) {
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, which lives until the call returns.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            4,
        )
    };
}

/// The time of a burst, by the engine's clock and by the clock of the stamps.
#[derive(Clone, Copy, Debug)]
pub(super) struct BurstTime {
    now: Instant,
    real_ns: i64,
}

impl BurstTime {
    /// Reads the clock of the stamps.
    pub(super) fn new(now: Instant) -> Self {
        let real = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self { now, real_ns: nanos(real.tv_sec, real.tv_nsec).unwrap_or(0) }
    }

    /// When a packet with this control message arrived.
    #[inline]
    pub(super) fn arrival(&self, control: &[u8]) -> Instant {
        let age_ns = parse(control)
            .and_then(|stamp_ns| self.real_ns.checked_sub(stamp_ns))
            .and_then(|age_ns| u64::try_from(age_ns).ok())
            .filter(|&age_ns| age_ns <= MAX_AGE_NS)
            .unwrap_or(0);
        Instant::from_nanos(self.now.as_nanos().saturating_sub(age_ns))
    }
}

/// Nanoseconds since the Unix epoch; `None` beyond the year 2262.
fn nanos(seconds: i64, nanos: i64) -> Option<i64> {
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// The stamp in a control message, ns since the Unix epoch.
fn parse(control: &[u8]) -> Option<i64> {
    let (header, rest) = control.split_at_checked(size_of::<libc::cmsghdr>())?;
    let (len, rest_of_header) = header.split_first_chunk()?;
    let (level, kind) = rest_of_header.split_first_chunk()?;
    let is_stamp = usize::from_ne_bytes(*len) == STAMP_LEN
        && i32::from_ne_bytes(*level) == libc::SOL_SOCKET
        && i32::from_ne_bytes(*kind.first_chunk()?) == libc::SCM_TIMESTAMPNS;
    if !is_stamp {
        return None;
    }
    let (seconds, rest) = rest.split_first_chunk()?;
    nanos(i64::from_ne_bytes(*seconds), i64::from_ne_bytes(*rest.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(kind: i32, seconds: i64, nanos: i64) -> Vec<u8> {
        let mut octets = STAMP_LEN.to_ne_bytes().to_vec();
        octets.extend(libc::SOL_SOCKET.to_ne_bytes());
        octets.extend(kind.to_ne_bytes());
        octets.extend(seconds.to_ne_bytes());
        octets.extend(nanos.to_ne_bytes());
        octets
    }

    #[test]
    fn the_age_of_a_stamp_counts() {
        let now = Instant::from_millis(5_000);
        let burst = BurstTime { now, real_ns: 100_000_000_500 };
        let at = |control: &[u8]| burst.arrival(control);
        let stamp = |seconds, nanos| control(libc::SCM_TIMESTAMPNS, seconds, nanos);
        assert_eq!(at(&stamp(100, 500)), now);
        assert_eq!(at(&stamp(99, 999_999_500)), Instant::from_nanos(5_000_000_000 - 1_000));
        assert_eq!(at(&stamp(99, 500)), Instant::from_millis(4_000));
        assert_eq!(at(&stamp(99, 499)), now, "too old: the clock was set");
        assert_eq!(at(&stamp(101, 0)), now, "from the future");
        assert_eq!(at(&stamp(i64::MIN, i64::MIN)), now);
        assert_eq!(at(&stamp(i64::MAX, i64::MAX)), now);
        assert_eq!(at(&control(libc::SCM_RIGHTS, 99, 500)), now, "another message");
        assert_eq!(at(&stamp(99, 500)[..31]), now, "cut short");
        assert_eq!(at(&[]), now);
        let early = BurstTime { now: Instant::ZERO, ..burst };
        assert_eq!(early.arrival(&stamp(99, 500)), Instant::ZERO);
    }
}
