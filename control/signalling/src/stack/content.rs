//! What the transaction user adds to the messages that the stack makes.

use crate::build::reason_phrase;
use crate::message::Message;
use crate::method::Method;

/// Header rows and a body, written down as they will stand in the message.
///
/// The stack itself writes Via, Max-Forwards, Route, Record-Route, From, To, Call-ID, CSeq,
/// Contact (where due and not given here), User-Agent or Server, and Content-Length; the rest is
/// the transaction user's.
///
/// ```
/// use tandem_signalling::stack::Fields;
/// let fields = Fields::new().header("Allow", "INVITE, ACK, BYE").body("application/sdp", b"v=0");
/// assert!(!fields.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    rows: Vec<u8>,
    body: Vec<u8>,
    has_contact: bool,
    has_max_forwards: bool,
    has_product: bool,
}

impl Fields {
    /// No rows, no body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row. Line breaks in the value become spaces: a value cannot smuggle in a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.push(name, value);
        self
    }

    /// As [`Fields::header`], in place.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.has_contact |= name.eq_ignore_ascii_case("contact") || name.eq_ignore_ascii_case("m");
        self.has_max_forwards |= name.eq_ignore_ascii_case("max-forwards");
        self.has_product |=
            name.eq_ignore_ascii_case("user-agent") || name.eq_ignore_ascii_case("server");
        self.rows.extend(name.bytes().filter(|b| b.is_ascii_graphic() && *b != b':'));
        self.rows.extend_from_slice(b": ");
        let value = value.as_ref();
        self.rows
            .extend(value.iter().map(|&b| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { b }));
        self.rows.extend_from_slice(b"\r\n");
    }

    /// Sets the body, with its Content-Type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.push("Content-Type", content_type);
        self.body = body.into();
        self
    }

    /// Whether there is neither row nor body.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.body.is_empty()
    }

    /// The rows as they will stand in the message.
    pub(crate) fn rows(&self) -> &[u8] {
        &self.rows
    }

    /// The body.
    pub(crate) fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    pub(crate) const fn has_contact(&self) -> bool {
        self.has_contact
    }

    pub(crate) const fn has_max_forwards(&self) -> bool {
        self.has_max_forwards
    }

    pub(crate) const fn has_product(&self) -> bool {
        self.has_product
    }
}

/// A response as the transaction user gives it to [`Stack::respond`](super::Stack::respond).
///
/// ```
/// use tandem_signalling::stack::Reply;
/// let busy = Reply::new(486);
/// let moved = Reply::new(302).header("Contact", "<sip:bob@192.0.2.4>");
/// assert_eq!(busy.status(), 486);
/// assert_ne!(busy, moved);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    status: u16,
    reason: Option<String>,
    fields: Fields,
    reliable: bool,
}

impl Reply {
    /// A response with the usual reason phrase of `status`.
    #[must_use]
    pub const fn new(status: u16) -> Self {
        Self {
            status,
            reason: None,
            fields: Fields {
                rows: Vec::new(),
                body: Vec::new(),
                has_contact: false,
                has_max_forwards: false,
                has_product: false,
            },
            reliable: false,
        }
    }

    /// Another reason phrase.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        let mut reason: String = reason.into();
        reason.retain(|c| !matches!(c, '\r' | '\n' | '\0'));
        self.reason = Some(reason);
        self
    }

    /// Adds a row.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push(name, value);
        self
    }

    /// Sets the body, with its Content-Type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.fields = self.fields.body(content_type, body);
        self
    }

    /// Rows and body together.
    #[must_use]
    pub fn fields(mut self, fields: Fields) -> Self {
        self.fields = fields;
        self
    }

    /// Whether a provisional response to an INVITE is repeated until it is acknowledged by a PRACK
    /// (RFC 3262); it needs a peer that supports `100rel`. The stack adds Require and RSeq.
    #[must_use]
    pub const fn reliable(mut self, reliable: bool) -> Self {
        self.reliable = reliable;
        self
    }

    /// Whether it is to be acknowledged.
    pub(crate) const fn is_reliable(&self) -> bool {
        self.reliable
    }

    /// Whether there is a body.
    pub(crate) const fn has_body(&self) -> bool {
        !self.fields.body.is_empty()
    }

    /// The response code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn phrase(&self) -> &str {
        self.reason.as_deref().unwrap_or_else(|| reason_phrase(self.status))
    }

    pub(crate) const fn content(&self) -> &Fields {
        &self.fields
    }
}

/// A request outside of a dialog, or one that opens one, for
/// [`Stack::request`](super::Stack::request).
///
/// From and To are given as they will stand in the message, without tags. Call-ID, From tag and
/// CSeq are made up unless given: give them when a request repeats another with credentials, or
/// refreshes a registration (RFC 3261 §10.2.4, §22.2).
///
/// ```
/// use tandem_signalling::method::Method;
/// use tandem_signalling::stack::NewRequest;
/// let invite = NewRequest::new(Method::Invite, "sip:bob@192.0.2.4:5070")
///     .from("\"Alice\" <sip:alice@example.com>")
///     .to("<sip:bob@example.com>")
///     .body("application/sdp", b"v=0\r\n".to_vec());
/// ```
#[derive(Clone, Debug)]
pub struct NewRequest {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) from_tag: Option<String>,
    pub(crate) call_id: Option<String>,
    pub(crate) cseq: Option<u32>,
    pub(crate) route: Vec<String>,
    pub(crate) max_forwards: u8,
    pub(crate) fields: Fields,
}

/// Max-Forwards of a request that begins here (RFC 3261 §8.1.1.6).
pub const DEFAULT_MAX_FORWARDS: u8 = 70;

impl NewRequest {
    /// A request of `method` to `uri`; From and To are `uri` too until given.
    #[must_use]
    pub fn new(method: Method, uri: impl Into<String>) -> Self {
        let uri = clean(uri.into());
        let party = format!("<{uri}>");
        Self {
            method,
            from: party.clone(),
            to: party,
            uri,
            from_tag: None,
            call_id: None,
            cseq: None,
            route: Vec::new(),
            max_forwards: DEFAULT_MAX_FORWARDS,
            fields: Fields::new(),
        }
    }

    /// Who asks: a name-addr in angle brackets, without tag.
    #[must_use]
    pub fn from(mut self, from: impl Into<String>) -> Self {
        self.from = clean(from.into());
        self
    }

    /// Who is asked for: a name-addr in angle brackets, without tag.
    #[must_use]
    pub fn to(mut self, to: impl Into<String>) -> Self {
        self.to = clean(to.into());
        self
    }

    /// The From tag of an earlier request.
    #[must_use]
    pub fn from_tag(mut self, tag: impl Into<String>) -> Self {
        self.from_tag = Some(clean(tag.into()));
        self
    }

    /// The Call-ID of an earlier request.
    #[must_use]
    pub fn call_id(mut self, call_id: impl Into<String>) -> Self {
        self.call_id = Some(clean(call_id.into()));
        self
    }

    /// The sequence number; one above that of the earlier request.
    #[must_use]
    pub const fn cseq(mut self, cseq: u32) -> Self {
        self.cseq = Some(cseq);
        self
    }

    /// Makes this request the successor of the one that `response` answers, as after a challenge
    /// (RFC 3261 §8.1.3.5, §22.2): same Call-ID and From tag, the next sequence number.
    #[must_use]
    pub fn after(mut self, response: &Message) -> Self {
        self.call_id = response.call_id().map(str::to_owned);
        self.from_tag = response.from_tag().map(str::to_owned);
        self.cseq = response.cseq().ok().map(|cseq| (cseq.number + 1) & MAX_CSEQ);
        self
    }

    /// Adds a Route value (an outbound proxy, or the Path of a registration), in order.
    #[must_use]
    pub fn route(mut self, route: impl Into<String>) -> Self {
        self.route.push(clean(route.into()));
        self
    }

    /// Max-Forwards; one less than what came in when a call goes on through Tandem.
    #[must_use]
    pub const fn max_forwards(mut self, max_forwards: u8) -> Self {
        self.max_forwards = max_forwards;
        self
    }

    /// Adds a row.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push(name, value);
        self
    }

    /// Sets the body, with its Content-Type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.fields = self.fields.body(content_type, body);
        self
    }

    /// Rows and body together.
    #[must_use]
    pub fn fields(mut self, fields: Fields) -> Self {
        self.fields = fields;
        self
    }
}

/// Largest sequence number (RFC 3261 §8.1.1.5).
pub(crate) const MAX_CSEQ: u32 = (1 << 31) - 1;

fn clean(mut text: String) -> String {
    text.retain(|c| !matches!(c, '\r' | '\n' | '\0'));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_smuggle_in_a_header() {
        let fields = Fields::new().header("Subject", "hi\r\nVia: SIP/2.0/UDP evil");
        assert_eq!(fields.rows(), b"Subject: hi  Via: SIP/2.0/UDP evil\r\n");
        let fields = Fields::new().header("X: y\r\nVia", "1");
        assert_eq!(fields.rows(), b"XyVia: 1\r\n");
        let reply = Reply::new(200).reason("fine\r\nX: 1");
        assert_eq!(reply.phrase(), "fineX: 1");
    }

    #[test]
    fn knows_which_rows_it_has() {
        let fields = Fields::new().header("m", "<sip:a@b>");
        assert!(fields.has_contact());
        assert!(!fields.has_max_forwards());
        assert!(Fields::new().header("Server", "x").has_product());
    }
}
