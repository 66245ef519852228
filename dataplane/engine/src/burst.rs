//! The packets that walk together through one turn.

use arrayvec::ArrayVec;
use tandem_contract::limits::BURST;
use tandem_contract::reason::DropReason;
use tandem_hw::port::{DEPARTURES, Departure, Received};
use tandem_wire::rtp::RtpHeader;

/// What a packet is, decided by parse and confirmed or changed by lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RTP whose header is in [`Parsed::header`].
    Rtp,
    /// RTCP; of the header only the sender's SSRC is set.
    Rtcp,
    /// Of a termination whose packets are not read.
    Opaque,
    /// To be dropped (unless its termination is opaque).
    Drop(DropReason),
}

/// One packet's headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parsed {
    pub header: RtpHeader,
    pub kind: Kind,
    /// The padding bit is set: the last octet counts the padding, if it can be read.
    pub padded: bool,
}

/// Packets of one arrival time that were handed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub arrival_ns: u64,
    pub count: u32,
}

/// The burst of a turn, from arrive to depart.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    pub received: ArrayVec<Received, BURST>,
    pub parsed: ArrayVec<Parsed, BURST>,
    pub leaving: Leaving,
}

/// What depart sends next.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    pub departures: ArrayVec<Departure, DEPARTURES>,
    /// Departures by their kind.
    pub forwarded: u32,
    pub copies: u32,
    pub originated: u32,
    pub handed: ArrayVec<Handed, BURST>,
}

impl Leaving {
    /// Adds a packet that is forwarded.
    #[inline]
    pub(crate) fn forward(&mut self, departure: Departure, arrival_ns: u64) {
        self.departures.push(departure);
        self.forwarded += 1;
        match self.handed.last_mut() {
            Some(last) if last.arrival_ns == arrival_ns => last.count += 1,
            _ => self.handed.push(Handed { arrival_ns, count: 1 }),
        }
    }
}
