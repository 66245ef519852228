//! One RTP session without sockets and clock: packets and time in, packets and figures out.

use super::meter::Meter;
use super::reports::Reports;
use super::sender::{Identity, MAX_PACKET, Sender};
use crate::audio::{self, AudioReport, Play, Recorder, Source, rounded};
use crate::error::UaError;
use crate::report::RtpReport;
use crate::sdp::{Agreed, Remote, codec_name};
use std::net::SocketAddr;
use std::time::Duration;
use tandem_dsp::dtmf;
use tandem_wire::demux::{Class, classify};
use tandem_wire::rtp::{RtpView, Ssrc};
use tandem_wire::telephone_event::TelephoneEvent;
use tandem_wire::time::Instant;

/// Which socket a datagram came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The one for RTP, and for RTCP when multiplexed.
    Rtp,
    /// The one for RTCP.
    Rtcp,
}

/// What a session is told at its start.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Own address of RTP.
    pub local: SocketAddr,
    /// What to play.
    pub play: Play,
    /// Whether all that is received is kept for a recording.
    pub record: bool,
    /// Packet duration, ms.
    pub ptime_ms: u16,
    /// Mean distance of RTCP reports.
    pub rtcp_interval: Duration,
    /// Canonical name in RTCP.
    pub cname: String,
    /// Random: SSRC, first sequence number, first time stamp.
    pub identity: Identity,
}

/// One RTP session.
#[derive(Debug)]
pub struct Session {
    local: SocketAddr,
    sender: Sender,
    meter: Meter,
    recorder: Recorder,
    reports: Reports,
    agreed: Agreed,
    remote: Option<(SocketAddr, SocketAddr)>,
    /// Source of the first good packet: later ones must come from there (or the announced one).
    latched: Option<SocketAddr>,
    heard_ssrc: Option<Ssrc>,
    last_event: Option<u32>,
    digits: String,
    foreign: u64,
}

impl Session {
    /// A session that knows nothing of the other side yet; it receives but does not send.
    ///
    /// # Errors
    /// The file to play cannot be read.
    pub fn new(config: SessionConfig, agreed: Agreed) -> Result<Self, UaError> {
        let source = Source::open(&config.play)?;
        Ok(Self {
            local: config.local,
            sender: Sender::new(config.identity, agreed, config.ptime_ms, source),
            meter: Meter::new(&agreed),
            recorder: Recorder::new(config.record),
            reports: Reports::new(config.cname, config.rtcp_interval),
            agreed,
            remote: None,
            latched: None,
            heard_ssrc: None,
            last_event: None,
            digits: String::new(),
            foreign: 0,
        })
    }

    /// Takes what offer and answer agreed on; `sending` is whether media may go out now.
    pub fn apply(&mut self, agreed: Agreed, remote: &Remote, sending: bool) {
        let rtcp = if agreed.rtcp_mux { remote.rtp } else { remote.rtcp };
        // On hold with an address of zeros the old one stays good for the resumption.
        if !remote.rtp.ip().is_unspecified() {
            if self.remote.is_some_and(|(rtp, _)| rtp != remote.rtp) {
                self.latched = None;
            }
            self.remote = Some((remote.rtp, rtcp));
        }
        self.agreed = agreed;
        self.sender.set_agreed(agreed);
        self.sender.set_sending(sending);
    }

    /// Starts or stops sending without a new agreement, as before hanging up.
    pub const fn set_sending(&mut self, sending: bool) {
        self.sender.set_sending(sending);
    }

    /// Queues digits.
    pub fn push_digits(&mut self, digits: &str) {
        self.sender.push_digits(digits);
    }

    /// Whether digits are still to be sent.
    #[must_use]
    pub fn has_digits(&self) -> bool {
        self.sender.has_digits()
    }

    /// Digits received as telephone events so far.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// RTP packets received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.meter.read(None).packets
    }

    /// Takes a datagram.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        now_ntp: u64,
        source: SocketAddr,
        port: Port,
        bytes: &[u8],
    ) {
        match classify(bytes) {
            Class::Rtp if port == Port::Rtp => self.handle_rtp(now, source, bytes),
            Class::Rtcp if port == Port::Rtcp || self.agreed.rtcp_mux => {
                if self.reports.handle(now, now_ntp, self.sender.ssrc(), bytes) {
                    self.meter.count_rtcp();
                }
            }
            _ => self.foreign += 1,
        }
    }

    fn handle_rtp(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) {
        let announced = self.remote.map(|(rtp, _)| rtp);
        let known = Some(source) == announced || self.latched.is_none_or(|it| it == source);
        let Ok(view) = RtpView::new(bytes) else {
            self.foreign += 1;
            return;
        };
        let header = *view.header();
        let payload_type = header.payload_type;
        let is_event = Some(payload_type) == self.agreed.dtmf;
        if !known || !(is_event || payload_type == self.agreed.payload_type) {
            self.foreign += 1;
            return;
        }
        self.latched = Some(source);
        if self.heard_ssrc.replace(header.ssrc).is_some_and(|before| before != header.ssrc) {
            self.recorder.restart();
        }
        self.meter.packet(now, &header, bytes.len());
        if is_event {
            self.handle_event(header.timestamp.0, view.payload());
        } else {
            let mut samples = [0; MAX_PACKET];
            let payload = view.payload();
            let len = payload.len().min(samples.len());
            self.agreed.law.decode(payload, &mut samples);
            self.recorder.place(header.timestamp.0, &samples[..len]);
        }
    }

    /// One event is all packets of one time stamp (RFC 4733 §2.5.2.2); its digit counts once.
    fn handle_event(&mut self, timestamp: u32, payload: &[u8]) {
        let Ok(event) = TelephoneEvent::parse(payload) else { return };
        if self.last_event == Some(timestamp) {
            return;
        }
        self.last_event = Some(timestamp);
        self.digits.extend(dtmf::digit(event.code));
    }

    /// The next RTP packet and where to; to be called once per packet duration.
    pub fn next_packet<'a>(
        &mut self,
        out: &'a mut [u8; MAX_PACKET],
    ) -> Option<(SocketAddr, &'a [u8])> {
        let packet = self.sender.next_packet(out);
        Some((self.remote?.0, packet?))
    }

    /// An RTCP packet if one is due: where to, whether from the RTP port, and its octets.
    pub fn poll_reports(
        &mut self,
        now: Instant,
        now_ntp: u64,
        random: u16,
    ) -> Option<(SocketAddr, Port, Vec<u8>)> {
        let (_, rtcp) = self.remote?;
        match self.reports.next() {
            None => {
                self.reports.schedule(now, random);
                return None;
            }
            Some(next) if now < next => return None,
            Some(_) => self.reports.schedule(now, random),
        }
        let measured = self.meter.read(None);
        let packet = self.reports.build(now, now_ntp, &self.sender, &measured, false)?;
        Some((rtcp, self.rtcp_port(), packet))
    }

    /// The last RTCP packet of the session, with a BYE (RFC 3550 §6.6).
    pub fn bye(&mut self, now: Instant, now_ntp: u64) -> Option<(SocketAddr, Port, Vec<u8>)> {
        let (_, rtcp) = self.remote?;
        let measured = self.meter.read(None);
        let packet = self.reports.build(now, now_ntp, &self.sender, &measured, true)?;
        Some((rtcp, self.rtcp_port(), packet))
    }

    const fn rtcp_port(&self) -> Port {
        if self.agreed.rtcp_mux { Port::Rtp } else { Port::Rtcp }
    }

    /// The received audio that was kept.
    #[must_use]
    pub fn recorded(&self) -> &[i16] {
        self.recorder.samples()
    }

    /// Analysis of the received audio.
    #[must_use]
    pub fn audio_report(&self) -> AudioReport {
        audio::analyse(self.recorder.samples())
    }

    /// The statistics.
    #[must_use]
    pub fn rtp_report(&self) -> RtpReport {
        let measured = self.meter.read(self.reports.rtt());
        let quality = Meter::quality(&measured);
        let heard = measured.packets > 0;
        let to_ms = |ns: u64| rounded(Duration::from_nanos(ns).as_secs_f64() * 1000.0, 3);
        let (tx_packets, tx_octets) = self.sender.sent();
        let (rtcp_sent, rtcp_received) = self.reports.counts();
        let (remote_lost, remote_jitter) = self.reports.remote();
        RtpReport {
            local: self.local.to_string(),
            remote: self.remote.map(|(rtp, _)| rtp.to_string()).unwrap_or_default(),
            codec: codec_name(self.sender.law()).into(),
            rtcp_mux: self.agreed.rtcp_mux,
            tx_packets,
            tx_octets,
            rx_packets: measured.packets,
            rx_octets: measured.octets,
            lost: measured.lost,
            reordered: measured.reordered,
            duplicated: measured.duplicated,
            foreign: self.foreign,
            jitter_ms: heard.then(|| to_ms(measured.jitter_ns)),
            jitter_max_ms: heard.then(|| to_ms(measured.jitter_max_ns)),
            rtt_ms: self.reports.rtt().map(|rtt| rounded(rtt.as_secs_f64() * 1000.0, 3)),
            bitrate_bps: mean_bitrate(&measured),
            mos: quality.map(|it| rounded(it.mos, 2)),
            r_factor: quality.map(|it| rounded(it.r_factor, 1)),
            remote_lost: remote_lost.map(i64::from),
            remote_jitter_ms: remote_jitter.map(|units| rounded(f64::from(units) / 8.0, 3)),
            rtcp_sent,
            rtcp_received,
            dtmf: self.digits.clone(),
            dtmf_sent: self.sender.sent_digits().into(),
        }
    }
}

/// Mean bit rate of what was received; `None` below one second, where it says nothing.
fn mean_bitrate(measured: &tandem_contract::measure::Measurement) -> Option<u64> {
    let span_ns = measured.last_ns.saturating_sub(measured.first_ns);
    if span_ns < 1_000_000_000 {
        return None;
    }
    let bits = u128::from(measured.wire_octets) * 8 * 1_000_000_000;
    u64::try_from(bits / u128::from(span_ns)).ok()
}
