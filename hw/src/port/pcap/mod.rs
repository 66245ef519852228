//! Replay and capture: packets come from a pcap file, and what is sent goes to another.
//!
//! A packet arrives on the slot whose local address is its destination. The file's first packet
//! arrives at the time of the first burst, the others as much later as the file says; with
//! [`Pace::AtOnce`] a burst does not wait for that time, but the arrival times are the same.

mod file;

pub use file::{Link, PcapError, Reader, Record, Writer};

use super::{BURST, DEPARTURES, Departure, Port, PortCounters, PortError, Received, SendOutcome};
use crate::doorbell::Doorbell;
use crate::frame::{FRAME_SIZE, FramePool, HEADROOM, MAX_PAYLOAD};
use arrayvec::ArrayVec;
use core::fmt;
use core::time::Duration;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use tandem_wire::addr::SockAddr;
use tandem_wire::network::{self, FrameAddresses};
use tandem_wire::time::Instant;

/// When packets of a replay arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as they are taken.
    AtOnce,
    /// When their time has come.
    AsRecorded,
}

/// What a replay did with the packets of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayCounts {
    /// Packets in the file so far.
    pub read: u64,
    /// No UDP over IP, or damaged.
    pub not_udp: u64,
    /// For an address that no slot has.
    pub no_slot: u64,
    /// Thrown away because every frame was in use.
    pub no_frame: u64,
}

#[derive(Debug)]
struct Replay<R> {
    reader: Reader<R>,
    pace: Pace,
    /// Arrival of the first packet, and its time in the file.
    start: Option<(Instant, Duration)>,
    /// A packet whose time has not come.
    early: bool,
    record: Record,
    counts: ReplayCounts,
    end: Option<Result<(), PcapError>>,
}

/// See the module.
pub struct PcapPort<R, W> {
    pool: FramePool,
    slots: Vec<Option<SockAddr>>,
    dscp: Vec<u8>,
    by_address: HashMap<SockAddr, u32>,
    replay: Option<Replay<R>>,
    capture: Option<Writer<W>>,
    /// The time that the capture counts from, in its file.
    epoch: Duration,
    now: Instant,
    counters: PortCounters,
}

impl<R, W> fmt::Debug for PcapPort<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcapPort")
            .field("pool", &self.pool)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl<R: Read, W: Write> PcapPort<R, W> {
    /// A port with `frames` frames and `slots` slots that neither replays nor captures yet.
    ///
    /// # Errors
    /// When the memory is not there.
    pub fn new(frames: u32, slots: u32) -> io::Result<Self> {
        Ok(Self {
            pool: FramePool::new(frames)?,
            slots: vec![None; slots as usize],
            dscp: vec![0; slots as usize],
            by_address: HashMap::new(),
            replay: None,
            capture: None,
            epoch: Duration::ZERO,
            now: Instant::ZERO,
            counters: PortCounters::default(),
        })
    }

    /// Replays a file from its start.
    ///
    /// # Errors
    /// When it is no pcap file, or one of another link type than Ethernet, Linux cooked or raw IP.
    pub fn replay(&mut self, input: R, pace: Pace) -> Result<(), PcapError> {
        self.replay = Some(Replay {
            reader: Reader::new(input)?,
            pace,
            start: None,
            early: false,
            record: Record::default(),
            counts: ReplayCounts::default(),
            end: None,
        });
        Ok(())
    }

    /// Writes what is sent from now on, as Ethernet frames; `epoch` is the Unix time that stands
    /// for [`Instant::ZERO`].
    ///
    /// # Errors
    /// When the output can't be written.
    pub fn capture(&mut self, output: W, epoch: Duration) -> Result<(), PcapError> {
        self.capture = Some(Writer::new(output)?);
        self.epoch = epoch;
        Ok(())
    }

    /// Ends the capture and gives its output back, flushed.
    ///
    /// # Errors
    /// When the output can't be written.
    pub fn end_capture(&mut self) -> Result<Option<W>, PcapError> {
        self.capture.take().map(Writer::finish).transpose()
    }

    /// Whether the replay has ended: `None` if not, then how.
    pub fn replay_end(&self) -> Option<&Result<(), PcapError>> {
        self.replay.as_ref().and_then(|replay| replay.end.as_ref())
    }

    /// What the replay did so far.
    #[must_use]
    pub fn replay_counts(&self) -> ReplayCounts {
        self.replay.as_ref().map_or_else(ReplayCounts::default, |replay| replay.counts)
    }

    fn send(&mut self, departure: &Departure) -> bool {
        let Some(&Some(source)) = self.slots.get(departure.slot as usize) else { return false };
        if !departure.is_sound() {
            return false;
        }
        let Some(capture) = &mut self.capture else { return true };
        let addresses = FrameAddresses {
            // Locally administered addresses: of this port, and of "the network".
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            source,
            destination: departure.destination,
            dscp: self.dscp[departure.slot as usize],
        };
        let payload = self.pool.payload(&departure.frame, departure.start, departure.len);
        let mut out = [0; FRAME_SIZE + HEADROOM];
        let time = self.epoch + Duration::from_nanos(self.now.as_nanos());
        network::emit_ethernet(&addresses, payload, &mut out)
            .is_ok_and(|len| capture.write(time, &out[..len]).is_ok())
    }
}

impl<R: Read> Replay<R> {
    /// Reads on until a packet is for a slot; its slot, source, payload and arrival. `None` if
    /// the time of the next has not come, or at the end.
    fn next(
        &mut self,
        now: Instant,
        slots: &HashMap<SockAddr, u32>,
    ) -> Option<(u32, SockAddr, &[u8], Instant)> {
        loop {
            if self.end.is_some() {
                return None;
            }
            if !self.early {
                match self.reader.read(&mut self.record) {
                    Ok(true) => self.counts.read += 1,
                    end => {
                        self.end = Some(end.map(|_| ()));
                        return None;
                    }
                }
            }
            let &mut (start, first) = self.start.get_or_insert((now, self.record.time));
            let arrival = start + self.record.time.saturating_sub(first);
            self.early = self.pace == Pace::AsRecorded && arrival > now;
            if self.early {
                return None;
            }
            let datagram = match self.reader.link().datagram(&self.record.bytes) {
                Some(datagram) => datagram,
                None => {
                    self.counts.not_udp += 1;
                    continue;
                }
            };
            let Some(&slot) = slots.get(&datagram.destination) else {
                self.counts.no_slot += 1;
                continue;
            };
            // A second parse of the same octets, because a borrow that leaves the loop can't be
            // held across its next round.
            let datagram = self.reader.link().datagram(&self.record.bytes)?;
            return Some((slot, datagram.source, datagram.payload, arrival));
        }
    }
}

impl<R: Read, W: Write> Port for PcapPort<R, W> {
    /// The local address that the slot stands for.
    type Endpoint = SockAddr;

    fn name(&self) -> &'static str {
        "pcap"
    }

    fn receive_burst(&mut self, now: Instant, out: &mut ArrayVec<Received, BURST>) {
        self.now = now;
        let Some(replay) = &mut self.replay else { return };
        while !out.is_full() {
            let Some((slot, source, payload, arrival)) = replay.next(now, &self.by_address) else {
                return;
            };
            let Some(frame) = self.pool.alloc() else {
                replay.counts.no_frame += 1;
                self.counters.starved += 1;
                continue;
            };
            let kept = &payload[..payload.len().min(MAX_PAYLOAD)];
            let truncated = payload.len() > MAX_PAYLOAD;
            self.pool.bytes_mut(&frame)[HEADROOM..HEADROOM + kept.len()].copy_from_slice(kept);
            self.counters.received += 1;
            self.counters.truncated += u64::from(truncated);
            #[expect(clippy::cast_possible_truncation, reason = "both are below FRAME_SIZE")]
            let (start, len) = (HEADROOM as u16, kept.len() as u16);
            out.push(Received { frame, start, len, slot, truncated, source, arrival });
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

    fn send_burst(&mut self, departures: &mut ArrayVec<Departure, DEPARTURES>) -> SendOutcome {
        let mut outcome = SendOutcome::default();
        for departure in departures.drain(..) {
            if self.send(&departure) {
                outcome.sent += 1;
                outcome.sent_octets += u64::from(departure.len);
            } else {
                outcome.failed += 1;
            }
            self.pool.free(departure.frame);
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
        if self.by_address.contains_key(&endpoint) {
            let error = io::ErrorKind::AddrInUse.into();
            return Err(PortError::System { operation: "a second slot of one address", error });
        }
        *place = Some(endpoint);
        self.by_address.insert(endpoint, slot);
        Ok(())
    }

    fn close(&mut self, slot: u32) {
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        self.dscp[slot as usize] = 0;
        if let Some(address) = place.take() {
            self.by_address.remove(&address);
        }
    }

    fn set_dscp(&mut self, slot: u32, dscp: u8) {
        if let Some(place) = self.dscp.get_mut(slot as usize) {
            *place = dscp & 0x3f;
        }
    }

    /// Sleeps if the replay goes at its recorded pace; nothing else can happen meanwhile.
    fn wait(&mut self, timeout: Duration) {
        if let Some(Replay { early: true, start: Some((start, first)), record, .. }) = &self.replay
        {
            let arrival = *start + record.time.saturating_sub(*first);
            std::thread::sleep(timeout.min(arrival.since(self.now)));
        }
    }

    fn watch_doorbell(&mut self, _bell: &Doorbell) -> Result<(), PortError> {
        Ok(())
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests;
