//! What a REFER asks for, and the INVITE that does it. Pure.

use super::super::id::CallId;
use super::super::identity::Vouched;
use std::fmt::Write as _;
use tandem_signalling::header::{Header, Replaces};
use tandem_signalling::message::Message;
use tandem_signalling::name_addr::NameAddr;
use tandem_signalling::sdp::{Direction, SessionDescription};
use tandem_signalling::stack::{Flow, Reply};
use tandem_signalling::uri::{Scheme, unescape};

/// What a REFER asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Whom to call.
    pub(super) target: String,
    /// The Replaces that the call is to carry.
    pub(super) replaces: Option<String>,
    /// Whether the transferor wants to know how it goes (RFC 4488).
    pub(super) notify: bool,
    /// Number of the REFER, which tells its NOTIFYs from another one's (RFC 3515 §2.4.6).
    pub(super) id: u32,
}

impl Order {
    /// Reads a REFER.
    ///
    /// # Errors
    /// The answer: 400 unless there is one Refer-To that can be read (RFC 3515 §2.4.2), 416 if it
    /// is no SIP address, 403 if it asks for something else than a call.
    pub(super) fn read(request: &Message) -> Result<Self, Reply> {
        let mut rows = request.rows().filter(|row| row.header == Header::ReferTo);
        let (Some(row), None) = (rows.next(), rows.next()) else {
            return Err(Reply::new(400).reason("One Refer-To is needed"));
        };
        let unreadable = || Reply::new(400).reason("Malformed Refer-To");
        let address = NameAddr::parse(row.value).map_err(|_| unreadable())?;
        let uri = address.uri();
        if !matches!(uri.scheme(), Scheme::Sip | Scheme::Tel) {
            return Err(Reply::new(416));
        }
        if uri.param("method").is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
            return Err(Reply::new(403).reason("Only calls can be transferred"));
        }
        let mut replaces = None;
        // Of what the transferor wants in the INVITE, nothing else is its to say.
        for (name, value) in uri.headers().filter(|(name, _)| name.eq_ignore_ascii_case("Replaces"))
        {
            let value = unescape(value.unwrap_or(""));
            if replaces.is_some() || Replaces::parse(&value).is_err() {
                return Err(Reply::new(400).reason(format!("Malformed {name} in Refer-To")));
            }
            replaces = Some(String::from_utf8_lossy(&value).into_owned());
        }
        let wants = request.value_named("Refer-Sub");
        Ok(Self {
            target: uri.as_request_uri().into_owned(),
            replaces,
            notify: !wants.is_some_and(|it| it.trim_ascii().eq_ignore_ascii_case(b"false")),
            id: request.cseq().map_or(0, |cseq| cseq.number),
        })
    }

    /// The dialog that is to be replaced.
    pub(super) fn replaces(&self) -> Result<Option<Replaces<'_>>, Reply> {
        let parsed = self.replaces.as_deref().map(|it| Replaces::parse(it.as_bytes()));
        parsed.transpose().map_err(|_| Reply::new(400))
    }
}

/// The party that is transferred.
#[derive(Debug)]
pub(in crate::call) struct Party {
    pub(in crate::call) flow: Flow,
    /// Address of record.
    pub(in crate::call) aor: String,
    pub(in crate::call) vouched: Vouched,
    /// Its name-addr for From.
    pub(super) from: String,
    /// Rows that say who it is and who may know.
    pub(super) rows: String,
    /// The last description that it gave.
    pub(super) heard: Option<Vec<u8>>,
}

/// The INVITE that the transferred party would have sent (RFC 3515 §2.4.1): its own identity, its
/// last description, and who referred it (RFC 3892; we know who did if nobody says so).
pub(super) fn invite(
    refer: &Message,
    party: &Party,
    target: &str,
    id: CallId,
    referrer: &str,
) -> Option<Message> {
    let mut text = format!(
        "INVITE {target} SIP/2.0\r\nVia: SIP/2.0/UDP transfer.invalid;branch=z9hG4bK{id}\r\n\
         Max-Forwards: {}\r\nFrom: {};tag={id}\r\nTo: <{target}>\r\nCall-ID: {id}\r\n\
         CSeq: 1 INVITE\r\nContact: <{}>\r\n",
        refer.max_forwards().unwrap_or(70),
        party.from,
        party.aor,
    );
    match refer.value(Header::ReferredBy).and_then(|value| core::str::from_utf8(value).ok()) {
        Some(value) => write!(text, "Referred-By: {value}\r\n").ok()?,
        None => write!(text, "Referred-By: <{referrer}>\r\n").ok()?,
    }
    text.push_str(&party.rows);
    let offer = party.heard.as_deref().and_then(resumed).unwrap_or_default();
    if !offer.is_empty() {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    write!(text, "Content-Length: {}\r\n\r\n", offer.len()).ok()?;
    let mut octets = text.into_bytes();
    octets.extend_from_slice(&offer);
    Message::from_vec(octets).ok()
}

/// A description as an offer to talk: whoever transfers has usually put the other on hold before.
/// `None` if it holds by its address, so that it names no place for media.
fn resumed(description: &[u8]) -> Option<Vec<u8>> {
    let mut sdp = SessionDescription::parse(description).ok()?;
    for index in 0..sdp.media_count() {
        if sdp.media_connection(index).ok()?.is_hold() {
            return None;
        }
        if sdp.media(index).is_some_and(|line| line.port != 0) {
            sdp.set_direction(index, Direction::SendRecv);
        }
    }
    Some(sdp.emit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refer(rows: &str) -> Message {
        let text = format!(
            "REFER sip:bob@tandem SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n\
             From: <sip:alice@tandem>;tag=1\r\nTo: <sip:bob@tandem>;tag=2\r\nCall-ID: a@192.0.2.7\r\n\
             CSeq: 7 REFER\r\nContact: <sip:alice@192.0.2.7>\r\n{rows}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_target_is_read_with_its_replaces() {
        let order = Order::read(&refer("Refer-To: <sip:carol@tandem;method=INVITE>\r\n")).unwrap();
        assert_eq!(order.target, "sip:carol@tandem");
        assert_eq!((order.notify, order.id, order.replaces), (true, 7, None));
        let order = Order::read(&refer(
            "Refer-To: \"C\" <sip:carol@tandem?Replaces=x%40y%3Bto-tag%3D1%3Bfrom-tag%3D2&X=1>\r\n\
             Refer-Sub: false\r\n",
        ))
        .unwrap();
        assert_eq!(order.replaces.as_deref(), Some("x@y;to-tag=1;from-tag=2"));
        assert!(!order.notify);
        assert_eq!(order.target, "sip:carol@tandem");
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (rows, status) in [
            ("", 400),
            ("Refer-To: <sip:a@b>\r\nRefer-To: <sip:a@b>\r\n", 400),
            ("Refer-To: <sip:>\r\n", 400),
            ("Refer-To: <sip:a@b?Replaces=x>\r\n", 400),
            ("Refer-To: <mailto:a@b>\r\n", 416),
            ("Refer-To: <sip:a@b;method=BYE>\r\n", 403),
        ] {
            assert_eq!(Order::read(&refer(rows)).unwrap_err().status(), status, "{rows}");
        }
    }

    #[test]
    fn a_description_on_hold_becomes_an_offer_to_talk() {
        let held = "v=0\r\no=- 1 1 IN IP4 192.0.2.5\r\ns=-\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\n\
                    m=audio 4000 RTP/AVP 8\r\na=recvonly\r\nm=video 0 RTP/AVP 31\r\n";
        let text = String::from_utf8(resumed(held.as_bytes()).unwrap()).unwrap();
        assert!(text.contains("a=sendrecv\r\n") && !text.contains("recvonly"), "{text}");
        let by_address = held.replace("c=IN IP4 192.0.2.5", "c=IN IP4 0.0.0.0");
        assert_eq!(resumed(by_address.as_bytes()), None);
    }
}
