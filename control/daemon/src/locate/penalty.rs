//! The penalty box: who failed is tried last for a while, which grows with each failure.

use super::Hop;
use core::time::Duration;
use std::collections::HashMap;
use std::net::SocketAddr;
use tandem_signalling::stack::Transport;
use tandem_wire::time::Instant;

/// Hops that are remembered at the same time; the one that is due first is forgotten for another.
pub const MAX_PENALISED: usize = 4_096;

/// A hop that is tried last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// Until then.
    pub until: Instant,
    /// Failures in a row.
    pub failures: u32,
}

/// Hops that failed.
#[derive(Debug, Default)]
pub(super) struct PenaltyBox {
    first: Duration,
    longest: Duration,
    entries: HashMap<(Transport, SocketAddr), Penalty>,
}

impl PenaltyBox {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, entries: HashMap::new() }
    }

    /// Penalties from now on take other times.
    pub(super) const fn set_times(&mut self, first: Duration, longest: Duration) {
        (self.first, self.longest) = (first, longest);
    }

    /// A hop failed: it is tried last for a time that doubles with each failure in a row.
    /// It is not shorter than the hop's own wish.
    pub(super) fn failed(&mut self, now: Instant, hop: &Hop, wish: Duration) -> Penalty {
        self.forget_old(now);
        let known = self.entries.get(&key(hop)).copied();
        // A failure of a call that began before the penalty says nothing new.
        if let Some(known) = known.filter(|it| it.until > now && it.failures > 0) {
            return known;
        }
        let failures = known.map_or(0, |it| it.failures).saturating_add(1);
        let doublings = failures.saturating_sub(1).min(16);
        let time = self.first.saturating_mul(1 << doublings).max(wish).min(self.longest);
        let penalty = Penalty { until: now + time, failures };
        if known.is_none() && self.entries.len() >= MAX_PENALISED {
            let first = self.entries.iter().min_by_key(|(_, it)| it.until).map(|(key, _)| *key);
            first.map(|key| self.entries.remove(&key));
        }
        self.entries.insert(key(hop), penalty);
        penalty
    }

    /// A hop answered; tells whether it was in the box.
    pub(super) fn answered(&mut self, hop: &Hop) -> bool {
        !self.entries.is_empty() && self.entries.remove(&key(hop)).is_some()
    }

    /// Puts those that failed to the end, the one that is due first before the others.
    pub(super) fn sort(&self, now: Instant, hops: &mut [Hop]) {
        if self.entries.is_empty() {
            return;
        }
        hops.sort_by_key(|hop| self.penalised_until(now, hop));
    }

    fn penalised_until(&self, now: Instant, hop: &Hop) -> Option<Instant> {
        self.entries.get(&key(hop)).map(|it| it.until).filter(|until| *until > now)
    }

    /// Those that are tried last now.
    pub(super) fn active(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (Transport, SocketAddr, Penalty)> {
        self.entries
            .iter()
            .filter(move |(_, it)| it.until > now)
            .map(|((transport, remote), it)| (*transport, *remote, *it))
    }

    /// How often a hop failed is remembered for the longest penalty after its end.
    fn forget_old(&mut self, now: Instant) {
        let longest = self.longest;
        self.entries.retain(|_, it| it.until + longest > now);
    }
}

const fn key(hop: &Hop) -> (Transport, SocketAddr) {
    (hop.transport, hop.remote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(port: u16) -> Hop {
        Hop { transport: Transport::Udp, remote: ([192, 0, 2, 1], port).into(), name: None }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    fn penalties() -> PenaltyBox {
        PenaltyBox::new(Duration::from_secs(30), Duration::from_secs(100))
    }

    #[test]
    fn who_failed_comes_last_for_a_while() {
        let mut penalties = penalties();
        let mut hops = vec![hop(1), hop(2), hop(3)];
        penalties.failed(at(10), &hop(1), Duration::ZERO);
        penalties.failed(at(5), &hop(2), Duration::ZERO);
        penalties.sort(at(11), &mut hops);
        assert_eq!(hops, [hop(3), hop(2), hop(1)]);
        let mut hops = vec![hop(1), hop(2)];
        penalties.sort(at(40), &mut hops);
        assert_eq!(hops, [hop(1), hop(2)]);
        assert_eq!(penalties.active(at(39)).count(), 1);
    }

    #[test]
    fn the_time_grows_and_is_forgotten() {
        let mut penalties = penalties();
        assert_eq!(penalties.failed(at(0), &hop(1), Duration::ZERO).until, at(30));
        assert_eq!(
            penalties.failed(at(10), &hop(1), Duration::ZERO).until,
            at(30),
            "still the same failure"
        );
        assert_eq!(penalties.failed(at(31), &hop(1), Duration::ZERO).until, at(91));
        assert_eq!(
            penalties.failed(at(92), &hop(1), Duration::ZERO),
            Penalty { until: at(192), failures: 3 }
        );
        assert_eq!(
            penalties.failed(at(293), &hop(1), Duration::ZERO),
            Penalty { until: at(323), failures: 1 }
        );
        assert!(penalties.answered(&hop(1)) && !penalties.answered(&hop(1)));
        assert_eq!(penalties.failed(at(330), &hop(1), Duration::ZERO).until, at(360));
    }

    #[test]
    fn a_wish_for_rest_is_heard_up_to_the_limit() {
        let mut penalties = penalties();
        let wish = |seconds| Duration::from_secs(seconds);
        assert_eq!(penalties.failed(at(0), &hop(1), wish(60)).until, at(60));
        assert_eq!(penalties.failed(at(0), &hop(2), wish(10)).until, at(30));
        assert_eq!(penalties.failed(at(0), &hop(3), wish(100_000)).until, at(100));
    }

    #[test]
    fn the_box_is_bounded() {
        let mut penalties = penalties();
        for n in 0..MAX_PENALISED + 10 {
            let mut other = hop(u16::try_from(n % 60_000).unwrap());
            other.transport = if n % 2 == 0 { Transport::Udp } else { Transport::Tcp };
            penalties.failed(at(1), &other, Duration::ZERO);
        }
        assert_eq!(penalties.active(at(2)).count(), MAX_PENALISED);
    }
}
