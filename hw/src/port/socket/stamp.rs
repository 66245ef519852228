//! What the kernel says about a packet beside its sender: when it arrived, so that what is measured
//! is the network and not how soon a worker woke up, and how many the socket lost before it.
//!
//! The kernel stamps a packet with the real-time clock when the driver hands it over
//! (`SO_TIMESTAMPNS`). Only the age of a stamp is used: it is subtracted from the time of the
//! burst. An age that can't be (the clock was set) counts as none. Once a socket has lost packets
//! (`SO_RXQ_OVFL`), a second control message tells how many so far.
//!
//! Invariants of the unsafe code:
//! - What a call points to lives on the stack until the call returns.

use rustix::fd::AsRawFd;
use std::net::UdpSocket;
use tandem_wire::time::Instant;

/// Octets of the control message that carries a stamp: its header, and seconds and nanoseconds.
pub(super) const STAMP_LEN: usize = size_of::<libc::cmsghdr>() + size_of::<libc::timespec>();

/// Octets of the control message that carries a number of lost packets, padded.
const LOSS_LEN: usize = size_of::<libc::cmsghdr>() + 8;
/// Room for both control messages.
pub(super) const CONTROL_LEN: usize = STAMP_LEN + LOSS_LEN;

/// Oldest age that is believed; packets do not wait longer in a socket that is read.
const MAX_AGE_NS: u64 = 1_000_000_000;

/// Asks the kernel for stamps and for what it lost. Without stamps packets arrive when they are
/// read.
pub(super) fn enable(socket: &UdpSocket) {
    let on: libc::c_int = 1;
    for option in [libc::SO_TIMESTAMPNS, libc::SO_RXQ_OVFL] {
        // SAFETY: the option is an int, which lives until the call returns.
        let _ = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const on).cast(),
                4,
            )
        };
    }
}

/// Packets that the socket lost up to this one (modulo 2^32), if the kernel says so.
#[inline]
pub(super) fn lost(control: &[u8]) -> Option<u32> {
    if control.len() == STAMP_LEN { None } else { parse_loss(control) }
}

#[cold]
fn parse_loss(control: &[u8]) -> Option<u32> {
    // The stamp, if there is one, comes first.
    let rest = if parse(control).is_some() { control.get(STAMP_LEN..)? } else { control };
    let (header, rest) = rest.split_at_checked(size_of::<libc::cmsghdr>())?;
    let (len, rest_of_header) = header.split_first_chunk()?;
    let (level, kind) = rest_of_header.split_first_chunk()?;
    let is_loss = usize::from_ne_bytes(*len) == size_of::<libc::cmsghdr>() + 4
        && i32::from_ne_bytes(*level) == libc::SOL_SOCKET
        && i32::from_ne_bytes(*kind.first_chunk()?) == libc::SO_RXQ_OVFL;
    if is_loss { Some(u32::from_ne_bytes(*rest.first_chunk()?)) } else { None }
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
    fn what_a_socket_lost_is_read_with_and_without_a_stamp() {
        let mut loss = 20_usize.to_ne_bytes().to_vec();
        loss.extend(libc::SOL_SOCKET.to_ne_bytes());
        loss.extend(40_i32.to_ne_bytes());
        loss.extend(70_000_u32.to_ne_bytes());
        loss.extend([0; 4]);
        assert_eq!(lost(&loss), Some(70_000));
        let stamp = control(libc::SCM_TIMESTAMPNS, 99, 500);
        let both = [stamp.clone(), loss.clone()].concat();
        assert_eq!((both.len(), lost(&both), lost(&both[..52])), (56, Some(70_000), Some(70_000)));
        let burst = BurstTime { now: Instant::from_millis(5_000), real_ns: 99_000_001_500 };
        assert_eq!(burst.arrival(&both), Instant::from_nanos(5_000_000_000 - 1_000));
        assert_eq!(
            (lost(&stamp), lost(&[]), lost(&both[..51]), lost(&loss[..19])),
            (None, None, None, None)
        );
        let mut other = loss;
        other[12] = 1;
        assert_eq!(lost(&other), None, "another message");
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
