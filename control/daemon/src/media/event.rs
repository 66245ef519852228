//! What media tells the call.

use super::CallKey;
use crate::link::EngineInfo;
use crate::record::LegReport;
use std::net::SocketAddr;
use std::time::Duration;

/// What happened to the media of a call, or to the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum MediaEvent {
    /// A party that should send is silent.
    MediaTimeout {
        /// The call.
        call: CallKey,
        /// Which leg.
        leg: u8,
        /// Which media line, from 0.
        stream: u8,
        /// For how long, ms.
        silent_ms: u32,
    },
    /// A digit was pressed (RFC 4733).
    Dtmf {
        /// The call.
        call: CallKey,
        /// Who pressed it.
        leg: u8,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: char,
        /// Duration, ms.
        duration_ms: u32,
    },
    /// The media address of a party was confirmed or has moved.
    Latched {
        /// The call.
        call: CallKey,
        /// Which leg.
        leg: u8,
        /// The RTP address.
        source: SocketAddr,
        /// Whether a confirmed one moved.
        moved: bool,
    },
    /// The engine refused a termination: the call has no media there.
    Refused {
        /// The call.
        call: CallKey,
        /// Which leg.
        leg: u8,
        /// Why, for people.
        reason: &'static str,
    },
    /// A lease ran out although the call lives: control was away for too long.
    LeaseExpired {
        /// The call.
        call: CallKey,
        /// Which leg.
        leg: u8,
    },
    /// The engine has ended all media of a call that was stopped: its figures are final.
    Settled {
        /// The call.
        call: CallKey,
    },
    /// The engine holds a call that this control does not know: it was alive when an earlier
    /// control ended. It relays until its lease runs out, or until
    /// [`super::MediaPlane::end_found`].
    Found {
        /// The call.
        call: CallKey,
        /// Its figures so far.
        legs: Vec<LegReport>,
    },
    /// A found call ended in the engine.
    FoundEnded {
        /// The call.
        call: CallKey,
        /// Its last figures.
        legs: Vec<LegReport>,
    },
    /// The engine is gone; it is being brought back, calls included.
    EngineLost {
        /// Why, for people.
        reason: String,
    },
    /// No engine could be brought up; attempts go on.
    EngineFailed {
        /// Why and what to do.
        reason: String,
    },
    /// An engine is there (again).
    EngineBack {
        /// Which.
        info: EngineInfo,
        /// Terminations installed anew.
        reinstalled: usize,
        /// How long there was none, zero at the first attach.
        outage: Duration,
    },
}

/// The character of a telephone event (RFC 4733 §3.2), `None` for flash and the like.
#[must_use]
pub fn digit(code: u8) -> Option<char> {
    "0123456789*#ABCD".chars().nth(usize::from(code))
}

#[cfg(test)]
mod tests {
    use super::digit;

    #[test]
    fn digits_have_their_codes() {
        assert_eq!([0, 9, 10, 11, 15].map(digit).map(Option::unwrap), ['0', '9', '*', '#', 'D']);
        assert_eq!(digit(16), None);
    }
}
