//! The sending half of an RTP session: audio and telephone events, one packet a tick.

use crate::audio::Source;
use crate::sdp::Agreed;
use std::collections::VecDeque;
use tandem_dsp::dtmf::{self, Generator};
use tandem_dsp::g711::Law;
use tandem_wire::rtp::{HEADER_LEN, RtpHeader, SeqNo, Ssrc, Timestamp};
use tandem_wire::telephone_event::TelephoneEvent;

/// Duration of a digit, time stamp units (100 ms).
const DIGIT_UNITS: u16 = 800;
/// Audio between two digits, units (80 ms).
const PAUSE_UNITS: u16 = 640;
/// The packet that ends an event goes out this often (RFC 4733 §2.5.1.4).
const END_COPIES: u8 = 3;
/// Volume of telephone events, -dBm0.
const EVENT_VOLUME: u8 = 10;
/// Level of each tone of a digit sent as sound, dBov.
const INBAND_DBOV: f32 = -13.0;
/// Largest packet: 120 ms of G.711 and the header.
pub const MAX_PACKET: usize = HEADER_LEN + 960;

/// What is known of the codec and numbers of a stream at its start.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Synchronisation source.
    pub ssrc: Ssrc,
    /// First sequence number; random (RFC 3550 §5.1).
    pub sequence: u16,
    /// First time stamp; random.
    pub timestamp: u32,
}

/// The sending half.
#[derive(Debug)]
pub struct Sender {
    identity: Identity,
    sequence: SeqNo,
    timestamp: u32,
    agreed: Agreed,
    units_per_packet: u16,
    source: Source,
    sending: bool,
    talk_spurt: bool,
    digits: VecDeque<char>,
    event: Option<Event>,
    pause: u16,
    packets: u64,
    octets: u64,
    sent_digits: String,
}

/// A digit on its way.
#[derive(Debug)]
enum Event {
    /// As packets of its own (RFC 4733).
    Named { code: u8, started: u32, duration: u16, ends_sent: u8 },
    /// As sound.
    Sound { tones: Generator, left: u16 },
}

impl Sender {
    /// A sender of packets of `ptime_ms`; it sends nothing until [`Self::set_sending`].
    #[must_use]
    pub const fn new(identity: Identity, agreed: Agreed, ptime_ms: u16, source: Source) -> Self {
        Self {
            identity,
            sequence: SeqNo(identity.sequence),
            timestamp: identity.timestamp,
            agreed,
            units_per_packet: ptime_ms.saturating_mul(8),
            source,
            sending: false,
            talk_spurt: true,
            digits: VecDeque::new(),
            event: None,
            pause: 0,
            packets: 0,
            octets: 0,
            sent_digits: String::new(),
        }
    }

    /// Starts or stops sending (hold); the time stamp runs on.
    pub const fn set_sending(&mut self, sending: bool) {
        if sending && !self.sending {
            self.talk_spurt = true;
        }
        self.sending = sending;
    }

    /// Takes what a later offer and answer agreed on.
    pub const fn set_agreed(&mut self, agreed: Agreed) {
        self.agreed = agreed;
    }

    /// Sends digits one after the other.
    pub fn push_digits(&mut self, digits: &str) {
        self.digits.extend(digits.chars());
    }

    /// Whether digits are still waiting or on their way.
    #[must_use]
    pub fn has_digits(&self) -> bool {
        self.event.is_some() || !self.digits.is_empty()
    }

    /// The next packet, `None` while on hold. To be called once per packet duration.
    pub fn next_packet<'a>(&mut self, out: &'a mut [u8; MAX_PACKET]) -> Option<&'a [u8]> {
        let units = self.units_per_packet;
        let packet = if self.sending { self.build(out) } else { None };
        self.timestamp = self.timestamp.wrapping_add(u32::from(units));
        packet
    }

    fn build<'a>(&mut self, out: &'a mut [u8; MAX_PACKET]) -> Option<&'a [u8]> {
        self.begin_digit();
        if let Some(Event::Named { .. }) = self.event {
            return self.event_packet(out);
        }
        self.pause = self.pause.saturating_sub(self.units_per_packet);
        let size = usize::from(self.units_per_packet);
        let mut samples = [0; MAX_PACKET];
        let samples = samples.get_mut(..size)?;
        self.source.fill(samples);
        self.sound_digit(samples);
        let payload = out.get_mut(HEADER_LEN..HEADER_LEN + size)?;
        self.agreed.law.encode(samples, payload);
        let marker = core::mem::take(&mut self.talk_spurt);
        self.finish(out, self.agreed.payload_type, self.timestamp, marker, size)
    }

    /// Takes the next digit off the queue if none is on its way and the pause is over.
    fn begin_digit(&mut self) {
        if self.event.is_some() || self.pause > 0 {
            return;
        }
        let Some(digit) = self.digits.pop_front() else { return };
        let Some(code) = dtmf::event_code(digit) else { return };
        self.sent_digits.push(digit);
        self.event = if self.agreed.dtmf.is_some() {
            Some(Event::Named { code, started: self.timestamp, duration: 0, ends_sent: 0 })
        } else {
            let sound = |tones| Event::Sound { tones, left: DIGIT_UNITS };
            Generator::new(digit, INBAND_DBOV).map(sound)
        };
    }

    fn event_packet<'a>(&mut self, out: &'a mut [u8; MAX_PACKET]) -> Option<&'a [u8]> {
        let payload_type = self.agreed.dtmf?;
        let Some(Event::Named { code, started, duration, ends_sent }) = &mut self.event else {
            return None;
        };
        *duration = duration.saturating_add(self.units_per_packet).min(DIGIT_UNITS);
        let first = *duration == self.units_per_packet && *ends_sent == 0;
        let end = *duration >= DIGIT_UNITS;
        let event = TelephoneEvent { code: *code, end, volume: EVENT_VOLUME, duration: *duration };
        let started = *started;
        *ends_sent += u8::from(end);
        if *ends_sent == END_COPIES {
            self.event = None;
            self.pause = PAUSE_UNITS;
            self.talk_spurt = true;
        }
        let size = event.emit(out.get_mut(HEADER_LEN..)?).ok()?;
        self.finish(out, payload_type, started, first, size)
    }

    /// Replaces the audio by the tones of a digit that is sent as sound.
    fn sound_digit(&mut self, samples: &mut [i16]) {
        let Some(Event::Sound { tones, left }) = &mut self.event else { return };
        tones.fill(samples);
        *left = left.saturating_sub(self.units_per_packet);
        if *left == 0 {
            self.event = None;
            self.pause = PAUSE_UNITS;
        }
    }

    fn finish<'a>(
        &mut self,
        out: &'a mut [u8; MAX_PACKET],
        payload_type: u8,
        timestamp: u32,
        marker: bool,
        payload_len: usize,
    ) -> Option<&'a [u8]> {
        let header = RtpHeader {
            ssrc: self.identity.ssrc,
            timestamp: Timestamp(timestamp),
            sequence: self.sequence,
            payload_type,
            marker,
            ..RtpHeader::default()
        };
        header.emit(&[], out).ok()?;
        self.sequence = self.sequence.next();
        self.packets += 1;
        self.octets += payload_len as u64;
        out.get(..HEADER_LEN + payload_len)
    }

    /// Synchronisation source.
    #[must_use]
    pub const fn ssrc(&self) -> Ssrc {
        self.identity.ssrc
    }

    /// Packets and payload octets sent.
    #[must_use]
    pub const fn sent(&self) -> (u64, u64) {
        (self.packets, self.octets)
    }

    /// Time stamp of the next packet.
    #[must_use]
    pub const fn timestamp(&self) -> Timestamp {
        Timestamp(self.timestamp)
    }

    /// Digits whose sending began.
    #[must_use]
    pub fn sent_digits(&self) -> &str {
        &self.sent_digits
    }

    /// Codec in use.
    #[must_use]
    pub const fn law(&self) -> Law {
        self.agreed.law
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_wire::rtp::RtpView;

    fn sender(dtmf: Option<u8>) -> Sender {
        let identity = Identity { ssrc: Ssrc(9), sequence: 65_535, timestamp: u32::MAX - 100 };
        let agreed = Agreed { law: Law::Mu, payload_type: 0, dtmf, rtcp_mux: false };
        let mut sender = Sender::new(identity, agreed, 20, Source::Silence);
        sender.set_sending(true);
        sender
    }

    /// Sequence number, time stamp, marker, payload type, payload of the next packet.
    fn next(sender: &mut Sender) -> (u16, u32, bool, u8, Vec<u8>) {
        let mut out = [0; MAX_PACKET];
        let view = RtpView::new(sender.next_packet(&mut out).unwrap()).unwrap();
        let header = view.header();
        let numbers = (header.sequence.0, header.timestamp.0, header.marker, header.payload_type);
        (numbers.0, numbers.1, numbers.2, numbers.3, view.payload().to_vec())
    }

    #[test]
    fn audio_counts_up_and_wraps() {
        let mut sender = sender(Some(101));
        assert_eq!(next(&mut sender), (65_535, u32::MAX - 100, true, 0, vec![0xff; 160]));
        assert_eq!(next(&mut sender), (0, 59, false, 0, vec![0xff; 160]));
        assert_eq!(sender.sent(), (2, 320));
    }

    #[test]
    fn hold_keeps_the_time_and_marks_the_resumption() {
        let mut sender = sender(None);
        next(&mut sender);
        sender.set_sending(false);
        let mut out = [0; MAX_PACKET];
        assert!(sender.next_packet(&mut out).is_none());
        sender.set_sending(true);
        let (sequence, timestamp, marker, ..) = next(&mut sender);
        assert_eq!((sequence, timestamp, marker), (0, 59 + 160, true));
    }

    #[test]
    fn a_digit_is_five_growing_packets_and_three_ends() {
        let mut sender = sender(Some(101));
        next(&mut sender);
        sender.push_digits("#5");
        let mut packets = Vec::new();
        while sender.sent_digits() != "#5" {
            packets.push(next(&mut sender));
        }
        let events: Vec<_> = packets.iter().take_while(|p| p.3 == 101).collect();
        let ends = |payload: &[u8]| TelephoneEvent::parse(payload).unwrap().end;
        let durations: Vec<u16> =
            events.iter().map(|p| TelephoneEvent::parse(&p.4).unwrap().duration).collect();
        assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
        assert_eq!(events.iter().filter(|p| ends(&p.4)).count(), 3);
        assert!(events.iter().all(|p| p.1 == 59 && p.4[0] == 11));
        assert!(events[0].2 && !events[1].2);
        // Then 80 ms of audio, whose time stamp counted on meanwhile.
        let audio: Vec<_> = packets.iter().filter(|p| p.3 == 0).collect();
        assert_eq!((audio.len(), audio[0].1), (4, 59 + 7 * 160));
    }

    #[test]
    fn without_telephone_events_digits_are_sound() {
        let mut sender = sender(None);
        sender.push_digits("159");
        let mut heard = String::new();
        let mut detector = dtmf::Detector::new();
        for _ in 0..40 {
            let mut samples = [0; 160];
            Law::Mu.decode(&next(&mut sender).4, &mut samples);
            detector.push(&samples, |digit| heard.push(digit));
        }
        assert_eq!(heard, "159");
        assert!(!sender.has_digits());
    }
}
