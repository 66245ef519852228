//! How many new calls are let in, so that those that are let in come off.
//!
//! The thread says how long messages wait before it reads them, and how much of its time it waits
//! for messages. When they wait too long, the share of new requests that is let in goes down; when
//! they do not, it goes up again. Nothing is taken for granted about the machine: a slow processor,
//! a quota of its control group and a busy neighbour all show in the delay.

use super::limits::CONTROL_EVERY;
use core::time::Duration;
use tandem_wire::time::Instant;

/// How much a request weighs when there is too much to do, the first to go last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A request of a stranger.
    Stranger,
    /// A new request of somebody who is known: registered here, or trusted.
    Known,
    /// Something that work was spent on already: it has credentials, or refreshes a registration.
    Begun,
    /// What must always go: responses, requests in dialogs, CANCEL, emergency calls.
    Always,
}

impl Rank {
    /// How many times the share of strangers is let in.
    const fn weight(self) -> u64 {
        match self {
            Self::Stranger => 1,
            Self::Known => 4,
            Self::Begun => 32,
            Self::Always => u64::MAX,
        }
    }
}

/// All are let in.
const FULL: u64 = 1 << 20;
/// However much there is to do, this share of strangers is let in.
const LEAST: u64 = FULL >> 10;
/// Percent of its time that the thread may be busy before a part of the allowed delay counts.
const BUSY_PERCENT: u32 = 95;

/// The share of new requests that is let in.
#[derive(Debug)]
pub struct Admission {
    /// Delay that is too much; zero lets all in.
    limit: Duration,
    /// Of [`FULL`].
    share: u64,
    /// What is left of shares that did not make a whole request.
    credits: [u64; 3],
    interval: Interval,
    /// Intervals in a row with too much delay.
    bad: u32,
    last: Load,
}

#[derive(Clone, Copy, Debug, Default)]
struct Interval {
    began: Instant,
    idle: Duration,
    delay: Duration,
}

/// What was measured last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// The longest that a message waited to be read.
    pub delay: Duration,
    /// Percent of the time in which the thread did not wait for messages.
    pub busy_percent: u32,
}

impl Admission {
    /// Lets all in until messages wait for longer than `limit`; zero always lets all in.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            share: FULL,
            credits: [0; 3],
            interval: Interval::default(),
            bad: 0,
            last: Load::default(),
        }
    }

    /// Another limit from now on.
    pub const fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
        if limit.is_zero() {
            self.share = FULL;
        }
    }

    /// A turn of the thread begins, before which it slept for so long.
    pub fn note_turn(&mut self, now: Instant, slept: Duration) {
        self.interval.idle += slept;
        self.note_delay(now, Duration::ZERO);
    }

    /// A message that is read now has waited for so long, at most.
    pub fn note_delay(&mut self, now: Instant, delay: Duration) {
        self.interval.delay = self.interval.delay.max(delay);
        if now.since(self.interval.began) >= CONTROL_EVERY {
            self.control(now);
        }
    }

    /// Whether anything is refused now.
    #[must_use]
    pub const fn is_overloaded(&self) -> bool {
        self.share < FULL
    }

    /// Thousandths of strangers' requests that are let in.
    #[must_use]
    pub fn share_milli(&self) -> u32 {
        u32::try_from(self.share * 1_000 / FULL).unwrap_or(1_000)
    }

    /// What was measured last.
    #[must_use]
    pub const fn load(&self) -> Load {
        self.last
    }

    /// Whether the next request of a rank is let in: the shares are spread evenly.
    pub fn admit(&mut self, rank: Rank) -> bool {
        let share = self.share.saturating_mul(rank.weight());
        let Some(credit) = self.credits.get_mut(rank as usize).filter(|_| share < FULL) else {
            return true;
        };
        *credit += share;
        if *credit < FULL {
            return false;
        }
        *credit -= FULL;
        true
    }

    /// Sets the share anew: down in proportion to the delay, or by a twentieth when the thread has
    /// no time left; up slowly, as the effect of each step is seen in the next interval at once.
    fn control(&mut self, now: Instant) {
        let Interval { began, idle, delay } = self.interval;
        self.interval = Interval { began: now, ..Interval::default() };
        let took = now.since(began);
        let busy = took.saturating_sub(idle);
        self.last = Load { delay, busy_percent: percent(busy, took) };
        if self.limit.is_zero() {
            return;
        }
        let full = self.last.busy_percent >= BUSY_PERCENT;
        let too_much = delay > self.limit || (full && delay > self.limit / 4);
        // Once may be a pause of the machine, whose queue is gone in the next interval.
        self.bad = if too_much { self.bad.saturating_add(1) } else { 0 };
        if too_much && (self.bad > 1 || self.is_overloaded()) {
            let excess = percent(delay, self.limit).clamp(105, 200);
            self.share = (self.share * 100 / u64::from(excess)).max(LEAST);
        } else if !too_much && delay < self.limit / 2 {
            // A thread that had nothing to do has no turn in many intervals.
            let intervals = took.as_nanos() / CONTROL_EVERY.as_nanos().max(1);
            for _ in 0..intervals.min(256) {
                self.share = (self.share + self.share / 32 + FULL / 512).min(FULL);
            }
        }
    }
}

fn percent(part: Duration, whole: Duration) -> u32 {
    let whole = whole.as_nanos().max(1);
    u32::try_from(part.as_nanos().saturating_mul(100) / whole).unwrap_or(u32::MAX)
}

/// How long the oldest message that was not read yet has waited, at most.
///
/// The sockets do not tell when a message came. But whatever is read now came after the sockets
/// were last seen empty: when the thread went to sleep, or at the begin of the turn that read all
/// there was.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// What is unread came after this.
    since: Instant,
    turn: Instant,
    asleep: Instant,
}

/// A wait that was longer than this was one for a message.
const SLEPT: Duration = Duration::from_micros(50);

impl Backlog {
    /// Nothing is unread.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { since: now, turn: now, asleep: now }
    }

    /// A turn is over; whether it left something unread.
    pub fn turn_over(&mut self, now: Instant, left_unread: bool) {
        if !left_unread {
            self.since = self.turn;
        }
        self.asleep = now;
    }

    /// A turn begins; gives for how long the thread slept.
    pub fn turn_begins(&mut self, now: Instant) -> Duration {
        let slept = now.since(self.asleep);
        self.turn = now;
        if slept < SLEPT {
            return Duration::ZERO;
        }
        // There was nothing, and what woke the thread came just now.
        self.since = now;
        slept
    }

    /// How long a message that is read now has waited, at most.
    #[must_use]
    pub fn delay(&self, now: Instant) -> Duration {
        now.since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u64) -> Instant {
        Instant::from_millis(10_000 + ms)
    }

    /// A server that does `capacity` calls in a second, refuses for a twentieth of the work, and
    /// reads in order. Gives accepted calls per second and the longest delay, of the last 5 s.
    fn serve(admission: &mut Admission, capacity: u64, offered: u64) -> (u64, Duration) {
        let (call, refusal) = (1_000_000 / capacity, 1_000_000 / capacity / 20);
        let (mut free_us, mut accepted, mut longest) = (0, 0, Duration::ZERO);
        for n in 0..offered * 10 {
            let arrived = n * 1_000_000 / offered;
            if free_us < arrived {
                let slept = Duration::from_micros(arrived - free_us);
                free_us = arrived;
                admission.note_turn(at(0) + Duration::from_micros(free_us), slept);
            }
            let delay = Duration::from_micros(free_us - arrived);
            admission.note_delay(at(0) + Duration::from_micros(free_us), delay);
            let admitted = admission.admit(Rank::Stranger);
            free_us += if admitted { call } else { refusal };
            if arrived > 5_000_000 {
                accepted += u64::from(admitted);
                longest = longest.max(delay);
            }
        }
        (accepted / 5, longest)
    }

    #[test]
    fn nobody_is_refused_below_the_capacity() {
        let mut admission = Admission::new(100 * MS);
        let (accepted, _) = serve(&mut admission, 500, 450);
        assert!(accepted >= 449, "{accepted}");
        assert!(!admission.is_overloaded());
    }

    #[test]
    fn three_times_the_capacity_leaves_most_of_it_and_short_delays() {
        for capacity in [100, 500, 2_000] {
            let mut admission = Admission::new(100 * MS);
            let (accepted, longest) = serve(&mut admission, capacity, 3 * capacity);
            // The refusals alone take a tenth of the time.
            assert!(accepted >= capacity * 84 / 100, "{accepted} of {capacity}");
            assert!(accepted <= capacity, "{accepted} of {capacity}");
            assert!(longest < 250 * MS, "{longest:?} at {capacity}");
        }
    }

    #[test]
    fn it_recovers_when_the_load_is_gone() {
        let mut admission = Admission::new(100 * MS);
        serve(&mut admission, 500, 5_000);
        assert!(admission.share_milli() < 200, "{}", admission.share_milli());
        admission.interval.began = at(10_000);
        for ms in (0..10_000).step_by(10) {
            admission.note_turn(at(10_000 + ms), 9 * MS);
            admission.note_delay(at(10_000 + ms), MS);
        }
        assert!(!admission.is_overloaded());
        assert!(admission.load().busy_percent <= 12);
    }

    #[test]
    fn one_pause_of_the_machine_refuses_nobody() {
        let mut admission = Admission::new(100 * MS);
        admission.note_delay(at(0), MS);
        admission.note_delay(at(500), 450 * MS);
        admission.note_delay(at(560), MS);
        assert!(!admission.is_overloaded());
        assert!((0..100).all(|_| admission.admit(Rank::Stranger)));
    }

    #[test]
    fn the_begun_go_before_the_known_and_these_before_strangers() {
        let mut admission = Admission::new(100 * MS);
        admission.share = FULL / 10;
        let mut admitted = |rank| (0..1_000).filter(|_| admission.admit(rank)).count();
        assert_eq!(admitted(Rank::Always), 1_000);
        assert_eq!(admitted(Rank::Begun), 1_000);
        assert_eq!(admitted(Rank::Known), 399);
        assert_eq!(admitted(Rank::Stranger), 99);
        admission.share = LEAST;
        let mut admitted = |rank| (0..10_240).filter(|_| admission.admit(rank)).count();
        assert_eq!((admitted(Rank::Begun), admitted(Rank::Always)), (320, 10_240));
    }

    #[test]
    fn without_a_limit_all_are_let_in() {
        let mut admission = Admission::new(Duration::ZERO);
        for ms in 0..1_000 {
            admission.note_delay(at(ms * 10), 5_000 * MS);
        }
        assert!(admission.admit(Rank::Stranger) && !admission.is_overloaded());
        assert_eq!(admission.load().delay, 5_000 * MS);
    }

    #[test]
    fn the_backlog_is_as_old_as_the_last_time_that_all_was_read() {
        let mut backlog = Backlog::new(at(0));
        backlog.turn_over(at(0), false);
        assert_eq!(backlog.turn_begins(at(100)), 100 * MS);
        assert_eq!(backlog.delay(at(103)), 3 * MS, "it was woken by what it reads");
        backlog.turn_over(at(105), false);
        assert_eq!(backlog.turn_begins(at(105)), Duration::ZERO);
        assert_eq!(backlog.delay(at(106)), 6 * MS, "it came at some time of the turn before");
        backlog.turn_over(at(120), true);
        backlog.turn_begins(at(120));
        backlog.turn_over(at(140), true);
        backlog.turn_begins(at(140));
        assert_eq!(backlog.delay(at(150)), 50 * MS, "there is more and more to read");
        backlog.turn_over(at(160), false);
        backlog.turn_begins(at(160));
        assert_eq!(backlog.delay(at(160)), 20 * MS);
    }
}
