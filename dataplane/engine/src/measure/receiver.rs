//! The measurement of one stream in one value, for users that have few of them.

use super::{Noted, Packet, PayloadTypes, StreamCold, StreamHot, Window};
use tandem_contract::measure::Measurement;

/// Measures one received stream.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    hot: StreamHot,
    cold: StreamCold,
    window: Window,
    types: PayloadTypes,
}

impl Receiver {
    /// A receiver that knows these payload types besides those of RFC 3551.
    #[must_use]
    pub fn new(types: PayloadTypes) -> Self {
        Self { types, ..Self::default() }
    }

    /// Counts one packet.
    pub fn note(&mut self, packet: &Packet<'_>) -> Noted {
        self.hot.note(&mut self.window, &mut self.cold, &self.types, packet)
    }

    /// The figures so far; round trip unknown.
    #[must_use]
    pub fn snapshot(&self, now_ns: u64) -> Measurement {
        self.hot.snapshot(&self.window, &self.cold, now_ns)
    }

    /// Takes over a stream that was measured before up to this extended sequence number.
    pub fn resume(&mut self, ssrc: u32, sequence: u32) {
        self.hot.resume(&mut self.window, &mut self.cold, ssrc, sequence);
    }
}
