//! Sources that are not listened to, for how long and why. Pure: time is passed in.

use super::limits::{BAN_GROWTH, MAX_BANS, REMEMBERED};
use super::source::Source;
use core::time::Duration;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use tandem_wire::time::Instant;

/// Why a source is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Wrong passwords, or none that could be right.
    Passwords,
    /// Requests in the names of many users who do not exist.
    Sweep,
    /// The name of a scanner in User-Agent.
    Scanner,
    /// The operator wanted it.
    Operator,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::Passwords, Self::Sweep, Self::Scanner, Self::Operator];

    /// The name in listings and counters.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Passwords => "passwords",
            Self::Sweep => "sweep",
            Self::Scanner => "scanner",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// One ban.
#[derive(Clone, Copy, Debug)]
pub struct Ban {
    /// Why.
    pub reason: Reason,
    /// Whether the address is known not to be forged: it answered a challenge, or it has a
    /// connection.
    pub proven: bool,
    /// How many this source has had in a day, with this one.
    pub count: u32,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Messages that were thrown away.
    pub dropped: u64,
    ends: Instant,
    forgotten: Instant,
}

/// A ban as listings show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanView {
    /// Whom: an IPv4 address or an IPv6 /64.
    pub source: Source,
    /// Why.
    pub reason: Reason,
    /// Whether the address is known not to be forged. If it is not, requests may still begin with
    /// a challenge.
    pub proven: bool,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How many this source has had in a day, with this one.
    pub count: u32,
    /// Messages that were thrown away.
    pub dropped: u64,
}

/// All bans, and those of the last day.
#[derive(Debug)]
pub struct Bans {
    by_source: HashMap<Source, Ban>,
    /// When each is forgotten: one entry for each.
    forgotten: BTreeSet<(Instant, Source)>,
    first: Duration,
    longest: Duration,
    capacity: usize,
}

impl Bans {
    /// None yet; the first ban of a source lasts for `first`, none longer than `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            by_source: HashMap::new(),
            forgotten: BTreeSet::new(),
            first,
            longest,
            capacity: MAX_BANS,
        }
    }

    /// Other lengths from now on.
    pub const fn set_lengths(&mut self, first: Duration, longest: Duration) {
        (self.first, self.longest) = (first, longest);
    }

    /// The ban of a source, if it is in force.
    pub fn get(&mut self, now: Instant, source: Source) -> Option<&mut Ban> {
        if self.by_source.is_empty() {
            return None;
        }
        self.by_source.get_mut(&source).filter(|ban| ban.ends > now)
    }

    /// Bans a source, unless it is already and as surely; gives the new ban.
    ///
    /// Each ban that is proven lasts longer than the one before. One that is not, which anybody
    /// can bring about by forging an address, is always short and makes no other one longer.
    pub fn add(
        &mut self,
        (now, wall): (Instant, Timestamp),
        source: Source,
        reason: Reason,
        proven: bool,
    ) -> Option<Ban> {
        let before = self.by_source.get(&source).copied();
        if before.is_some_and(|ban| ban.ends > now && (ban.proven || !proven)) {
            return None;
        }
        let earlier = before.filter(|ban| ban.forgotten > now).map_or(0, |ban| ban.count);
        let length = if proven { self.length(earlier) } else { self.first };
        let count = if proven { earlier + 1 } else { earlier };
        Some(self.put((now, wall), source, (reason, proven, count), length))
    }

    /// Bans a source because the operator wants it, whatever was before.
    pub fn add_by_hand(
        &mut self,
        (now, wall): (Instant, Timestamp),
        source: Source,
        length: Duration,
    ) -> Ban {
        let count = self.by_source.get(&source).map_or(0, |ban| ban.count) + 1;
        self.put((now, wall), source, (Reason::Operator, true, count), length)
    }

    /// Forgets a source; false if it was not banned.
    pub fn remove(&mut self, now: Instant, source: Source) -> bool {
        let removed = self.by_source.remove(&source);
        if let Some(ban) = removed {
            self.forgotten.remove(&(ban.forgotten, source));
        }
        removed.is_some_and(|ban| ban.ends > now)
    }

    /// Bans in force, the latest first.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<BanView> {
        let in_force = self.by_source.iter().filter(|(_, ban)| ban.ends > now);
        let mut all: Vec<BanView> = in_force
            .map(|(&source, ban)| BanView {
                source,
                reason: ban.reason,
                proven: ban.proven,
                since: ban.since,
                until: ban.until,
                count: ban.count,
                dropped: ban.dropped,
            })
            .collect();
        all.sort_by(|a, b| b.since.cmp(&a.since).then(a.source.cmp(&b.source)));
        all
    }

    /// How many are in force.
    #[must_use]
    pub fn len(&self, now: Instant) -> usize {
        self.by_source.values().filter(|ban| ban.ends > now).count()
    }

    fn length(&self, earlier: u32) -> Duration {
        let factor = BAN_GROWTH.saturating_pow(earlier.min(16));
        self.first.saturating_mul(factor).min(self.longest)
    }

    fn put(
        &mut self,
        (now, wall): (Instant, Timestamp),
        source: Source,
        (reason, proven, count): (Reason, bool, u32),
        length: Duration,
    ) -> Ban {
        self.make_room(now, source);
        let until = jiff::SignedDuration::try_from(length)
            .ok()
            .and_then(|length| wall.checked_add(length).ok())
            .unwrap_or(Timestamp::MAX);
        let ends = now + length;
        let remembered = if count > 0 { REMEMBERED } else { Duration::ZERO };
        let forgotten = ends + remembered;
        let ban = Ban { reason, proven, count, since: wall, until, dropped: 0, ends, forgotten };
        self.forgotten.insert((forgotten, source));
        self.by_source.insert(source, ban);
        ban
    }

    /// Takes out the ban of `source`, what is forgotten by now, and if there is still no room, the
    /// one that is forgotten first.
    fn make_room(&mut self, now: Instant, source: Source) {
        if let Some(old) = self.by_source.remove(&source) {
            self.forgotten.remove(&(old.forgotten, source));
        }
        while let Some(&(at, oldest)) = self.forgotten.first() {
            if at > now && self.by_source.len() < self.capacity {
                break;
            }
            self.forgotten.pop_first();
            self.by_source.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from(n).into())
    }

    fn at(s: u64) -> (Instant, Timestamp) {
        let wall = Timestamp::from_second(i64::try_from(s).unwrap()).unwrap();
        (Instant::from_millis(s * 1_000), wall)
    }

    fn bans() -> Bans {
        Bans::new(Duration::from_secs(60), Duration::from_secs(3_600))
    }

    #[test]
    fn bans_end_and_grow_up_to_the_longest() {
        let mut bans = bans();
        let mut s = 1_000;
        for (count, length) in [(1, 60), (2, 240), (3, 960), (4, 3_600), (5, 3_600)] {
            let ban = bans.add(at(s), source(1), Reason::Passwords, true).unwrap();
            assert_eq!((ban.count, ban.until), (count, at(s + length).1));
            assert!(bans.add(at(s + 1), source(1), Reason::Passwords, true).is_none());
            assert!(bans.get(at(s + length - 1).0, source(1)).is_some());
            assert!(bans.get(at(s + length).0, source(1)).is_none());
            s += length + 10;
        }
        let ban = bans.add(at(s + 90_000), source(1), Reason::Passwords, true).unwrap();
        assert_eq!(ban.count, 1, "a day later all is forgotten");
    }

    #[test]
    fn who_forges_an_address_makes_no_ban_longer_and_a_proven_one_comes_on_top() {
        let mut bans = bans();
        for round in 0..5 {
            let s = 1_000 + round * 100;
            let ban = bans.add(at(s), source(1), Reason::Scanner, false).unwrap();
            assert_eq!((ban.count, ban.until), (0, at(s + 60).1));
            assert!(bans.add(at(s + 1), source(1), Reason::Sweep, false).is_none());
        }
        let ban = bans.add(at(1_410), source(1), Reason::Passwords, true).unwrap();
        assert_eq!((ban.count, ban.proven), (1, true));
        assert!(bans.add(at(1_411), source(1), Reason::Scanner, false).is_none());
    }

    #[test]
    fn the_operator_bans_and_forgives() {
        let mut bans = bans();
        bans.add_by_hand(at(10), source(1), Duration::from_secs(5));
        assert_eq!(bans.list(at(11).0)[0].reason, Reason::Operator);
        assert!(bans.remove(at(11).0, source(1)) && !bans.remove(at(11).0, source(1)));
        assert_eq!(bans.len(at(11).0), 0);
        let ban = bans.add(at(12), source(1), Reason::Passwords, true).unwrap();
        assert_eq!(ban.count, 1, "forgiven and forgotten");
    }

    #[test]
    fn the_table_has_a_limit() {
        let mut bans = bans();
        bans.capacity = 3;
        for n in 1..=5 {
            bans.add(at(100 + u64::from(n)), source(n), Reason::Sweep, false);
        }
        let left: Vec<_> = bans.list(at(110).0).iter().map(|ban| ban.source).collect();
        assert_eq!(left, [source(5), source(4), source(3)], "the first to end are gone");
        assert_eq!((bans.by_source.len(), bans.forgotten.len()), (3, 3));
        bans.add(at(500), source(9), Reason::Sweep, false);
        assert_eq!((bans.by_source.len(), bans.forgotten.len()), (1, 1), "the rest has run out");
    }
}
