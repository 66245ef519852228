//! Any port with faults: seeded loss, duplication, reordering, delay and jitter.
//!
//! What happens to a packet depends on the seed, on the packets before it in the same direction,
//! and on the times that are passed in; nothing else. [`FaultCounts`] says what was done, so that
//! a test can compare exact figures.

use super::rng::Rng;
use super::{BURST, DEPARTURES, Departure, Port, PortCounters, PortError, Received, SendOutcome};
use crate::doorbell::Doorbell;
use crate::frame::{FrameId, FramePool};
use arrayvec::ArrayVec;
use core::cmp::Reverse;
use core::time::Duration;
use std::collections::BinaryHeap;
use tandem_wire::time::Instant;

/// One in this many: the unit of [`FaultPlan`]'s probabilities.
pub const MILLION: u32 = 1_000_000;

/// What happens in one direction. The default is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// Lost packets in a million.
    pub loss_ppm: u32,
    /// Packets that come twice, in a million (of those not lost).
    pub duplicate_ppm: u32,
    /// Packets that are overtaken, in a million (of those not lost).
    pub reorder_ppm: u32,
    /// By how many packets of the same slot they are overtaken.
    pub reorder_depth: u32,
    /// Longest time that a packet waits to be overtaken.
    pub reorder_limit: Duration,
    /// Time that every packet takes longer.
    pub delay: Duration,
    /// Most that is added to it, evenly distributed.
    pub jitter: Duration,
    /// Packets with more jitter hold up those behind them; without this, jitter reorders.
    pub keep_order: bool,
    /// Only even slots (RTP); what control traffic there is gets through.
    pub rtp_only: bool,
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self {
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            reorder_depth: 1,
            reorder_limit: Duration::from_millis(200),
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            keep_order: true,
            rtp_only: false,
        }
    }
}

/// What was done in one direction, spared packets aside. Once nothing is held any more,
/// `seen + duplicated = lost + passed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Packets that the plan applied to.
    pub seen: u64,
    /// Of these, lost.
    pub lost: u64,
    /// Of these, doubled.
    pub duplicated: u64,
    /// Of these, overtaken by others.
    pub reordered: u64,
    /// Packets passed on, at once or later, copies included.
    pub passed: u64,
}

/// What goes through a [`Channel`].
trait Packet {
    fn slot(&self) -> u32;
    fn into_frame(self) -> FrameId;
}

impl Packet for Received {
    fn slot(&self) -> u32 {
        self.slot
    }

    fn into_frame(self) -> FrameId {
        self.frame
    }
}

impl Packet for Departure {
    fn slot(&self) -> u32 {
        self.slot
    }

    fn into_frame(self) -> FrameId {
        self.frame
    }
}

/// A packet on its way, ordered by when it is due, then by when it came.
#[derive(Debug)]
struct Due<T> {
    at: Instant,
    order: u64,
    packet: T,
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<T> Eq for Due<T> {}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A packet that waits to be overtaken.
#[derive(Debug)]
struct Held<T> {
    remaining: u32,
    overtaken: bool,
    deadline: Instant,
    packet: T,
}

/// One direction.
#[derive(Debug)]
struct Channel<T> {
    plan: FaultPlan,
    rng: Rng,
    due: BinaryHeap<Reverse<Due<T>>>,
    held: Vec<Held<T>>,
    /// Per slot, when its last packet is due.
    last_due: Vec<Instant>,
    order: u64,
    counts: FaultCounts,
}

impl<T: Packet> Channel<T> {
    fn new(plan: FaultPlan, seed: u64, slots: u32) -> Self {
        Self {
            plan,
            rng: Rng::new(seed),
            due: BinaryHeap::new(),
            held: Vec::new(),
            last_due: vec![Instant::ZERO; slots as usize],
            order: 0,
            counts: FaultCounts::default(),
        }
    }

    fn schedule(&mut self, at: Instant, packet: T) {
        self.order += 1;
        self.due.push(Reverse(Due { at, order: self.order, packet }));
    }

    /// Takes a packet in; gives it back if it is lost. `copy` makes its double, if there is room.
    fn take(&mut self, now: Instant, packet: T, copy: impl FnOnce(&T) -> Option<T>) -> Option<T> {
        let slot = packet.slot();
        if self.plan.rtp_only && !slot.is_multiple_of(2) {
            self.schedule(now, packet);
            return None;
        }
        // Every packet draws the same four numbers, so that one fault does not shift the others.
        let [loss, duplicate, reorder] = [(); 3].map(|()| self.rng.below(MILLION.into()));
        let jitter_ns = u64::try_from(self.plan.jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(self.rng.below(jitter_ns.saturating_add(1)));
        self.counts.seen += 1;
        if loss < self.plan.loss_ppm.into() {
            self.counts.lost += 1;
            return Some(packet);
        }
        let at = self.due_at(now, slot, jitter);
        if duplicate < self.plan.duplicate_ppm.into()
            && let Some(double) = copy(&packet)
        {
            self.counts.duplicated += 1;
            self.counts.passed += 1;
            self.schedule(at, double);
        }
        if reorder < self.plan.reorder_ppm.into() && self.plan.reorder_depth > 0 {
            self.held.push(Held {
                remaining: self.plan.reorder_depth,
                overtaken: false,
                deadline: now + self.plan.reorder_limit,
                packet,
            });
            return None;
        }
        self.counts.passed += 1;
        self.schedule(at, packet);
        self.overtake(slot, at);
        None
    }

    fn due_at(&mut self, now: Instant, slot: u32, jitter: Duration) -> Instant {
        let mut at = now + self.plan.delay + jitter;
        if self.plan.keep_order
            && let Some(last) = self.last_due.get_mut(slot as usize)
        {
            at = at.max(*last);
            *last = at;
        }
        at
    }

    /// A packet of `slot`, due at `at`, has passed those that wait.
    fn overtake(&mut self, slot: u32, at: Instant) {
        for held in self.held.iter_mut().filter(|held| held.packet.slot() == slot) {
            held.overtaken = true;
            held.remaining -= 1;
        }
        self.release(at, |held| held.remaining == 0);
    }

    fn release(&mut self, at: Instant, ripe: impl Fn(&Held<T>) -> bool) {
        let mut index = 0;
        while index < self.held.len() {
            if ripe(&self.held[index]) {
                let Held { overtaken, packet, .. } = self.held.remove(index);
                self.counts.reordered += u64::from(overtaken);
                self.counts.passed += 1;
                self.schedule(at, packet);
            } else {
                index += 1;
            }
        }
    }

    /// The next packet whose time has come, and that time.
    fn next(&mut self, now: Instant) -> Option<(Instant, T)> {
        if self.held.iter().any(|held| held.deadline <= now) {
            self.release(now, |held| held.deadline <= now);
        }
        if self.due.peek().is_none_or(|Reverse(first)| first.at > now) {
            return None;
        }
        self.due.pop().map(|Reverse(due)| (due.at, due.packet))
    }

    /// When something is due next.
    fn next_at(&self) -> Option<Instant> {
        let due = self.due.peek().map(|Reverse(first)| first.at);
        let held = self.held.iter().map(|held| held.deadline).min();
        due.into_iter().chain(held).min()
    }

    fn len(&self) -> usize {
        self.due.len() + self.held.len()
    }

    /// Throws away what is on its way to or from a slot.
    fn purge(&mut self, slot: u32, mut free: impl FnMut(FrameId)) {
        let (gone, rest): (Vec<_>, Vec<_>) =
            self.due.drain().partition(|Reverse(due)| due.packet.slot() == slot);
        self.due.extend(rest);
        gone.into_iter().for_each(|Reverse(due)| free(due.packet.into_frame()));
        let (gone, rest): (Vec<_>, Vec<_>) =
            self.held.drain(..).partition(|held| held.packet.slot() == slot);
        self.held = rest;
        gone.into_iter().for_each(|held| free(held.packet.into_frame()));
        if let Some(last) = self.last_due.get_mut(slot as usize) {
            *last = Instant::ZERO;
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Fault<P> {
    inner: P,
    receiving: Channel<Received>,
    sending: Channel<Departure>,
    now: Instant,
}

impl<P: Port> Fault<P> {
    /// Wraps a port: one plan for what it receives, one for what it sends, and a seed.
    pub fn new(inner: P, receiving: FaultPlan, sending: FaultPlan, seed: u64) -> Self {
        let slots = inner.slots();
        Self {
            inner,
            receiving: Channel::new(receiving, seed, slots),
            sending: Channel::new(sending, seed.wrapping_add(1), slots),
            now: Instant::ZERO,
        }
    }

    /// The wrapped port.
    pub const fn inner(&mut self) -> &mut P {
        &mut self.inner
    }

    /// What was done to received packets.
    #[must_use]
    pub const fn received_counts(&self) -> FaultCounts {
        self.receiving.counts
    }

    /// What was done to sent packets.
    #[must_use]
    pub const fn sent_counts(&self) -> FaultCounts {
        self.sending.counts
    }

    /// Packets on their way in either direction.
    #[must_use]
    pub fn held(&self) -> usize {
        self.receiving.len() + self.sending.len()
    }

    /// When a delayed packet is due next; a test with virtual time goes there.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.receiving.next_at().into_iter().chain(self.sending.next_at()).min()
    }

    /// Sends what is due; how many packets the wrapped port refused.
    fn flush(&mut self) -> u32 {
        let mut failed = 0;
        let mut burst = ArrayVec::new();
        while let Some((_, departure)) = self.sending.next(self.now) {
            burst.push(departure);
            if burst.is_full() {
                failed += self.inner.send_burst(&mut burst).failed;
            }
        }
        if !burst.is_empty() {
            failed += self.inner.send_burst(&mut burst).failed;
        }
        failed
    }
}

impl<P: Port> Port for Fault<P> {
    type Endpoint = P::Endpoint;

    fn name(&self) -> &'static str {
        "fault"
    }

    fn receive_burst(&mut self, now: Instant, out: &mut ArrayVec<Received, BURST>) {
        self.now = now;
        let mut fresh = ArrayVec::new();
        self.inner.receive_burst(now, &mut fresh);
        for packet in fresh {
            let inner = &mut self.inner;
            let lost = self.receiving.take(packet.arrival, packet, |packet| {
                let frame = inner.copy(&packet.frame, packet.start, packet.len)?;
                Some(Received { frame, ..*packet })
            });
            if let Some(packet) = lost {
                self.inner.free(packet.frame);
            }
        }
        while !out.is_full()
            && let Some((at, mut packet)) = self.receiving.next(now)
        {
            packet.arrival = at.max(packet.arrival);
            out.push(packet);
        }
        self.flush();
    }

    #[inline]
    fn frames(&self) -> &FramePool {
        self.inner.frames()
    }

    #[inline]
    fn frames_mut(&mut self) -> &mut FramePool {
        self.inner.frames_mut()
    }

    fn available(&self) -> usize {
        self.inner.available()
    }

    /// What is lost or delayed counts as sent: the sender can't know.
    fn send_burst(&mut self, departures: &mut ArrayVec<Departure, DEPARTURES>) -> SendOutcome {
        let mut outcome = SendOutcome::default();
        for departure in departures.drain(..) {
            if !departure.is_sound() {
                outcome.failed += 1;
                self.inner.free(departure.frame);
                continue;
            }
            outcome.sent += 1;
            outcome.sent_octets += u64::from(departure.len);
            let inner = &mut self.inner;
            let lost = self.sending.take(self.now, departure, |departure| {
                let frame = inner.copy(&departure.frame, departure.start, departure.len)?;
                Some(Departure { frame, ..*departure })
            });
            if let Some(departure) = lost {
                self.inner.free(departure.frame);
            }
        }
        let failed = self.flush().min(outcome.sent);
        outcome.sent -= failed;
        outcome.failed += failed;
        outcome
    }

    fn slots(&self) -> u32 {
        self.inner.slots()
    }

    fn open(&mut self, slot: u32, endpoint: Self::Endpoint) -> Result<(), PortError> {
        self.inner.open(slot, endpoint)
    }

    fn close(&mut self, slot: u32) {
        let inner = &mut self.inner;
        self.receiving.purge(slot, |frame| inner.free(frame));
        self.sending.purge(slot, |frame| inner.free(frame));
        self.inner.close(slot);
    }

    fn set_dscp(&mut self, slot: u32, dscp: u8) {
        self.inner.set_dscp(slot, dscp);
    }

    fn wait(&mut self, timeout: Duration) {
        let limit = self.next_at().map_or(timeout, |at| timeout.min(at.since(self.now)));
        if !limit.is_zero() {
            self.inner.wait(limit);
        }
    }

    fn watch_doorbell(&mut self, bell: &Doorbell) -> Result<(), PortError> {
        self.inner.watch_doorbell(bell)
    }

    fn counters(&self) -> PortCounters {
        self.inner.counters()
    }
}

#[cfg(test)]
mod tests;
