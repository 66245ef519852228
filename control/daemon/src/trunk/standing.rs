//! Whether a trunk can take a call: its registration, its signs of life, its limit.

use super::Entry;
use super::view::{TrunkState, TrunkView};
use crate::route::decide::Standing;
use core::time::Duration;
use tandem_wire::time::Instant;

/// A trunk that failed comes last for so long at first.
const FIRST_PENALTY: Duration = Duration::from_secs(10);
/// And for so long at most.
const MAX_PENALTY: Duration = Duration::from_secs(300);

/// What answers and failures tell of a trunk.
#[derive(Debug)]
pub(super) struct Health {
    failures: u32,
    last_until: Option<Instant>,
    why: String,
    /// What OPTIONS said last: whether it is there.
    present: Option<bool>,
    every: Option<Duration>,
    /// When OPTIONS is due; `None` while it is on its way, or never.
    options_due: Option<Instant>,
}

impl Health {
    pub(super) fn new(
        now: Instant,
        every: Option<Duration>,
        spread: Duration,
        random: u64,
    ) -> Self {
        let share = u32::try_from(random % 1_024).unwrap_or(0);
        Self {
            failures: 0,
            last_until: None,
            why: String::new(),
            present: None,
            every,
            options_due: every.map(|_| now + spread * share / 1_024),
        }
    }

    /// It answered: nothing speaks against it.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
        self.last_until = None;
        if self.present == Some(false) {
            self.present = Some(true);
        }
    }

    /// It did not serve.
    pub(super) fn failed(&mut self, now: Instant, why: &str) {
        self.failures = self.failures.saturating_add(1);
        let grown = FIRST_PENALTY.saturating_mul(1 << (self.failures - 1).min(8));
        self.last_until = Some(now + grown.min(MAX_PENALTY));
        why.clone_into(&mut self.why);
    }

    pub(super) const fn options_due(&self) -> Option<Instant> {
        self.options_due
    }

    /// OPTIONS is being sent.
    pub(super) fn begin_options(&mut self) {
        self.options_due = None;
    }

    /// OPTIONS was answered, with anything, or not.
    pub(super) fn options_done(&mut self, now: Instant, present: bool) {
        self.present = Some(present);
        self.options_due = self.every.map(|every| now + every);
        if present {
            self.answered();
        }
    }

    fn penalty(&self, now: Instant) -> Option<(&str, Duration)> {
        let until = self.last_until.filter(|until| *until > now)?;
        Some((&self.why, until.since(now)))
    }
}

impl Entry {
    pub(super) fn is_full(&self) -> bool {
        self.spec.max_calls.is_some_and(|max| self.calls >= max)
    }

    pub(super) fn standing(&self, now: Instant, emergency: bool) -> Standing {
        if self.gone {
            return Standing::Out("it is not configured any more".to_owned());
        }
        let (state, why) = self.state(now);
        match state {
            // Nobody is left without help because a provider is slow to register us.
            TrunkState::Unregistered | TrunkState::Down if emergency => Standing::Last(why),
            TrunkState::Unregistered | TrunkState::Down => Standing::Out(why),
            _ if !emergency && self.is_full() => {
                let max = self.spec.max_calls.unwrap_or_default();
                Standing::Out(format!("it has {} calls, and max_calls is {max}", self.calls))
            }
            TrunkState::Failing => Standing::Last(why),
            TrunkState::Up => Standing::Ready,
        }
    }

    /// How it stands, and why if it is not up.
    pub(super) fn state(&self, now: Instant) -> (TrunkState, String) {
        if let Some(registration) = self.registration.as_ref().filter(|it| !it.is_registered(now)) {
            let why = match &registration.failure {
                Some(failure) => format!("it is not registered: {failure}"),
                None => "it is not registered yet".to_owned(),
            };
            return (TrunkState::Unregistered, why);
        }
        if self.health.present == Some(false) {
            return (TrunkState::Down, "it does not answer OPTIONS".to_owned());
        }
        match self.health.penalty(now) {
            Some((why, left)) => {
                let seconds = left.as_secs().max(1);
                (TrunkState::Failing, format!("{why}; it comes last for {seconds} s"))
            }
            None => (TrunkState::Up, String::new()),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let registration = self.registration.as_ref().and_then(|it| it.next_timeout());
        [registration, self.health.options_due()].into_iter().flatten().min()
    }

    pub(super) fn view(&self, now: Instant) -> TrunkView {
        let (state, why) = self.state(now);
        let registration = self.registration.as_ref();
        TrunkView {
            name: self.spec.name.clone(),
            peer: self.spec.peer.clone(),
            state,
            why: (state != TrunkState::Up).then_some(why),
            registers: registration.is_some(),
            registered_for_s: registration.and_then(|it| it.left(now)).map(|left| left.as_secs()),
            registration_failures: registration.map_or(0, |it| it.failures()),
            service_route: registration.map(|it| it.service_route.clone()).unwrap_or_default(),
            calls: self.calls,
            max_calls: self.spec.max_calls,
            counters: self.counters,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    #[test]
    fn failures_put_a_trunk_last_for_ever_longer_until_it_answers() {
        let mut health = Health::new(at(0), None, Duration::ZERO, 0);
        assert_eq!(health.penalty(at(0)), None);
        let mut waits = Vec::new();
        for _ in 0..8 {
            health.failed(at(0), "no answer");
            waits.push(health.penalty(at(0)).unwrap().1.as_secs());
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(health.penalty(at(300)), None);
        health.answered();
        assert_eq!(health.penalty(at(0)), None);
        health.failed(at(0), "503");
        assert_eq!(health.penalty(at(1)), Some(("503", Duration::from_secs(9))));
    }

    #[test]
    fn signs_of_life_are_asked_for_again_and_again() {
        let every = Some(Duration::from_secs(30));
        let mut health = Health::new(at(0), every, Duration::from_secs(2), 512);
        assert_eq!(health.options_due(), Some(at(1)));
        health.begin_options();
        assert_eq!(health.options_due(), None);
        health.options_done(at(33), false);
        assert_eq!((health.present, health.options_due()), (Some(false), Some(at(63))));
        health.answered();
        assert_eq!(health.present, Some(true));
    }
}
