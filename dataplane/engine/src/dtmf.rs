//! Telephone events (RFC 4733): one report per event, whatever is lost or repeated.

use tandem_wire::telephone_event::TelephoneEvent;
use tandem_wire::time::Instant;

/// An event whose end was lost is over after this silence.
const LOST_END_NS: u64 = 500_000_000;

/// The event that goes on, and the last one that was reported.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DtmfState {
    /// Time stamp of the event's first segment: its name.
    timestamp: u32,
    /// Time stamp of the running segment (RFC 4733 §2.5.1.3).
    segment: u32,
    clock_rate: u32,
    /// Duration so far, clock units.
    duration: u32,
    last_ns: u64,
    /// Events reported.
    pub count: u64,
    code: u8,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    None,
    Running,
    Reported,
}

/// An event that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digit {
    pub code: u8,
    pub duration_ms: u32,
}

impl DtmfState {
    /// Counts one packet of an event; the event that it ends, or that ended unseen before it.
    pub(crate) fn note(
        &mut self,
        timestamp: u32,
        clock_rate: u32,
        event: TelephoneEvent,
        now: Instant,
    ) -> Option<Digit> {
        let duration = u32::from(event.duration);
        // A long event goes on in a new segment where the last one could not count further.
        let continued = self.phase == Phase::Running
            && self.code == event.code
            && timestamp == self.segment.wrapping_add(0xffff);
        let known = self.phase != Phase::None
            && self.code == event.code
            && (timestamp == self.segment || timestamp == self.timestamp);
        let before = if known || continued { None } else { self.finish() };
        if continued {
            self.segment = timestamp;
        } else if !known {
            (self.timestamp, self.segment, self.code) = (timestamp, timestamp, event.code);
            self.phase = Phase::Running;
            self.duration = 0;
        }
        self.clock_rate = clock_rate;
        self.last_ns = now.as_nanos();
        let total = self.segment.wrapping_sub(self.timestamp) + duration;
        self.duration = self.duration.max(total);
        if event.end && self.phase == Phase::Running {
            // Both at once happens only if the end of the one before was lost: it is told first,
            // this one by its repeated end packets or by the timer.
            return before.or_else(|| self.finish());
        }
        before
    }

    /// The event whose end was lost, once it is silent.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Digit> {
        let silent = now.as_nanos().saturating_sub(self.last_ns) >= LOST_END_NS;
        if self.phase == Phase::Running && silent { self.finish() } else { None }
    }

    fn finish(&mut self) -> Option<Digit> {
        if self.phase != Phase::Running {
            return None;
        }
        self.phase = Phase::Reported;
        self.count += 1;
        let rate = u64::from(self.clock_rate.max(1));
        let duration_ms = u64::from(self.duration) * 1_000 / rate;
        Some(Digit { code: self.code, duration_ms: u32::try_from(duration_ms).unwrap_or(u32::MAX) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u8, duration: u16, end: bool) -> TelephoneEvent {
        TelephoneEvent { code, end, volume: 10, duration }
    }

    const T0: Instant = Instant::ZERO;

    #[test]
    fn repeated_ends_are_one_digit() {
        let mut state = DtmfState::default();
        assert_eq!(state.note(1_000, 8_000, packet(5, 160, false), T0), None);
        assert_eq!(state.note(1_000, 8_000, packet(5, 320, false), T0), None);
        let digit = Digit { code: 5, duration_ms: 60 };
        assert_eq!(state.note(1_000, 8_000, packet(5, 480, true), T0), Some(digit));
        assert_eq!(state.note(1_000, 8_000, packet(5, 480, true), T0), None);
        assert_eq!(state.note(1_000, 8_000, packet(5, 480, true), T0), None);
        assert_eq!(state.expire(Instant::from_millis(9_000)), None);
        assert_eq!(state.count, 1);
    }

    #[test]
    fn a_lost_end_is_found_by_the_next_event_or_by_silence() {
        let mut state = DtmfState::default();
        state.note(1_000, 8_000, packet(1, 800, false), T0);
        let next = state.note(5_000, 8_000, packet(2, 160, false), T0);
        assert_eq!(next, Some(Digit { code: 1, duration_ms: 100 }));
        assert_eq!(state.expire(Instant::from_millis(499)), None);
        let late = state.expire(Instant::from_millis(500));
        assert_eq!(late, Some(Digit { code: 2, duration_ms: 20 }));
    }

    #[test]
    fn only_the_end_came() {
        let mut state = DtmfState::default();
        let digit = state.note(7, 8_000, packet(11, 1_280, true), T0);
        assert_eq!(digit, Some(Digit { code: 11, duration_ms: 160 }));
    }

    #[test]
    fn a_long_event_goes_on_in_segments() {
        let mut state = DtmfState::default();
        assert_eq!(state.note(0, 8_000, packet(3, 0xffff, false), T0), None);
        assert_eq!(state.note(0xffff, 8_000, packet(3, 160, false), T0), None);
        let digit = state.note(0xffff, 8_000, packet(3, 1_601, true), T0);
        assert_eq!(digit, Some(Digit { code: 3, duration_ms: 8_392 }));
    }
}
