//! Typed accessors, and the stamp of the receiver on the topmost Via.

use core::net::SocketAddr;

use super::Message;
use crate::error::{Malformed, ParseError};
use crate::header::{CSeq, Header, MediaType, RAck, Reason, Replaces, RetryAfter, SessionExpires};
use crate::name_addr::{Contact, NameAddr};
use crate::text::{self, utf8};
use crate::uri::{Host, Uri};
use crate::via::Via;

impl Message {
    /// The Request-URI, parsed.
    ///
    /// # Errors
    /// Malformed when this is a response or the URI does not keep to the grammar.
    pub fn uri(&self) -> Result<Uri<'_>, ParseError> {
        let text = self.request_uri().ok_or(Malformed::RequestUri)?;
        Uri::parse(text).map_err(|_| Malformed::RequestUri.into())
    }

    /// Call-ID.
    #[must_use]
    pub fn call_id(&self) -> Option<&str> {
        self.value(Header::CallId).and_then(utf8).filter(|it| !it.is_empty())
    }

    /// CSeq.
    ///
    /// # Errors
    /// Malformed when it is missing or broken.
    pub fn cseq(&self) -> Result<CSeq, ParseError> {
        CSeq::parse(self.value(Header::CSeq).ok_or(Malformed::MissingCSeq)?)
    }

    /// From.
    ///
    /// # Errors
    /// Malformed when it is missing or broken.
    pub fn from(&self) -> Result<NameAddr<'_>, ParseError> {
        let value = self.value(Header::From).ok_or(Malformed::MissingFrom)?;
        NameAddr::parse(value).map_err(|_| Malformed::From.into())
    }

    /// To.
    ///
    /// # Errors
    /// Malformed when it is missing or broken.
    pub fn to(&self) -> Result<NameAddr<'_>, ParseError> {
        let value = self.value(Header::To).ok_or(Malformed::MissingTo)?;
        NameAddr::parse(value).map_err(|_| Malformed::To.into())
    }

    /// The tag of From.
    #[must_use]
    pub fn from_tag(&self) -> Option<&str> {
        self.from().ok().and_then(|it| it.tag())
    }

    /// The tag of To.
    #[must_use]
    pub fn to_tag(&self) -> Option<&str> {
        self.to().ok().and_then(|it| it.tag())
    }

    /// The topmost Via.
    ///
    /// # Errors
    /// Malformed when it is missing or broken.
    pub fn top_via(&self) -> Result<Via<'_>, ParseError> {
        let value = self.value(Header::Via).ok_or(Malformed::MissingVia)?;
        Ok(Via::parse(value)?)
    }

    /// The topmost Via as far as an answer to a broken request needs it.
    ///
    /// # Errors
    /// Malformed when it is missing, or transport or sent-by cannot be read.
    pub fn answer_via(&self) -> Result<Via<'_>, ParseError> {
        let value = self.value(Header::Via).ok_or(Malformed::MissingVia)?;
        Ok(Via::parse_for_answer(value)?)
    }

    /// All Via values, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, Malformed>> {
        self.values(Header::Via).map(Via::parse)
    }

    /// Whether a response is the answer to what was sent with this branch and sent-by: its topmost
    /// Via has both (RFC 3261 §17.1.3, §18.1.2).
    #[must_use]
    pub fn answers(&self, branch: &str, sent_by: &str) -> bool {
        self.top_via().is_ok_and(|via| {
            via.branch().is_some_and(|it| it.eq_ignore_ascii_case(branch))
                && via.sent_by().eq_ignore_ascii_case(sent_by)
        })
    }

    /// All Contact values.
    pub fn contacts(&self) -> impl Iterator<Item = Result<Contact<'_>, Malformed>> {
        self.values(Header::Contact).map(Contact::parse)
    }

    /// All Route values, topmost first.
    pub fn route(&self) -> impl Iterator<Item = Result<NameAddr<'_>, Malformed>> {
        self.addresses(Header::Route)
    }

    /// All Record-Route values, topmost first.
    pub fn record_route(&self) -> impl Iterator<Item = Result<NameAddr<'_>, Malformed>> {
        self.addresses(Header::RecordRoute)
    }

    /// All Path values, topmost first (RFC 3327).
    pub fn path(&self) -> impl Iterator<Item = Result<NameAddr<'_>, Malformed>> {
        self.addresses(Header::Path)
    }

    /// All values of a header that holds addresses, as P-Asserted-Identity or Refer-To.
    pub fn addresses(
        &self,
        header: Header,
    ) -> impl Iterator<Item = Result<NameAddr<'_>, Malformed>> {
        self.values(header).map(NameAddr::parse)
    }

    /// Max-Forwards; `None` when it is missing or broken.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        self.number(Header::MaxForwards).and_then(|it| u8::try_from(it).ok())
    }

    /// Expires in seconds; `None` when it is missing or broken.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.number(Header::Expires)
    }

    /// Min-Expires in seconds; `None` when it is missing or broken.
    #[must_use]
    pub fn min_expires(&self) -> Option<u32> {
        self.number(Header::MinExpires)
    }

    /// The number that a header is.
    #[must_use]
    pub fn number(&self, header: Header) -> Option<u32> {
        self.value(header).and_then(text::number)
    }

    /// Content-Type.
    ///
    /// # Errors
    /// Malformed when it is missing or broken.
    pub fn content_type(&self) -> Result<MediaType<'_>, ParseError> {
        MediaType::parse(self.value(Header::ContentType).ok_or(Malformed::ContentType)?)
    }

    /// Session-Expires; `None` when it is missing or broken.
    #[must_use]
    pub fn session_expires(&self) -> Option<SessionExpires<'_>> {
        SessionExpires::parse(self.value(Header::SessionExpires)?).ok()
    }

    /// RAck (RFC 3262).
    ///
    /// # Errors
    /// Malformed when it is missing or broken.
    pub fn rack(&self) -> Result<RAck, ParseError> {
        RAck::parse(self.value(Header::RAck).ok_or(Malformed::Number)?)
    }

    /// The values of Reason that can be read (RFC 3326).
    pub fn reasons(&self) -> impl Iterator<Item = Reason<'_>> {
        self.values(Header::Reason).filter_map(|it| Reason::parse(it).ok())
    }

    /// Retry-After; `None` when it is missing or broken.
    #[must_use]
    pub fn retry_after(&self) -> Option<RetryAfter> {
        RetryAfter::parse(self.value(Header::RetryAfter)?).ok()
    }

    /// Replaces (RFC 3891).
    ///
    /// # Errors
    /// Malformed when it is broken.
    pub fn replaces(&self) -> Result<Option<Replaces<'_>>, ParseError> {
        self.value(Header::Replaces).map(Replaces::parse).transpose()
    }

    /// The option tags or methods of a header that lists tokens, as Require, Supported or Allow.
    pub fn tokens(&self, header: Header) -> impl Iterator<Item = &str> {
        self.values(header).filter_map(utf8).filter(|it| !it.is_empty())
    }

    /// Whether a header that lists tokens has this one, in any case.
    #[must_use]
    pub fn lists(&self, header: Header, token: &str) -> bool {
        self.tokens(header).any(|it| it.eq_ignore_ascii_case(token))
    }
}

/// The request with `received` and `rport` on its topmost Via as its receiver has to put them
/// (RFC 3261 §18.2.1, RFC 3581 §4).
///
/// `received` is added when sent-by is a name or another address than `source`, and always with
/// `rport`. Both replace what the sender may have put there. A request whose Via cannot be read, or
/// that would grow over a limit, comes back as it is.
#[must_use]
pub fn stamp_received(request: &Message, source: SocketAddr) -> Message {
    stamped(request, source).unwrap_or_else(|| request.clone())
}

fn stamped(request: &Message, source: SocketAddr) -> Option<Message> {
    use std::io::Write;
    let via = request.top_via().ok()?;
    let wants_port = via.rport().is_some();
    let ip = source.ip().to_canonical();
    let same_host = via.host() == Host::Ip(ip);
    if same_host && !wants_port && via.params().get_bytes("received").is_none() {
        return None;
    }
    let row_value = request.value(Header::Via)?;
    let params = via.params().as_bytes();
    // Both are slices of the message: the params are the end of the value.
    let head = row_value.get(..row_value.len().checked_sub(params.len())?)?;
    let mut value = Vec::with_capacity(row_value.len() + 64);
    value.extend_from_slice(text::trim(head));
    for (name, text) in via.params().iter_bytes() {
        if name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
            continue;
        }
        value.push(b';');
        value.extend_from_slice(name);
        if let Some(text) = text {
            value.push(b'=');
            value.extend_from_slice(text);
        }
    }
    if !same_host || wants_port {
        let _ = write!(value, ";received={ip}");
    }
    if wants_port {
        let _ = write!(value, ";rport={}", source.port());
    }
    let octets = request.bytes();
    // The value lies in the octets of the message: its place is the distance of the two slices.
    let at = row_value.as_ptr().addr().checked_sub(octets.as_ptr().addr())?;
    let mut out = Vec::with_capacity(octets.len() + value.len());
    out.extend_from_slice(octets.get(..at)?);
    out.extend_from_slice(&value);
    out.extend_from_slice(octets.get(at + row_value.len()..)?);
    Message::from_vec(out).ok()
}
