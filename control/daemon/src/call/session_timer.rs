//! Session timers (RFC 4028): how long a session lasts without a sign of life, and who gives it.
//! Pure: each leg negotiates for itself.

use super::peer::has_option;
use serde::{Deserialize, Serialize};
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::stack::Fields;

/// The option tag.
pub(super) const TIMER: &str = "timer";

/// Shortest interval that RFC 4028 §4 allows without saying so, s.
const USUAL_MIN_SE_S: u32 = 90;

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The interval that we ask for, s; 0 for none.
    pub expires_s: u32,
    /// The shortest one that we take, s.
    pub min_se_s: u32,
}

/// Who refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Refresher {
    /// Tandem.
    Us,
    /// The party.
    Peer,
}

/// What was agreed with a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// The session ends so long after its last refresh, s.
    pub(super) interval_s: u32,
    pub(super) refresher: Refresher,
}

/// A request asks for less than we take: 422 with our Min-SE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooShort;

impl Policy {
    /// What becomes of the session by a request of the party that we accept (§9); `None` if it
    /// keeps no timers and nobody on the way asked for them.
    pub(super) fn accept(&self, request: &Message) -> Result<Option<Session>, TooShort> {
        let supports = has_option(request, TIMER);
        let least = self.min_se_s.max(request.number(Header::MinSe).unwrap_or(0));
        let Some(asked) = request.session_expires() else {
            // We may ask for one by ourselves (§9), and then do the work.
            let interval_s = self.expires_s.max(least);
            let session = Session { interval_s, refresher: Refresher::Us };
            return Ok((supports && self.expires_s > 0).then_some(session));
        };
        if asked.seconds < self.min_se_s && supports {
            return Err(TooShort);
        }
        // It may be made shorter, never longer, and not below what was named as the least.
        let ours = if self.expires_s > 0 { self.expires_s.max(least) } else { asked.seconds };
        let refresher = match asked.refresher {
            _ if !supports => Refresher::Us,
            Some(it) if it.eq_ignore_ascii_case("uas") => Refresher::Us,
            _ => Refresher::Peer,
        };
        Ok(Some(Session { interval_s: asked.seconds.min(ours).max(1), refresher }))
    }

    /// What was agreed by a 2xx of the party to our request (§7.2).
    pub(super) fn agreed(response: &Message) -> Option<Session> {
        let told = response.session_expires()?;
        let peer = told.refresher.is_some_and(|it| it.eq_ignore_ascii_case("uas"));
        let refresher = if peer { Refresher::Peer } else { Refresher::Us };
        Some(Session { interval_s: told.seconds.max(1), refresher })
    }

    /// Adds what we ask for to a request of ours (§7.1); `least_s` is the Min-SE of a 422.
    pub(super) fn ask(&self, fields: &mut Fields, session: Option<Session>, least_s: u32) {
        let least = self.min_se_s.max(least_s);
        let interval = session.map_or(self.expires_s, |session| session.interval_s).max(least);
        if self.expires_s == 0 && session.is_none() {
            return;
        }
        // §7.4: who refreshes stays as it is.
        let refresher = match session.map(|session| session.refresher) {
            Some(Refresher::Us) => ";refresher=uac",
            Some(Refresher::Peer) => ";refresher=uas",
            None => "",
        };
        fields.push("Session-Expires", format!("{interval}{refresher}"));
        if least != USUAL_MIN_SE_S {
            fields.push("Min-SE", least.to_string());
        }
    }
}

impl Session {
    /// Adds what was agreed to a 2xx of ours (§9).
    pub(super) fn tell(self, fields: &mut Fields) {
        let refresher = match self.refresher {
            Refresher::Us => "uas",
            Refresher::Peer => "uac",
        };
        fields.push("Session-Expires", format!("{};refresher={refresher}", self.interval_s));
        if self.refresher == Refresher::Peer {
            fields.push("Require", TIMER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { expires_s: 1800, min_se_s: 90 };

    fn request(rows: &str) -> Message {
        let text = format!(
            "INVITE sip:b@c SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n{rows}\
             Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.as_bytes()).unwrap()
    }

    fn session(interval_s: u32, refresher: Refresher) -> Option<Session> {
        Some(Session { interval_s, refresher })
    }

    #[test]
    fn a_server_takes_what_table_2_of_the_rfc_allows() {
        let (us, peer) = (Refresher::Us, Refresher::Peer);
        for (rows, expected) in [
            ("", Ok(None)),
            ("Supported: timer\r\n", Ok(session(1800, us))),
            ("Supported: timer\r\nMin-SE: 3600\r\n", Ok(session(3600, us))),
            ("Supported: timer\r\nSession-Expires: 600\r\n", Ok(session(600, peer))),
            ("Supported: timer\r\nx: 600;refresher=uac\r\n", Ok(session(600, peer))),
            ("Supported: timer\r\nx: 600;refresher=uas\r\n", Ok(session(600, us))),
            ("Session-Expires: 600\r\n", Ok(session(600, us))),
            ("Supported: timer\r\nx: 7200\r\n", Ok(session(1800, peer))),
            ("Supported: timer\r\nx: 7200\r\nMin-SE: 4000\r\n", Ok(session(4000, peer))),
            ("Supported: timer\r\nx: 60\r\n", Err(TooShort)),
            // Who keeps no timers could not read a 422.
            ("x: 60\r\n", Ok(session(60, us))),
        ] {
            assert_eq!(POLICY.accept(&request(rows)), expected, "{rows}");
        }
        let off = Policy { expires_s: 0, min_se_s: 90 };
        assert_eq!(off.accept(&request("Supported: timer\r\n")), Ok(None));
        let asked = request("Supported: timer\r\nx: 300\r\n");
        assert_eq!(off.accept(&asked), Ok(session(300, peer)));
    }

    #[test]
    fn a_client_takes_what_the_2xx_says() {
        for (rows, expected) in [
            ("", None),
            ("Session-Expires: 300\r\n", session(300, Refresher::Us)),
            ("Session-Expires: 300;refresher=uac\r\n", session(300, Refresher::Us)),
            ("Session-Expires: 300;refresher=uas\r\n", session(300, Refresher::Peer)),
        ] {
            assert_eq!(Policy::agreed(&request(rows)), expected, "{rows}");
        }
    }

    #[test]
    fn min_se_is_named_when_it_is_not_the_usual_one() {
        let ask = |policy: Policy, session, least| {
            let mut fields = Fields::new();
            policy.ask(&mut fields, session, least);
            format!("{fields:?}")
        };
        assert!(!ask(POLICY, None, 0).contains("Min-SE"));
        let text = ask(POLICY, session(90, Refresher::Us), 120);
        assert_eq!(text, {
            let fields = Fields::new()
                .header("Session-Expires", "120;refresher=uac")
                .header("Min-SE", "120");
            format!("{fields:?}")
        });
        assert_eq!(ask(Policy { expires_s: 0, ..POLICY }, None, 0), format!("{:?}", Fields::new()));
    }
}
