//! A port without a kernel: a test or a benchmark puts packets in and takes sent ones out.
//!
//! Nothing allocates after [`MemoryPort::new`], and a packet costs a move into and out of a queue.

use super::{BURST, DEPARTURES, Departure, Port, PortCounters, PortError, Received, SendOutcome};
use crate::doorbell::Doorbell;
use crate::frame::{FramePool, HEADROOM, MAX_PAYLOAD};
use arrayvec::ArrayVec;
use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use tandem_wire::addr::SockAddr;
use tandem_wire::time::Instant;

/// A packet that the port sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent<'a> {
    /// Where it left from.
    pub slot: u32,
    /// Its receiver.
    pub destination: SockAddr,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Why a packet was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectError {
    /// The slot is not open.
    Closed,
    /// Every frame is in use.
    NoFrame,
    /// The queue is full.
    QueueFull,
}

impl fmt::Display for InjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the slot is not open",
            Self::NoFrame => "every frame is in use",
            Self::QueueFull => "the queue is full",
        })
    }
}

impl std::error::Error for InjectError {}

/// See the module.
#[derive(Debug)]
pub struct MemoryPort {
    pool: FramePool,
    slots: Vec<Option<SockAddr>>,
    dscp: Vec<u8>,
    inbound: VecDeque<Received>,
    outbound: VecDeque<Departure>,
    queue: usize,
    keep_sent: bool,
    counters: PortCounters,
}

impl MemoryPort {
    /// A port with `frames` frames and `slots` slots whose queues hold `queue` packets each way.
    ///
    /// # Errors
    /// When the memory is not there.
    pub fn new(frames: u32, slots: u32, queue: usize) -> io::Result<Self> {
        Ok(Self {
            pool: FramePool::new(frames)?,
            slots: vec![None; slots as usize],
            dscp: vec![0; slots as usize],
            inbound: VecDeque::with_capacity(queue),
            outbound: VecDeque::with_capacity(queue),
            queue,
            keep_sent: true,
            counters: PortCounters::default(),
        })
    }

    /// Whether sent packets are kept for [`next_sent`](Self::next_sent) (they are at first) or
    /// only counted, as a benchmark wants it.
    pub fn keep_sent(&mut self, keep: bool) {
        self.keep_sent = keep;
    }

    /// Puts a packet before the port; the next bursts deliver it. A payload above
    /// [`MAX_PAYLOAD`] is cut and marked, as a socket would do.
    ///
    /// # Errors
    /// When the slot is closed, or frames or queue are exhausted.
    pub fn inject(
        &mut self,
        slot: u32,
        source: SockAddr,
        payload: &[u8],
    ) -> Result<(), InjectError> {
        if self.local(slot).is_none() {
            return Err(InjectError::Closed);
        }
        if self.inbound.len() >= self.queue {
            return Err(InjectError::QueueFull);
        }
        let frame = self.pool.alloc().ok_or(InjectError::NoFrame)?;
        let kept = &payload[..payload.len().min(MAX_PAYLOAD)];
        self.pool.bytes_mut(&frame)[HEADROOM..HEADROOM + kept.len()].copy_from_slice(kept);
        #[expect(clippy::cast_possible_truncation, reason = "both are below FRAME_SIZE")]
        self.inbound.push_back(Received {
            frame,
            start: HEADROOM as u16,
            len: kept.len() as u16,
            slot,
            truncated: payload.len() > MAX_PAYLOAD,
            source,
            arrival: Instant::ZERO,
        });
        Ok(())
    }

    /// Shows the oldest packet that was sent and not yet seen to `look`.
    pub fn next_sent<R>(&mut self, look: impl FnOnce(Sent<'_>) -> R) -> Option<R> {
        let Departure { frame, start, len, slot, destination } = self.outbound.pop_front()?;
        let payload = self.pool.payload(&frame, start, len);
        let result = look(Sent { slot, destination, payload });
        self.pool.free(frame);
        Some(result)
    }

    /// Packets that were sent and not yet seen.
    #[must_use]
    pub fn sent_len(&self) -> usize {
        self.outbound.len()
    }

    /// The local address that a slot was opened with.
    #[must_use]
    pub fn local(&self, slot: u32) -> Option<SockAddr> {
        self.slots.get(slot as usize).copied().flatten()
    }

    /// The mark of a slot.
    #[must_use]
    pub fn dscp(&self, slot: u32) -> Option<u8> {
        self.dscp.get(slot as usize).copied()
    }

    #[inline]
    fn take(&mut self, departure: Departure, outcome: &mut SendOutcome) {
        let open = self.slots.get(departure.slot as usize).is_some_and(Option::is_some);
        let room = !self.keep_sent || self.outbound.len() < self.queue;
        if !(open && room && departure.is_sound()) {
            outcome.failed += 1;
            self.pool.free(departure.frame);
            return;
        }
        outcome.sent += 1;
        outcome.sent_octets += u64::from(departure.len);
        if self.keep_sent {
            self.outbound.push_back(departure);
        } else {
            self.pool.free(departure.frame);
        }
    }
}

impl Port for MemoryPort {
    /// The local address that the slot stands for.
    type Endpoint = SockAddr;

    fn name(&self) -> &'static str {
        "memory"
    }

    #[inline]
    fn receive_burst(&mut self, now: Instant, out: &mut ArrayVec<Received, BURST>) {
        let count = out.remaining_capacity().min(self.inbound.len());
        self.counters.received += count as u64;
        for _ in 0..count {
            // By fields: fewer instructions than moving the whole.
            let Some(Received { frame, start, len, slot, truncated, source, .. }) =
                self.inbound.pop_front()
            else {
                break;
            };
            if truncated {
                self.counters.truncated += 1;
            }
            out.push(Received { frame, start, len, slot, truncated, source, arrival: now });
        }
    }

    #[inline]
    fn frames(&self) -> &FramePool {
        &self.pool
    }

    #[inline]
    fn frames_mut(&mut self) -> &mut FramePool {
        &mut self.pool
    }

    #[inline]
    fn send_burst(&mut self, departures: &mut ArrayVec<Departure, DEPARTURES>) -> SendOutcome {
        let mut outcome = SendOutcome::default();
        for departure in departures.drain(..) {
            self.take(departure, &mut outcome);
        }
        self.counters.sent += u64::from(outcome.sent);
        self.counters.send_failed += u64::from(outcome.failed);
        outcome
    }

    fn slots(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    fn open(&mut self, slot: u32, endpoint: SockAddr) -> Result<(), PortError> {
        let limit = self.slots();
        let place =
            self.slots.get_mut(slot as usize).ok_or(PortError::SlotOutOfRange { slot, limit })?;
        if place.is_some() {
            return Err(PortError::SlotInUse(slot));
        }
        *place = Some(endpoint);
        Ok(())
    }

    fn close(&mut self, slot: u32) {
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        *place = None;
        self.dscp[slot as usize] = 0;
        for _ in 0..self.inbound.len() {
            let Some(packet) = self.inbound.pop_front() else { break };
            if packet.slot == slot {
                self.counters.stale += 1;
                self.pool.free(packet.frame);
            } else {
                self.inbound.push_back(packet);
            }
        }
    }

    fn set_dscp(&mut self, slot: u32, dscp: u8) {
        if let Some(place) = self.dscp.get_mut(slot as usize) {
            *place = dscp;
        }
    }

    /// Returns at once: nothing can arrive while the caller sleeps.
    fn wait(&mut self, _timeout: Duration) {}

    fn watch_doorbell(&mut self, _bell: &Doorbell) -> Result<(), PortError> {
        Ok(())
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn addr(text: &str) -> SockAddr {
        SockAddr::from(text.parse::<SocketAddr>().unwrap())
    }

    #[test]
    fn what_is_injected_arrives_and_what_is_sent_is_seen() {
        let mut port = MemoryPort::new(8, 2, 8).unwrap();
        port.open(1, addr("192.0.2.1:4000")).unwrap();
        port.inject(1, addr("198.51.100.1:5000"), b"hello").unwrap();
        let mut burst = ArrayVec::new();
        port.receive_burst(Instant::from_millis(3), &mut burst);
        let packet = burst.pop().unwrap();
        assert_eq!(port.payload(&packet.frame, packet.start, packet.len), b"hello");
        assert_eq!((packet.slot, packet.arrival), (1, Instant::from_millis(3)));

        let mut departures = ArrayVec::new();
        departures.push(Departure {
            frame: packet.frame,
            start: packet.start,
            len: packet.len,
            slot: 1,
            destination: packet.source,
        });
        let outcome = port.send_burst(&mut departures);
        assert_eq!(outcome, SendOutcome { sent: 1, failed: 0, sent_octets: 5 });
        let seen = port.next_sent(|sent| (sent.slot, sent.destination, sent.payload.to_vec()));
        assert_eq!(seen, Some((1, addr("198.51.100.1:5000"), b"hello".to_vec())));
        assert_eq!(port.available(), 8);
    }

    #[test]
    fn a_closed_slot_takes_nothing_and_leaks_nothing() {
        let mut port = MemoryPort::new(2, 2, 8).unwrap();
        let source = addr("198.51.100.1:5000");
        assert_eq!(port.inject(0, source, b"x"), Err(InjectError::Closed));
        port.open(0, addr("192.0.2.1:4000")).unwrap();
        assert!(matches!(port.open(0, source), Err(PortError::SlotInUse(0))));
        assert!(matches!(
            port.open(2, source),
            Err(PortError::SlotOutOfRange { slot: 2, limit: 2 })
        ));
        port.inject(0, source, &[0; MAX_PAYLOAD + 1]).unwrap();
        port.inject(0, source, b"x").unwrap();
        assert_eq!(port.inject(0, source, b"x"), Err(InjectError::NoFrame));
        port.close(0);
        assert_eq!(port.available(), 2);
        assert_eq!(port.counters().stale, 2);

        let frame = port.alloc().unwrap();
        let mut departures = ArrayVec::new();
        departures.push(Departure { frame, start: 128, len: 1, slot: 0, destination: source });
        assert_eq!(port.send_burst(&mut departures).failed, 1);
        assert_eq!(port.available(), 2);
    }
}
