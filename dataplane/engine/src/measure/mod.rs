//! Measurement of one received RTP stream, in integers, without RTCP.
//!
//! What every packet touches is a hot record, [`StreamHot`], and one word of a bitmap,
//! [`Window`]; everything rare is in [`StreamCold`]. [`Receiver`] holds all three for users that
//! have few streams.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `sequence` | extended sequence numbers, loss, disorder, restarts (RFC 3550 A.1, A.3) |
//! | `window` | which of the last sequence numbers came |
//! | `burst` | bursts and gaps (RFC 3611 §4.7.2) |
//! | `clock` | payload types and their clock rates |
//! | `snapshot` | the record that readers get |
//! | `receiver` | all of it in one value |

mod burst;
mod clock;
mod receiver;
mod sequence;
mod snapshot;
#[cfg(test)]
mod tests;
mod window;

pub use burst::Burst;
pub use receiver::Receiver;
pub use window::Window;

use tandem_contract::command::PayloadType;
use tandem_contract::limits::{MAX_DROPOUT, MAX_PAYLOAD_TYPES};
use tandem_contract::measure::INTERARRIVAL_BUCKETS;
use tandem_wire::rtp::{FixedHeader, HEADER_LEN, RtpHeader};

/// The payload types of a stream, as control states them.
pub type PayloadTypes = [PayloadType; MAX_PAYLOAD_TYPES];

/// Width of the bit rate window, ns.
const WINDOW_NS: u64 = 1_000_000_000;
/// First extended sequence numbers begin here, so that there is room below for packets that
/// overtook the first one.
const EXT_BASE: u64 = 0x1_0000;
/// Largest step that is a gap of lost packets and not a restart.
const MAX_STEP: u16 = MAX_DROPOUT + 1;
/// `StreamHot::media_type` before the first media packet.
const NO_TYPE: u8 = 255;

/// One RTP packet as the measurement sees it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Its header.
    pub header: &'a RtpHeader,
    /// Octets of the UDP payload.
    pub wire_len: u16,
    /// When it arrived, ns.
    pub arrival_ns: u64,
}

/// What a packet was, beyond one more of the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// It is a telephone event (RFC 4733).
    pub telephone_event: bool,
    /// It is the first of an SSRC that follows another.
    pub ssrc_changed: bool,
}

/// State that every packet touches.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct StreamHot {
    /// Highest extended sequence number plus `EXT_BASE`; 0 before the first packet.
    ext: u64,
    /// Octets of UDP payload.
    wire_octets: u64,
    /// Arrival of the last packet, ns; 0 none.
    last_ns: u64,
    /// Arrival of the last media packet, ns; 0 none, or none to compare with.
    media_ns: u64,
    /// Sixteen times the jitter, ns (RFC 3550 A.8).
    jitter_x16: u64,
    jitter_max_x16: u64,
    /// End of the running bit rate window, ns.
    window_end_ns: u64,
    /// Of `wire_octets`, header and padding.
    overhead: u64,
    ssrc: u32,
    /// Time stamp of the last media packet.
    timestamp: u32,
    /// Nanoseconds per clock unit, times 4,096; 0 if the clock rate is not known.
    unit_q12: u32,
    /// Last time stamp step between two packets in sequence.
    packet_units: u32,
    packets: u64,
    media_type: u8,
    /// `media_type` while its packets can be compared in transit time, else no type.
    plain_type: u8,
    /// Place of the highest number's word in the bitmap.
    place: u16,
    reserved: [u8; 4],
    interarrival: [u32; INTERARRIVAL_BUCKETS],
}

/// State that few packets touch.
#[derive(Clone, Copy, Debug)]
pub struct StreamCold {
    /// First extended sequence number of the running segment.
    base: u64,
    /// Packets expected in the segments before (restarts, SSRC changes).
    expected_before: u64,
    duplicated: u64,
    reordered: u64,
    /// Packets far off the sequence that no second one followed (RFC 3550 A.1).
    strays: u64,
    restarts: u64,
    ssrc_changes: u64,
    first_ns: u64,
    /// `wire_octets` at the start of the running bit rate window.
    window_start_octets: u64,
    bitrate_bps: u64,
    bitrate_peak_bps: u64,
    /// Words of the bitmap below this one are counted in `burst`.
    settled_word: u64,
    burst: Burst,
    clock_rate: u32,
    /// Sequence number that would make a far one a restart; out of range for none.
    jump_next: u32,
    /// Whether the first of the two was counted as a stray, not as a duplicate.
    jump_stray: bool,
    codec: u8,
}

impl Default for StreamHot {
    fn default() -> Self {
        Self {
            ext: 0,
            wire_octets: 0,
            last_ns: 0,
            media_ns: 0,
            jitter_x16: 0,
            jitter_max_x16: 0,
            window_end_ns: 0,
            overhead: 0,
            ssrc: 0,
            timestamp: 0,
            unit_q12: 0,
            packet_units: 0,
            packets: 0,
            media_type: NO_TYPE,
            plain_type: NO_TYPE,
            place: 0,
            reserved: [0; 4],
            interarrival: [0; INTERARRIVAL_BUCKETS],
        }
    }
}

impl Default for StreamCold {
    fn default() -> Self {
        Self {
            base: 0,
            expected_before: 0,
            duplicated: 0,
            reordered: 0,
            strays: 0,
            restarts: 0,
            ssrc_changes: 0,
            first_ns: 0,
            window_start_octets: 0,
            bitrate_bps: 0,
            bitrate_peak_bps: 0,
            settled_word: 0,
            burst: Burst::default(),
            clock_rate: 0,
            jump_next: sequence::NO_JUMP,
            jump_stray: false,
            codec: 0,
        }
    }
}

impl StreamHot {
    /// Counts a packet with a plain header that is the next of a running stream in every respect,
    /// which nearly all are; `false`, with nothing counted, if it is not: then it is for
    /// [`StreamHot::note`].
    #[inline]
    pub fn note_plain(
        &mut self,
        window: &mut Window,
        header: &FixedHeader,
        wire_len: u16,
        arrival_ns: u64,
    ) -> bool {
        let ext = self.ext + 1;
        let plain = header.ssrc().0 == self.ssrc
            && header.sequence().0 == sequence::low(ext)
            && header.payload_type() == self.plain_type
            && arrival_ns < self.window_end_ns
            // No new word of the bitmap has to be begun.
            && !ext.is_multiple_of(64);
        if !plain {
            return false;
        }
        self.ext = ext;
        window.set_at(self.place, ext);
        self.packets += 1;
        self.wire_octets += u64::from(wire_len);
        self.overhead += HEADER_LEN as u64;
        // Of a clock that goes back, the difference is huge and counts in the last bucket.
        self.note_interarrival(arrival_ns.wrapping_sub(self.last_ns));
        self.last_ns = arrival_ns;
        let timestamp = header.timestamp().0;
        let units = timestamp.wrapping_sub(self.timestamp).cast_signed();
        self.compare_transit(arrival_ns, units);
        if units > 0 {
            self.packet_units = units.cast_unsigned();
        }
        self.timestamp = timestamp;
        self.media_ns = arrival_ns;
        true
    }

    fn count(&mut self, packet: &Packet<'_>) {
        let header = packet.header;
        self.packets += 1;
        self.wire_octets += u64::from(packet.wire_len);
        self.overhead += u64::from(header.header_len) + u64::from(header.padding);
    }

    /// Counts one packet.
    pub fn note(
        &mut self,
        window: &mut Window,
        cold: &mut StreamCold,
        types: &PayloadTypes,
        packet: &Packet<'_>,
    ) -> Noted {
        let mut noted = Noted::default();
        let header = packet.header;
        if header.ssrc.0 != self.ssrc || self.ext == 0 {
            noted.ssrc_changed = self.begin_source(window, cold, packet);
        }
        let step = header.sequence.0.wrapping_sub(sequence::low(self.ext));
        let mut on_track = true;
        if step == 1 {
            self.ext += 1;
            if self.ext.is_multiple_of(64) {
                self.enter_words(window, cold);
            }
            window.set(self.ext);
        } else {
            on_track = self.disorder(window, cold, header.sequence.0, step);
        }
        self.place = Window::place_of(self.ext);
        if packet.arrival_ns >= self.window_end_ns {
            self.roll_window(cold, packet.arrival_ns);
        }
        self.count(packet);
        if self.last_ns != 0 {
            self.note_interarrival(packet.arrival_ns.saturating_sub(self.last_ns));
        }
        self.last_ns = packet.arrival_ns;
        if header.payload_type != self.media_type {
            noted.telephone_event = self.other_type(cold, types, header.payload_type);
            if noted.telephone_event {
                return noted;
            }
        }
        if on_track {
            self.note_jitter(packet, step);
        }
        noted
    }

    /// RFC 3550 A.8, with transit times in nanoseconds instead of clock units: no rounding to the
    /// payload's clock, and the relative transit times of two packets may differ by minutes.
    #[inline]
    fn compare_transit(&mut self, arrival_ns: u64, units: i32) {
        let media = (i64::from(units) * i64::from(self.unit_q12)) >> 12;
        let elapsed = arrival_ns.wrapping_sub(self.media_ns).cast_signed();
        let d = elapsed.wrapping_sub(media).unsigned_abs();
        self.jitter_x16 = (self.jitter_x16 + d) - ((self.jitter_x16 + 8) >> 4);
        self.jitter_max_x16 = self.jitter_max_x16.max(self.jitter_x16);
    }

    /// Jitter and packet duration with whatever is known, and what the next packet compares with.
    fn note_jitter(&mut self, packet: &Packet<'_>, step: u16) {
        let header = packet.header;
        let units = header.timestamp.0.wrapping_sub(self.timestamp).cast_signed();
        if self.media_ns != 0 {
            if self.unit_q12 != 0 {
                self.compare_transit(packet.arrival_ns, units);
                self.plain_type = self.media_type;
            }
            if step == 1 && units > 0 {
                self.packet_units = units.cast_unsigned();
            }
        }
        self.timestamp = header.timestamp.0;
        self.media_ns = packet.arrival_ns;
    }

    /// The next packet has nothing to compare with.
    fn forget_transit(&mut self) {
        self.media_ns = 0;
        self.plain_type = NO_TYPE;
    }

    /// Bucket `i` takes times below 2^i quarters of a millisecond.
    #[inline]
    fn note_interarrival(&mut self, ns: u64) {
        let quarters = ns / 250_000;
        let bucket = (quarters << 1 | 1).ilog2() as usize;
        self.interarrival[bucket.min(INTERARRIVAL_BUCKETS - 1)] += 1;
    }

    #[cold]
    fn roll_window(&mut self, cold: &mut StreamCold, now_ns: u64) {
        if self.window_end_ns == 0 {
            cold.first_ns = now_ns;
            self.window_end_ns = now_ns + WINDOW_NS;
            return;
        }
        let rate = (self.wire_octets - cold.window_start_octets) * 8;
        cold.bitrate_peak_bps = cold.bitrate_peak_bps.max(rate);
        cold.window_start_octets = self.wire_octets;
        if now_ns < self.window_end_ns + WINDOW_NS {
            cold.bitrate_bps = rate;
            self.window_end_ns += WINDOW_NS;
        } else {
            cold.bitrate_bps = 0;
            self.window_end_ns = now_ns + WINDOW_NS;
        }
    }

    /// Counts one packet of a stream that is not RTP.
    pub fn note_opaque(&mut self, cold: &mut StreamCold, len: u16, arrival_ns: u64) {
        if arrival_ns >= self.window_end_ns {
            self.roll_window(cold, arrival_ns);
        }
        self.packets += 1;
        self.wire_octets += u64::from(len);
        if self.last_ns != 0 {
            self.note_interarrival(arrival_ns.saturating_sub(self.last_ns));
        }
        self.last_ns = arrival_ns;
    }

    /// Arrival of the last packet, ns; 0 if none came.
    #[must_use]
    pub const fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Packets received.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Current SSRC.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Whether a packet with this SSRC and sequence number would continue the stream: ahead of
    /// what came, by no more than a gap may have.
    #[must_use]
    pub fn continues(&self, ssrc: u32, sequence: u16) -> bool {
        let step = sequence.wrapping_sub(sequence::low(self.ext));
        self.ext != 0 && ssrc == self.ssrc && (1..=MAX_STEP).contains(&step)
    }

    /// Media time that the stream has at `now_ns`, extrapolated from its last packet; `None`
    /// without a known clock rate.
    #[must_use]
    pub fn media_time(&self, cold: &StreamCold, now_ns: u64) -> Option<u32> {
        if self.media_ns == 0 || cold.clock_rate == 0 {
            return None;
        }
        let elapsed = u128::from(now_ns.saturating_sub(self.media_ns));
        let units = elapsed * u128::from(cold.clock_rate) / 1_000_000_000;
        let units = u32::try_from(units & u128::from(u32::MAX)).unwrap_or(0);
        Some(self.timestamp.wrapping_add(units))
    }
}
