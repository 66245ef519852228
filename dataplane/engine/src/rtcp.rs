//! RTCP beside the relay: round trips from what passes, and own reports where a leg gets none.
//!
//! The round trip of a leg comes from a report block that its party sends: `now` minus the moment
//! when the sender report that it names (LSR) was sent to the party, minus the party's delay
//! (RFC 3550 §6.4.1).

use core::time::Duration;
use tandem_contract::measure::{Measurement, RTT_UNKNOWN};
use tandem_wire::rtcp::{Compound, Report, ReportBlock, RtcpError, SenderInfo, emit_cname};
use tandem_wire::rtp::Ssrc;
use tandem_wire::time::Instant;

/// Sender reports remembered per leg; a party answers the last one or two.
const NOTES: usize = 4;
/// A party that got no RTCP for this long gets ours, at first.
const FIRST_SILENCE: Duration = Duration::from_millis(2_500);
/// And then (RFC 3550 §6.2: the minimum interval).
const SILENCE: Duration = Duration::from_secs(5);

/// A sender report that was sent to the party.
#[derive(Clone, Copy, Debug, Default)]
struct Note {
    sent: Instant,
    ntp_middle: u32,
}

/// RTCP state of one leg.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RtcpState {
    notes: [Note; NOTES],
    next_note: usize,
    /// When RTCP went to the party last; its installation at first.
    last_sent: Instant,
    next_own: Instant,
    /// The party's last sender report.
    their_sr: Note,
    pub rtt_ns: u64,
    expected_before: u64,
    received_before: u64,
    /// RTCP packets of the party.
    pub received: u64,
    /// RTCP packets sent to it.
    pub sent: u64,
    /// Of these, ours.
    pub own: u64,
}

impl Default for RtcpState {
    fn default() -> Self {
        Self {
            notes: [Note::default(); NOTES],
            next_note: 0,
            last_sent: Instant::ZERO,
            next_own: Instant::ZERO,
            their_sr: Note::default(),
            rtt_ns: RTT_UNKNOWN,
            expected_before: 0,
            received_before: 0,
            received: 0,
            sent: 0,
            own: 0,
        }
    }
}

impl RtcpState {
    /// The leg exists from now on.
    pub(crate) fn start(&mut self, now: Instant) {
        self.last_sent = now;
        self.next_own = now + FIRST_SILENCE;
    }

    /// Reads what the party sent; the NTP middle of its sender report, if there is one.
    pub(crate) fn note_received(&mut self, compound: &Compound<'_>, now: Instant) -> Option<u32> {
        let mut sender_report = None;
        for packet in compound.packets() {
            if let Some(info) = packet.sender_info() {
                self.their_sr = Note { sent: now, ntp_middle: info.ntp_middle() };
                sender_report = Some(info.ntp_middle());
            }
            for block in packet.report_blocks() {
                self.note_block(&block, now);
            }
        }
        sender_report
    }

    fn note_block(&mut self, block: &ReportBlock, now: Instant) {
        let known = |note: &&Note| block.lsr != 0 && note.ntp_middle == block.lsr;
        let Some(note) = self.notes.iter().find(known) else { return };
        let total = now.since(note.sent).as_nanos();
        let theirs = (u128::from(block.dlsr) * 1_000_000_000) >> 16;
        // A party that claims to have waited longer than the time that passed says nothing: its
        // clock runs fast, or is coarser than the round trip.
        if let Some(rtt_ns) = total.checked_sub(theirs) {
            self.rtt_ns = u64::try_from(rtt_ns).unwrap_or(RTT_UNKNOWN);
        }
    }

    /// RTCP was sent to the party, with this sender report in it.
    pub(crate) fn note_sent(&mut self, sender_report: Option<u32>, now: Instant) {
        self.sent += 1;
        self.last_sent = now;
        if let Some(ntp_middle) = sender_report {
            self.notes[self.next_note] = Note { sent: now, ntp_middle };
            self.next_note = (self.next_note + 1) % NOTES;
        }
    }

    /// Whether it is time to ask [`Self::own_report_due`].
    pub(crate) fn may_be_due(&self, now: Instant) -> bool {
        now >= self.next_own
    }

    /// Whether the party got no RTCP for so long that it gets ours now. `random` spreads the next
    /// one over half to one and a half intervals (RFC 3550 §6.3.1).
    pub(crate) fn own_report_due(&mut self, now: Instant, random: u64) -> bool {
        if !self.may_be_due(now) {
            return false;
        }
        let silence = if self.own == 0 { FIRST_SILENCE } else { SILENCE };
        let silent_for = now.since(self.last_sent);
        if self.own == 0 && silent_for < silence {
            self.next_own = self.last_sent + SILENCE;
            return false;
        }
        let spread = SILENCE.as_nanos() * u128::from(random % 1_024) / 1_024;
        let next = SILENCE / 2 + Duration::from_nanos(u64::try_from(spread).unwrap_or(0));
        self.next_own = now + next;
        // What passes by from the other party keeps ours away.
        silent_for >= silence / 2
    }

    /// The party sends from another source now: report intervals begin anew.
    pub(crate) fn forget_their_reports(&mut self) {
        self.their_sr = Note::default();
    }

    /// The report block about what the party sends.
    fn block(&mut self, m: &Measurement, now: Instant) -> ReportBlock {
        let received = m.expected.cast_signed() - m.lost_rfc3550;
        let received = u64::try_from(received).unwrap_or(0);
        let expected = m.expected - self.expected_before;
        let lost = expected.saturating_sub(received.saturating_sub(self.received_before));
        (self.expected_before, self.received_before) = (m.expected, received);
        let fraction = (lost << 8).checked_div(expected).unwrap_or(0);
        let jitter = u128::from(m.jitter_ns) * u128::from(m.clock_rate) / 1_000_000_000;
        let known = self.their_sr.ntp_middle != 0;
        let delay = now.since(self.their_sr.sent).as_nanos() * 65_536 / 1_000_000_000;
        ReportBlock {
            ssrc: Ssrc(m.ssrc),
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(m.lost_rfc3550).unwrap_or(i32::MAX),
            highest_sequence: m.ext_sequence,
            jitter: u32::try_from(jitter).unwrap_or(u32::MAX),
            lsr: self.their_sr.ntp_middle,
            dlsr: if known { u32::try_from(delay).unwrap_or(u32::MAX) } else { 0 },
        }
    }

    /// Writes our report to the party and counts it; the number of octets.
    pub(crate) fn emit_own(
        &mut self,
        own: &OwnReport<'_>,
        now: Instant,
        out: &mut [u8],
    ) -> Result<usize, RtcpError> {
        let block = (own.received.expected > 0).then(|| self.block(own.received, now));
        let report = Report { sender: own.sender, info: own.info, blocks: block.as_slice() };
        let len = report.emit(out)?;
        let len = len + emit_cname(own.sender, &cname(own.name), &mut out[len..])?;
        self.own += 1;
        self.note_sent(own.info.map(|info| info.ntp_middle()), now);
        Ok(len)
    }
}

/// What our report says.
#[derive(Debug)]
pub(crate) struct OwnReport<'a> {
    /// Whose packets the party hears, else a source of our own.
    pub sender: Ssrc,
    /// What was sent to it, if something was.
    pub info: Option<SenderInfo>,
    /// What it sends.
    pub received: &'a Measurement,
    /// Random number that names the leg.
    pub name: u64,
}

/// A canonical name that tells nothing (RFC 7022): sixteen hexadecimal digits.
fn cname(name: u64) -> [u8; 16] {
    core::array::from_fn(|i| b"0123456789abcdef"[(name >> (4 * i) & 0xf) as usize])
}

/// An instant of the engine's clock as an NTP time stamp. RFC 3550 §4 allows a clock that counts
/// from the start of the machine.
pub(crate) fn ntp(now: Instant) -> u64 {
    let ns = now.as_nanos();
    let fraction = u128::from(ns % 1_000_000_000) << 32;
    (ns / 1_000_000_000) << 32 | u64::try_from(fraction / 1_000_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn round_trip_of_the_example_in_rfc_3550_figure_2() {
        // SR at 0xb44db705:2000, received back at 0xb710:8000 (middle 0xb7108000), DLSR 5.25 s:
        // the round trip is 6.125 s.
        let mut state = RtcpState::default();
        let sent = ms(1_000_000);
        state.note_sent(Some(0xb705_2000), sent);
        let block = ReportBlock { lsr: 0xb705_2000, dlsr: 0x0005_4000, ..Default::default() };
        let mut bytes = [0; 64];
        let report = Report { sender: Ssrc(1), info: None, blocks: &[block] };
        let len = report.emit(&mut bytes).unwrap();
        let compound = Compound::new(&bytes[..len]).unwrap();
        assert_eq!(state.note_received(&compound, sent + Duration::from_millis(11_375)), None);
        assert_eq!(state.rtt_ns, 6_125_000_000);
    }

    #[test]
    fn unknown_or_impossible_reports_tell_no_round_trip() {
        let mut state = RtcpState::default();
        state.note_sent(Some(77), ms(1_000));
        state.note_block(&ReportBlock { lsr: 78, ..Default::default() }, ms(1_010));
        assert_eq!(state.rtt_ns, RTT_UNKNOWN);
        let boast = ReportBlock { lsr: 77, dlsr: 65_536, ..Default::default() };
        state.note_block(&boast, ms(1_010));
        assert_eq!(state.rtt_ns, RTT_UNKNOWN);
        state.note_block(&ReportBlock { lsr: 77, dlsr: 655, ..Default::default() }, ms(1_040));
        assert!((30_000_000..30_100_000).contains(&state.rtt_ns), "{}", state.rtt_ns);
    }

    #[test]
    fn own_reports_come_only_where_none_pass() {
        let mut state = RtcpState::default();
        state.start(ms(0));
        assert!(!state.own_report_due(ms(2_499), 0));
        state.note_sent(None, ms(2_000));
        assert!(!state.own_report_due(ms(2_500), 0));
        state.note_sent(None, ms(6_900));
        assert!(!state.own_report_due(ms(7_000), 0));
        assert!(state.own_report_due(ms(12_000), 0));
    }

    #[test]
    fn own_report_is_a_compound_with_loss_of_the_interval() {
        let mut state = RtcpState::default();
        let m = Measurement {
            expected: 100,
            lost_rfc3550: 25,
            ssrc: 7,
            ext_sequence: 100,
            jitter_ns: 10_000_000,
            clock_rate: 8_000,
            ..Default::default()
        };
        let info = SenderInfo { ntp: ntp(ms(1_500)), rtp: 1, packets: 2, octets: 3 };
        let own = OwnReport { sender: Ssrc(9), info: Some(info), received: &m, name: 0xabc };
        let mut out = [0; 128];
        let len = state.emit_own(&own, ms(1_500), &mut out).unwrap();
        let compound = Compound::new(&out[..len]).unwrap();
        let packets: Vec<_> = compound.packets().collect();
        assert_eq!(packets[0].sender_info(), Some(info));
        let block = packets[0].report_blocks().next().unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost, block.jitter), (64, 25, 80));
        assert_eq!(packets[1].cname(), Some((Ssrc(9), &b"cba0000000000000"[..])));
        assert_eq!(info.ntp_middle(), 0x0001_8000);
        assert_eq!((state.own, state.sent), (1, 1));
        let len = state.emit_own(&own, ms(6_500), &mut out).unwrap();
        let compound = Compound::new(&out[..len]).unwrap();
        let block = compound.packets().next().unwrap().report_blocks().next().unwrap();
        assert_eq!(block.fraction_lost, 0, "nothing new was expected, nothing new was lost");
    }
}
