//! Measurement of what is received: the engine's own (RFC 3550 appendix A), with the softphone's
//! round trip.

use crate::sdp::Agreed;
use std::time::Duration;
use tandem_contract::command::PayloadType;
use tandem_contract::measure::Measurement;
use tandem_contract::quality::{self, Codec, Quality};
use tandem_engine::measure::{Packet, PayloadTypes, Receiver};
use tandem_wire::rtp::RtpHeader;
use tandem_wire::time::Instant;

/// Clock rate of G.711 and of the telephone events beside it, Hz.
const CLOCK_RATE: u32 = 8_000;

/// Measures one received stream.
#[derive(Debug)]
pub struct Meter {
    receiver: Receiver,
    last_ns: u64,
    rtcp_packets: u64,
}

impl Meter {
    /// Knows the agreed payload types besides those of RFC 3551.
    #[must_use]
    pub fn new(agreed: &Agreed) -> Self {
        let mut types = PayloadTypes::default();
        let known = PayloadType { clock_rate: CLOCK_RATE, present: 1, ..PayloadType::default() };
        types[0] =
            PayloadType { number: agreed.payload_type, codec: Codec::G711.number(), ..known };
        if let Some(number) = agreed.dtmf {
            types[1] = PayloadType { number, telephone_event: 1, ..known };
        }
        Self { receiver: Receiver::new(types), last_ns: 0, rtcp_packets: 0 }
    }

    /// Counts an RTP packet of `len` octets.
    pub fn packet(&mut self, now: Instant, header: &RtpHeader, len: usize) {
        let wire_len = u16::try_from(len).unwrap_or(u16::MAX);
        self.last_ns = now.as_nanos();
        self.receiver.note(&Packet { header, wire_len, arrival_ns: self.last_ns });
    }

    /// Counts an RTCP packet.
    pub const fn count_rtcp(&mut self) {
        self.rtcp_packets += 1;
    }

    /// The figures, with a round trip if one is known.
    #[must_use]
    pub fn read(&self, rtt: Option<Duration>) -> Measurement {
        let mut measured = self.receiver.snapshot(self.last_ns);
        measured.rtcp_packets = self.rtcp_packets;
        if let Some(rtt) = rtt {
            measured.rtt_ns = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
        }
        measured
    }

    /// Quality by the E-model; `None` before the first packet.
    #[must_use]
    pub fn quality(measured: &Measurement) -> Option<Quality> {
        quality::quality(measured)
    }
}
