//! Calls: placing them ([`place`]), answering them ([`answer`]), and what happens in between
//! ([`talk`]).

pub mod answer;
pub mod place;
pub mod talk;

use crate::args::InCall;
use crate::error::UaError;
use crate::media::session::{Session, SessionConfig};
use crate::media::task::{Pair, Running, random_identity, random_u32};
use crate::phone::Phone;
use crate::pump::Events;
use crate::report::{CallFacts, CallReport, EndedBy, Role};
use crate::sdp::{self, Agreed, Direction, Local, Remote};
use crate::wav;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tandem_dsp::g711::Law;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::stack::{DialogId, Event, Flow};
use tandem_wire::time::Instant;
use tokio::sync::mpsc;

/// Content type of session descriptions.
pub(crate) const SDP: &str = "application/sdp";

/// A call that is over: its report, and what went wrong if anything did.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that is known of it.
    pub report: CallReport,
    /// Why it did not go as asked.
    pub error: Option<UaError>,
}

/// One call of either side, from its INVITE to its report.
#[derive(Debug)]
pub(crate) struct Call {
    phone: Phone,
    plan: InCall,
    flow: Flow,
    events: Events,
    received: mpsc::UnboundedReceiver<Event>,
    facts: CallFacts,
    dialog: Option<DialogId>,
    local: Local,
    remote: Option<Remote>,
    agreed: Option<Agreed>,
    /// Bound, until the session takes it.
    pair: Option<Pair>,
    media: Option<Running>,
    /// What this side wants: it changes with hold and resume.
    wanted: Direction,
    started: Instant,
    answered: Option<Instant>,
    ended: Option<Instant>,
}

impl Call {
    /// Binds the media ports; nothing is sent yet.
    async fn new(phone: &Phone, plan: &InCall, flow: Flow, role: Role) -> Result<Self, UaError> {
        // A file that cannot be played is found out before anybody's phone rings.
        crate::audio::Source::open(&plan.source())?;
        let pair = Pair::bind(phone.local().ip()).await?;
        let (events, received) = mpsc::unbounded_channel();
        let options = phone.options();
        let local = Local {
            rtp: pair.local(),
            rtcp_port: pair.local().port() + 1,
            codecs: options.codec.iter().map(|codec| codec.law()).collect(),
            ptime: options.ptime,
            rtcp_mux: options.rtcp_mux,
            session_id: random_u32() >> 1,
            version: 1,
        };
        let facts = CallFacts { role, local: phone.aor(), ..CallFacts::default() };
        Ok(Self {
            phone: phone.clone(),
            plan: plan.clone(),
            flow,
            events,
            received,
            facts,
            dialog: None,
            local,
            remote: None,
            agreed: None,
            pair: Some(pair),
            media: None,
            wanted: Direction::SendRecv,
            started: phone.clock().now(),
            answered: None,
            ended: None,
        })
    }

    fn now(&self) -> Instant {
        self.phone.clock().now()
    }

    fn since_start_ms(&self) -> u64 {
        ms(self.now().since(self.started))
    }

    fn note_ringing(&mut self) {
        self.facts.ringing = true;
        if self.facts.ring_delay_ms.is_none() {
            self.facts.ring_delay_ms = Some(self.since_start_ms());
            tracing::info!("ringing");
        }
    }

    fn note_final(&mut self, status: u16, reason: &str) {
        self.facts.status = status;
        self.facts.reason = reason.into();
    }

    fn note_answered(&mut self) {
        self.answered = Some(self.now());
        self.facts.setup_ms = Some(self.since_start_ms());
        tracing::info!("answered after {} ms", self.since_start_ms());
    }

    fn note_ended(&mut self, by: EndedBy) {
        if self.ended.is_none() {
            self.ended = Some(self.now());
            self.facts.ended_by = Some(by);
            tracing::info!(
                "ended by the {} side",
                if by == EndedBy::Local { "own" } else { "other" }
            );
        }
    }

    /// The own side's codecs as an offer for the direction that it wants.
    fn next_offer(&mut self) -> String {
        self.local.version += 1;
        self.local.offer(self.wanted)
    }

    /// Takes an answer to our offer.
    fn take_answer(&mut self, body: &[u8]) -> Result<(), UaError> {
        let remote = Remote::parse(body)?;
        let agreed = sdp::agree(&self.local.codecs, &remote, self.local.rtcp_mux)?;
        self.apply(agreed, remote, self.wanted)
    }

    /// Takes an offer and makes the answer.
    fn answer_offer(&mut self, body: &[u8]) -> Result<String, UaError> {
        let remote = Remote::parse(body)?;
        let agreed = sdp::agree(&self.local.codecs, &remote, true)?;
        let direction = remote.direction.answer_to(self.wanted);
        self.local.version += 1;
        let text = self.local.answer(&remote, &agreed, direction);
        self.apply(agreed, remote, direction)?;
        Ok(text)
    }

    /// Brings the session to what was agreed; the first time, starts it.
    fn apply(&mut self, agreed: Agreed, remote: Remote, own: Direction) -> Result<(), UaError> {
        let sending = own.sends() && remote.direction.receives();
        if self.media.is_none() {
            self.start_media(agreed)?;
        }
        if let Some(media) = &self.media {
            media.session().apply(agreed, &remote, sending);
        }
        self.agreed = Some(agreed);
        self.remote = Some(remote);
        Ok(())
    }

    fn start_media(&mut self, agreed: Agreed) -> Result<(), UaError> {
        let Some(pair) = self.pair.take() else { return Ok(()) };
        let options = self.phone.options();
        let config = SessionConfig {
            local: pair.local(),
            play: self.plan.source(),
            record: self.plan.record.is_some(),
            ptime_ms: options.ptime,
            rtcp_interval: Duration::from_millis(options.rtcp_interval_ms),
            cname: format!("{}@{}", options.user, pair.local().ip()),
            identity: random_identity(),
        };
        let session = Session::new(config, agreed)?;
        let ptime = Duration::from_millis(u64::from(options.ptime));
        self.media = Some(Running::start(session, pair, self.phone.clock(), ptime));
        Ok(())
    }

    /// Ends media, writes the recording, and makes the report.
    async fn finish(mut self, error: Option<UaError>, number: u32) -> Outcome {
        self.phone.forget(&self.events);
        let duration = |from: Instant, to: Instant| ms(to.since(from));
        self.facts.duration_ms =
            self.answered.map(|from| duration(from, self.ended.unwrap_or_else(|| self.now())));
        let mut report = CallReport { call: self.facts, rtp: None, audio: None };
        let mut error = error;
        if let Some(mut media) = self.media {
            media.stop().await;
            let session = media.session();
            if let Some(path) = &self.plan.record
                && let Err(failed) = wav::save(&numbered(path, number), session.recorded())
            {
                error.get_or_insert(failed);
            }
            report.rtp = Some(session.rtp_report());
            report.audio = Some(session.audio_report());
        }
        Outcome { report, error }
    }
}

/// Whole milliseconds.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `name.wav`, `name-2.wav`, `name-3.wav`, …
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number <= 1 {
        return path.into();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or_else(|| "wav".into(), |e| e.to_string_lossy());
    path.with_file_name(format!("{stem}-{number}.{extension}"))
}

/// The body of a message, if it is a session description.
pub(crate) fn description(message: &Message) -> Option<&[u8]> {
    let body = message.body();
    let is_sdp = message
        .value_str(Header::ContentType)
        .is_none_or(|value| value.to_ascii_lowercase().starts_with(SDP));
    (!body.is_empty() && is_sdp).then_some(body)
}

/// URI of an address header without its parameters, as text.
pub(crate) fn party(message: &Message, header: Header) -> String {
    let address = match header {
        Header::From => message.from(),
        _ => message.to(),
    };
    address.map(|address| address.uri().address_of_record()).unwrap_or_default()
}

/// Codec list of the options, for messages to people.
pub(crate) fn codec_names(codecs: &[Law]) -> String {
    codecs.iter().map(|law| sdp::codec_name(*law)).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_of_later_calls_are_numbered() {
        assert_eq!(numbered(Path::new("/a/b.wav"), 1), Path::new("/a/b.wav"));
        assert_eq!(numbered(Path::new("/a/b.wav"), 3), Path::new("/a/b-3.wav"));
        assert_eq!(numbered(Path::new("b"), 2), Path::new("b-2.wav"));
    }
}
