//! The packets that walk together through one turn.

use arrayvec::ArrayVec;
use tandem_contract::reason::DropReason;
use tandem_hw::port::{BURST, DEPARTURES, Departure, Received};
use tandem_wire::rtp::FixedHeader;

/// What a packet is, decided by parse and confirmed or changed by lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RTP with a fixed header alone.
    Rtp,
    /// RTP with sources, an extension or padding.
    LongRtp,
    /// RTCP.
    Rtcp,
    /// Of a termination whose packets are not read.
    Opaque,
    /// To be dropped (unless its termination is opaque).
    Drop(DropReason),
}

/// One packet's first octets and what they say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parsed {
    pub fixed: FixedHeader,
    pub kind: Kind,
}

/// Packets of one arrival time that were handed on.
#[derive(Clone, Copy, Debug, Default)]
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
    /// Packets that are forwarded, by their arrival; the last group is in `last`.
    pub handed: ArrayVec<Handed, BURST>,
    last: Handed,
}

impl Leaving {
    /// Adds a packet that is forwarded.
    #[inline]
    pub(crate) fn forward(&mut self, departure: Departure, arrival_ns: u64) {
        self.departures.push(departure);
        self.forwarded += 1;
        if arrival_ns != self.last.arrival_ns {
            self.next_group(arrival_ns);
        }
        self.last.count += 1;
    }

    #[cold]
    fn next_group(&mut self, arrival_ns: u64) {
        let full = core::mem::replace(&mut self.last, Handed { arrival_ns, count: 0 });
        if full.count > 0 {
            self.handed.push(full);
        }
    }

    /// The groups of packets that were forwarded, once.
    pub(crate) fn take_groups(&mut self) -> impl Iterator<Item = Handed> {
        self.next_group(0);
        self.handed.drain(..)
    }
}
