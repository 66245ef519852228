//! RTCP of one session: own sender and receiver reports, and what the other side reports
//! (RFC 3550 §6).

use super::sender::Sender;
use std::time::Duration;
use tandem_contract::measure::Measurement;
use tandem_wire::rtcp::{self, Compound, PacketView, ReportBlock, SenderInfo};
use tandem_wire::rtp::Ssrc;
use tandem_wire::time::Instant;

/// Largest compound packet that is built.
const MAX_COMPOUND: usize = 512;

/// State of the reports.
#[derive(Debug)]
pub struct Reports {
    cname: String,
    interval: Duration,
    next: Option<Instant>,
    /// Middle bits of the last sender report's time, and when it came.
    last_report: Option<(Ssrc, u32, Instant)>,
    /// Expected and lost packets at our last report, for the fraction.
    reported: (u64, i64),
    sent: u64,
    received: u64,
    rtt: Option<Duration>,
    remote_lost: Option<i32>,
    remote_jitter_units: Option<u32>,
}

impl Reports {
    /// No reports yet; `interval` is their mean distance.
    #[must_use]
    pub const fn new(cname: String, interval: Duration) -> Self {
        Self {
            cname,
            interval,
            next: None,
            last_report: None,
            reported: (0, 0),
            sent: 0,
            received: 0,
            rtt: None,
            remote_lost: None,
            remote_jitter_units: None,
        }
    }

    /// When the next report is due.
    #[must_use]
    pub const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Plans the next report half to one and a half intervals ahead, the first one sooner by half
    /// (RFC 3550 §6.2, §6.3.1). `random` is any number.
    pub fn schedule(&mut self, now: Instant, random: u16) {
        let base = if self.next.is_none() { self.interval / 2 } else { self.interval };
        self.next = Some(now + base / 2 + base * u32::from(random) / 65_536);
    }

    /// Takes a compound packet; `own` is the SSRC that its report blocks may be about. Returns
    /// whether it was one.
    pub fn handle(&mut self, now: Instant, now_ntp: u64, own: Ssrc, bytes: &[u8]) -> bool {
        let Ok(compound) = Compound::new(bytes) else { return false };
        self.received += 1;
        for packet in compound.packets() {
            if let (Some(info), Some(ssrc)) = (packet.sender_info(), packet.ssrc()) {
                self.last_report = Some((ssrc, info.ntp_middle(), now));
            }
            self.take_blocks(&packet, now_ntp, own);
        }
        true
    }

    fn take_blocks(&mut self, packet: &PacketView<'_>, now_ntp: u64, own: Ssrc) {
        for block in packet.report_blocks().filter(|block| block.ssrc == own) {
            self.remote_lost = Some(block.cumulative_lost);
            self.remote_jitter_units = Some(block.jitter);
            if block.lsr == 0 {
                continue;
            }
            let now_middle = SenderInfo { ntp: now_ntp, ..SenderInfo::default() }.ntp_middle();
            let away = now_middle.wrapping_sub(block.lsr);
            // A clock step or a lie makes this negative: no round trip then.
            if let Some(units) = away.checked_sub(block.dlsr).filter(|units| *units < 1 << 24) {
                self.rtt = Some(Duration::from_nanos(u64::from(units) * 1_000_000_000 / 65_536));
            }
        }
    }

    /// Builds a report: a sender report if anything was sent, else a receiver report, and the
    /// canonical name; with `bye` also a BYE. `None` if there is nothing to report at all.
    pub fn build(
        &mut self,
        now: Instant,
        now_ntp: u64,
        sender: &Sender,
        measured: &Measurement,
        bye: bool,
    ) -> Option<Vec<u8>> {
        let (packets, octets) = sender.sent();
        let info = (packets > 0).then(|| SenderInfo {
            ntp: now_ntp,
            rtp: sender.timestamp().0,
            packets: low_half(packets),
            octets: low_half(octets),
        });
        let block = (measured.packets > 0).then(|| self.block(now, measured));
        if info.is_none() && block.is_none() && !bye {
            return None;
        }
        let report = rtcp::Report { sender: sender.ssrc(), info, blocks: block.as_slice() };
        let mut out = vec![0; MAX_COMPOUND];
        let mut len = report.emit(&mut out).ok()?;
        len += rtcp::emit_cname(sender.ssrc(), self.cname.as_bytes(), out.get_mut(len..)?).ok()?;
        if bye {
            len += rtcp::emit_bye(&[sender.ssrc()], b"", out.get_mut(len..)?).ok()?;
        }
        out.truncate(len);
        self.sent += 1;
        Some(out)
    }

    fn block(&mut self, now: Instant, measured: &Measurement) -> ReportBlock {
        let expected = measured.expected.saturating_sub(self.reported.0);
        let lost = u64::try_from(measured.lost_rfc3550 - self.reported.1).unwrap_or(0);
        self.reported = (measured.expected, measured.lost_rfc3550);
        let fraction = (lost << 8).checked_div(expected).unwrap_or(0).min(255);
        let heard = self.last_report.filter(|(ssrc, ..)| ssrc.0 == measured.ssrc);
        let (lsr, dlsr) = heard.map_or((0, 0), |(_, middle, at)| (middle, units(now.since(at))));
        let limit = i64::from(i32::MAX);
        let cumulative = measured.lost_rfc3550.clamp(-limit, limit);
        ReportBlock {
            ssrc: Ssrc(measured.ssrc),
            fraction_lost: u8::try_from(fraction).unwrap_or(255),
            cumulative_lost: i32::try_from(cumulative).unwrap_or(i32::MAX),
            highest_sequence: measured.ext_sequence,
            jitter: jitter_units(measured),
            lsr,
            dlsr,
        }
    }

    /// Round trip by the last report that allowed one.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Compound packets sent and received.
    #[must_use]
    pub const fn counts(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    /// Packets that the other side lost of ours, and their jitter there in time stamp units.
    #[must_use]
    pub const fn remote(&self) -> (Option<i32>, Option<u32>) {
        (self.remote_lost, self.remote_jitter_units)
    }
}

/// A duration in 1/65536 s.
fn units(duration: Duration) -> u32 {
    let units = duration.as_nanos() * 65_536 / 1_000_000_000;
    u32::try_from(units).unwrap_or(u32::MAX)
}

fn jitter_units(measured: &Measurement) -> u32 {
    let rate = if measured.clock_rate == 0 { 8_000 } else { u64::from(measured.clock_rate) };
    u32::try_from(measured.jitter_ns.saturating_mul(rate) / 1_000_000_000).unwrap_or(u32::MAX)
}

/// A counter modulo 2^32, as reports carry it.
fn low_half(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Source;
    use crate::media::sender::{Identity, MAX_PACKET};
    use crate::sdp::Agreed;
    use tandem_dsp::g711::Law;

    fn sender(ssrc: u32, packets: u32) -> Sender {
        let identity = Identity { ssrc: Ssrc(ssrc), sequence: 1, timestamp: 1000 };
        let agreed = Agreed { law: Law::Mu, payload_type: 0, dtmf: None, rtcp_mux: false };
        let mut sender = Sender::new(identity, agreed, 20, Source::Silence);
        sender.set_sending(true);
        for _ in 0..packets {
            sender.next_packet(&mut [0; MAX_PACKET]).unwrap();
        }
        sender
    }

    fn reports() -> Reports {
        Reports::new("a@b".into(), Duration::from_secs(5))
    }

    /// Wall clocks of the two sides differ by years: it does not matter.
    const NTP_A: u64 = 0xeeee_0000_0000_0000;
    const NTP_B: u64 = 0x1234_5678_0000_0000;

    fn ntp(base: u64, ms: u64) -> u64 {
        base + (ms << 32) / 1000
    }

    #[test]
    fn round_trip_of_80_ms_is_measured() {
        let (mut a, mut b) = (reports(), reports());
        let at = Instant::from_millis;
        let (from_a, from_b) = (sender(1, 10), sender(2, 10));
        let heard_a = Measurement {
            packets: 9,
            expected: 10,
            lost_rfc3550: 1,
            ssrc: 1,
            ..Default::default()
        };
        // A reports at 1,000; B hears it 40 ms later and reports 500 ms after that.
        let report = a.build(at(1000), ntp(NTP_A, 1000), &from_a, &Measurement::default(), false);
        assert!(b.handle(at(1040), ntp(NTP_B, 1040), Ssrc(2), &report.unwrap()));
        let report = b.build(at(1540), ntp(NTP_B, 1540), &from_b, &heard_a, false).unwrap();
        assert!(a.handle(at(1580), ntp(NTP_A, 1580), Ssrc(1), &report));
        let rtt = a.rtt().unwrap().as_secs_f64();
        assert!((rtt - 0.080).abs() < 0.000_1, "{rtt}");
        assert_eq!(a.remote().0, Some(1));
        let compound = Compound::new(&report).unwrap();
        let block = compound.packets().next().unwrap().report_blocks().next().unwrap();
        assert_eq!(block.fraction_lost, 25);
    }

    #[test]
    fn reports_about_others_and_impossible_times_give_no_round_trip() {
        let mut a = reports();
        let block = ReportBlock { ssrc: Ssrc(1), lsr: 0xffff_0000, dlsr: 7, ..Default::default() };
        for (own, text) in [(Ssrc(5), "other"), (Ssrc(1), "negative")] {
            let report = rtcp::Report { sender: Ssrc(2), info: None, blocks: &[block] };
            let mut out = [0; 64];
            let len = report.emit(&mut out).unwrap();
            assert!(a.handle(Instant::ZERO, 0x8000_0000_0000, own, &out[..len]));
            assert_eq!(a.rtt(), None, "{text}");
        }
        assert!(!a.handle(Instant::ZERO, 0, Ssrc(1), b"garbage"));
    }

    #[test]
    fn nothing_sent_and_nothing_heard_is_no_report_but_a_bye() {
        let mut a = reports();
        let none = Measurement::default();
        assert_eq!(a.build(Instant::ZERO, 0, &sender(1, 0), &none, false), None);
        let bye = a.build(Instant::ZERO, 0, &sender(1, 0), &none, true).unwrap();
        let kinds: Vec<u8> = Compound::new(&bye).unwrap().packets().map(|p| p.kind()).collect();
        assert_eq!(kinds, [rtcp::PT_RR, rtcp::PT_SDES, rtcp::PT_BYE]);
    }

    #[test]
    fn reports_come_at_random_around_the_interval() {
        let mut a = reports();
        a.schedule(Instant::ZERO, 0);
        assert_eq!(a.next(), Some(Instant::from_millis(1_250)));
        a.schedule(Instant::ZERO, 32_768);
        assert_eq!(a.next(), Some(Instant::from_millis(5_000)));
    }
}
