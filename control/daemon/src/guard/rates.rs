//! How much each source has asked for, in a table of fixed size.
//!
//! Each account is one instant: until when the source has used up what it may have (the generic
//! cell rate algorithm, ITU-T I.371). A source without an account owes nothing, so forgetting one
//! is never unfair to it; a flood from made-up addresses only makes the table forget.

use super::limits::WAYS;
use super::source::Source;
use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use tandem_wire::time::Instant;

/// What a source owes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Account(Instant);

impl Account {
    /// Takes one of `every`, at most `burst` ahead; false if there is none, and nothing is taken.
    fn take(&mut self, now: Instant, every: Duration, burst: u32) -> bool {
        let begins = self.0.max(now);
        if begins.since(now) > every.saturating_mul(burst.saturating_sub(1)) {
            return false;
        }
        self.0 = begins + every;
        true
    }
}

/// A limit without an account for each: so many per second in all.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    account: Account,
    per_second: u32,
}

impl Rate {
    /// At most `per_second`, and as many at once.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { account: Account::default(), per_second }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.account.take(now, interval(self.per_second), self.per_second)
    }
}

/// The time between two of so many per second.
fn interval(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    source: Source,
    requests: Account,
    failures: Account,
}

impl Slot {
    fn debt(&self) -> Instant {
        self.requests.0.max(self.failures.0)
    }
}

/// The accounts of all sources.
#[derive(Debug)]
pub struct Rates {
    slots: Box<[Slot]>,
    hasher: RandomState,
}

impl Rates {
    /// Room for `sources`.
    #[must_use]
    pub fn new(sources: usize) -> Self {
        let sets = sources.div_ceil(WAYS).max(1);
        Self { slots: vec![Slot::default(); sets * WAYS].into(), hasher: RandomState::new() }
    }

    /// Takes one of `per_second` requests, at most `burst` at once; false if there is none.
    pub fn take_request(
        &mut self,
        now: Instant,
        source: Source,
        per_second: u32,
        burst: u32,
    ) -> bool {
        self.slot(source).requests.take(now, interval(per_second), burst)
    }

    /// Counts one offence, of which one is forgiven in each `every`; true if there are more than
    /// `allowed` of them. Then the account is empty again.
    pub fn offend(&mut self, now: Instant, source: Source, every: Duration, allowed: u32) -> bool {
        let slot = self.slot(source);
        let too_many = !slot.failures.take(now, every, allowed);
        if too_many {
            slot.failures = Account::default();
        }
        too_many
    }

    /// The slot of a source; of its possible places the one that owes least is taken.
    fn slot(&mut self, source: Source) -> &mut Slot {
        let sets = self.slots.len() / WAYS;
        let hash = usize::try_from(self.hasher.hash_one(source) >> 1).unwrap_or(0);
        let first = hash % sets * WAYS;
        let ways = &self.slots[first..first + WAYS];
        let known = ways.iter().position(|slot| slot.source == source);
        let place = known.unwrap_or_else(|| {
            let least = ways.iter().enumerate().min_by_key(|(_, slot)| slot.debt());
            least.map_or(0, |(place, _)| place)
        });
        let slot = &mut self.slots[first + place];
        if known.is_none() {
            *slot = Slot { source, ..Slot::default() };
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from(n).into())
    }

    #[test]
    fn a_source_has_its_burst_and_then_its_rate() {
        let mut rates = Rates::new(64);
        let start = Instant::from_millis(5_000);
        let mut take = |ms| rates.take_request(start + Duration::from_millis(ms), source(1), 10, 5);
        assert!((0..5).all(|_| take(0)) && !take(0) && !take(99));
        assert!(take(100) && !take(100));
        assert!(take(1_000) && take(1_000));
        assert!((0..5).all(|_| take(10_000)) && !take(10_000), "never more than the burst");
    }

    #[test]
    fn offences_are_forgiven_one_by_one() {
        let mut rates = Rates::new(64);
        let every = Duration::from_secs(10);
        let at = |s: u64| Instant::from_millis(1_000_000 + s * 1_000);
        for s in (0..1_000).step_by(10) {
            assert!(!rates.offend(at(s), source(1), every, 3), "one in ten seconds is forgiven");
        }
        let now = at(2_000);
        let mut offend = |n| rates.offend(now, source(n), every, 3);
        assert!(!offend(1) && !offend(1) && !offend(1) && offend(1));
        assert!(!offend(1), "a new account");
        assert!(!offend(2), "another source");
    }

    #[test]
    fn the_table_keeps_those_who_owe_most() {
        let mut rates = Rates::new(1_024);
        let now = Instant::from_millis(1_000);
        for _ in 0..100 {
            rates.take_request(now, source(7), 10, 100);
        }
        for other in 100..1_000_000 {
            rates.take_request(now, source(other), 10, 100);
        }
        assert!(!rates.take_request(now, source(7), 10, 100), "it is not forgotten for strangers");
        assert_eq!(rates.slots.len(), 1_024);
        assert_eq!(size_of::<Slot>(), 32);
    }

    #[test]
    fn a_rate_for_all() {
        let mut rate = Rate::new(2);
        let now = Instant::from_millis(9_000);
        assert!(rate.take(now) && rate.take(now) && !rate.take(now));
        assert!(rate.take(now + Duration::from_millis(500)));
    }
}
