//! A ring of blocks: entries are appended to the newest, and when all are full the oldest is
//! written over.

use super::dialogue::Direction;
use crate::call::id::CallId;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tandem_signalling::stack::{Flow, Transport};

/// Octets of one block; holds the largest message.
pub const BLOCK: usize = 256 << 10;
/// Octets before what an entry carries.
const HEAD: usize = 52;

const MESSAGE_IN: u8 = 0;
const MESSAGE_OUT: u8 = 1;
const LEG: u8 = 2;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A message.
    Message {
        /// When.
        at: Timestamp,
        /// Which way.
        direction: Direction,
        /// Between whom.
        flow: Flow,
        /// Its octets.
        bytes: &'a [u8],
    },
    /// A leg of a call.
    Leg {
        /// The call.
        call: CallId,
        /// Call-ID of the leg.
        call_id: &'a str,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Ring {
    blocks: VecDeque<Arc<Vec<u8>>>,
    limit: usize,
}

impl Ring {
    /// A ring of about this many octets; with less than two blocks' worth it keeps nothing.
    #[must_use]
    pub fn new(octets: usize) -> Self {
        let limit = octets / BLOCK;
        Self { blocks: VecDeque::new(), limit: if limit < 2 { 0 } else { limit } }
    }

    /// Appends an entry, if the ring keeps any.
    pub fn push(&mut self, entry: &Entry<'_>) {
        let payload = match entry {
            Entry::Message { bytes, .. } => bytes,
            Entry::Leg { call_id, .. } => call_id.as_bytes(),
        };
        let len = HEAD + payload.len();
        if self.limit == 0 || len > BLOCK {
            return;
        }
        let block = self.room(len);
        block.extend_from_slice(&head(entry, len));
        block.extend_from_slice(payload);
    }

    /// The block that takes `len` octets more.
    fn room(&mut self, len: usize) -> &mut Vec<u8> {
        let fits = self.blocks.back().is_some_and(|block| block.len() + len <= BLOCK);
        if !fits {
            let oldest =
                if self.blocks.len() < self.limit { None } else { self.blocks.pop_front() };
            // Memory is used again unless a reader still has the block.
            let mut block = oldest.and_then(Arc::into_inner).unwrap_or_default();
            block.clear();
            block.reserve_exact(BLOCK);
            self.blocks.push_back(Arc::new(block));
        }
        if self.blocks.back_mut().is_none_or(|block| Arc::get_mut(block).is_none()) {
            // A reader has the newest block: what follows goes into one of our own.
            let copy = self.blocks.pop_back().map_or_else(Vec::new, |block| {
                let mut copy = Vec::with_capacity(BLOCK);
                copy.extend_from_slice(&block);
                copy
            });
            self.blocks.push_back(Arc::new(copy));
        }
        self.blocks
            .back_mut()
            .and_then(Arc::get_mut)
            .expect("the newest block was just made sure to be ours alone")
    }

    /// All blocks, oldest first, to be read without holding anybody up.
    #[must_use]
    pub fn blocks(&self) -> Vec<Arc<Vec<u8>>> {
        self.blocks.iter().cloned().collect()
    }
}

/// Length (4 octets), kind, transport, two unused; time in microseconds, or the call (8); then our
/// address and the peer's, 16 octets and the port each.
fn head(entry: &Entry<'_>, len: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_ne_bytes());
    match entry {
        Entry::Message { at, direction, flow, .. } => {
            head[4] = if *direction == Direction::In { MESSAGE_IN } else { MESSAGE_OUT };
            head[5] = place_of(flow.transport);
            head[8..16].copy_from_slice(&at.as_microsecond().to_ne_bytes());
            put_address(&mut head[16..34], flow.local);
            put_address(&mut head[34..52], flow.remote);
        }
        Entry::Leg { call, .. } => {
            head[4] = LEG;
            head[8..16].copy_from_slice(&call.0.to_ne_bytes());
        }
    }
    head
}

fn place_of(transport: Transport) -> u8 {
    let place = Transport::ALL.iter().position(|it| *it == transport);
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

fn put_address(place: &mut [u8], address: SocketAddr) {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    place[..16].copy_from_slice(&ip.octets());
    place[16..].copy_from_slice(&address.port().to_ne_bytes());
}

fn address_of(place: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = place.split_first_chunk::<16>()?;
    let port = u16::from_ne_bytes(port.try_into().ok()?);
    Some(SocketAddr::new(Ipv6Addr::from(*ip).to_canonical(), port))
}

/// The entries of a block, in order.
pub fn entries(block: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut rest = block;
    core::iter::from_fn(move || {
        let len = u32::from_ne_bytes(*rest.first_chunk()?);
        let (entry, later) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        rest = later;
        entry_of(entry)
    })
}

fn entry_of(entry: &[u8]) -> Option<Entry<'_>> {
    let (head, payload) = entry.split_first_chunk::<HEAD>()?;
    let number: [u8; 8] = head[8..16].try_into().ok()?;
    if head[4] == LEG {
        let call_id = core::str::from_utf8(payload).ok()?;
        return Some(Entry::Leg { call: CallId(u64::from_ne_bytes(number)), call_id });
    }
    let transport = *Transport::ALL.get(usize::from(head[5]))?;
    let flow = Flow::new(transport, address_of(&head[16..34])?, address_of(&head[34..52])?, 0);
    let direction = if head[4] == MESSAGE_IN { Direction::In } else { Direction::Out };
    let at = Timestamp::from_microsecond(i64::from_ne_bytes(number)).ok()?;
    Some(Entry::Message { at, direction, flow, bytes: payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(number: u16, bytes: &'a [u8]) -> Entry<'a> {
        let local = SocketAddr::from(([192, 0, 2, 1], 5060));
        let remote = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], number));
        Entry::Message {
            at: Timestamp::from_microsecond(1_700_000_000_000_000 + i64::from(number)).unwrap(),
            direction: if number.is_multiple_of(2) { Direction::In } else { Direction::Out },
            flow: Flow::new(Transport::Tls, local, remote, 0),
            bytes,
        }
    }

    #[test]
    fn entries_come_back_as_they_went_in() {
        let mut ring = Ring::new(2 * BLOCK);
        let leg = Entry::Leg { call: CallId(7), call_id: "a@b" };
        ring.push(&message(1, b"INVITE"));
        ring.push(&leg);
        ring.push(&message(2, b""));
        let blocks = ring.blocks();
        let found: Vec<_> = blocks.iter().flat_map(|block| entries(block)).collect();
        assert_eq!(found, [message(1, b"INVITE"), leg, message(2, b"")]);
    }

    #[test]
    fn the_oldest_is_written_over_and_readers_keep_what_they_took() {
        let large = vec![b'x'; BLOCK / 4];
        let mut ring = Ring::new(3 * BLOCK);
        for number in 0..9 {
            ring.push(&message(number, &large));
        }
        let taken = ring.blocks();
        for number in 9..40 {
            ring.push(&message(number, &large));
        }
        let ports = |blocks: &[Arc<Vec<u8>>]| -> Vec<u16> {
            let all = blocks.iter().flat_map(|block| entries(block));
            all.filter_map(|entry| match entry {
                Entry::Message { flow, .. } => Some(flow.remote.port()),
                Entry::Leg { .. } => None,
            })
            .collect()
        };
        assert_eq!(ports(&taken), (0..9).collect::<Vec<_>>());
        assert_eq!(ports(&ring.blocks()), (33..40).collect::<Vec<_>>());
    }

    #[test]
    fn a_ring_of_nothing_keeps_nothing() {
        let mut ring = Ring::new(0);
        ring.push(&message(1, b"INVITE"));
        assert!(ring.blocks().is_empty());
    }
}
