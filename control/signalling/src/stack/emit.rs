//! Messages that the stack itself writes.

use super::content::{Fields, Reply};
use super::types::Flow;
use crate::header::Header;
use crate::message::Message;
use crate::method::Method;
use crate::name_addr::NameAddr;
use std::io::Write as _;

/// Room that a message without body usually takes, octets.
const USUAL_SIZE: usize = 640;

/// A message in the making.
#[derive(Debug)]
struct Writer(Vec<u8>);

impl Writer {
    fn with_room_for(body: usize) -> Self {
        Self(Vec::with_capacity(USUAL_SIZE + body))
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn number(&mut self, number: impl Into<u64>) -> &mut Self {
        write!(self.0, "{}", number.into()).expect("writing to memory succeeds");
        self
    }

    fn row(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.text(name).text(": ");
        // Folded rows become one line.
        self.0.extend(
            value.as_ref().iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }),
        );
        self.text("\r\n")
    }

    fn finish(mut self, body: &[u8]) -> Vec<u8> {
        self.text("Content-Length: ").number(body.len() as u64).text("\r\n\r\n").bytes(body);
        self.0
    }
}

/// A request line and the headers that every request has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestHead<'a> {
    pub(crate) method: Method,
    pub(crate) uri: &'a str,
    pub(crate) flow: &'a Flow,
    pub(crate) sent_by: &'a str,
    pub(crate) branch: &'a str,
    pub(crate) max_forwards: u8,
    pub(crate) route: &'a [String],
    /// From value with its tag.
    pub(crate) from: &'a [u8],
    /// To value, with its tag in a dialog.
    pub(crate) to: &'a [u8],
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    /// Contact value, written unless the fields have one.
    pub(crate) contact: Option<&'a str>,
    pub(crate) product: &'a str,
    /// Whether the peer may send us requests over the connection that this one goes over (RFC 5923).
    pub(crate) alias: bool,
}

/// A request.
pub(crate) fn request(head: &RequestHead<'_>, fields: &Fields) -> Vec<u8> {
    let mut out = Writer::with_room_for(fields.body_bytes().len() + fields.rows().len());
    out.text(head.method.as_str()).text(" ").text(head.uri).text(" SIP/2.0\r\n");
    out.text("Via: SIP/2.0/").text(head.flow.transport.via_name()).text(" ").text(head.sent_by);
    out.text(";branch=").text(head.branch).text(";rport");
    out.text(if head.alias { ";alias\r\n" } else { "\r\n" });
    if !fields.has_max_forwards() {
        out.text("Max-Forwards: ").number(head.max_forwards).text("\r\n");
    }
    for route in head.route {
        out.row("Route", route);
    }
    out.row("From", head.from).row("To", head.to).row("Call-ID", head.call_id);
    out.text("CSeq: ").number(head.cseq).text(" ").text(head.method.as_str()).text("\r\n");
    if let Some(contact) = head.contact.filter(|_| !fields.has_contact()) {
        out.row("Contact", contact);
    }
    if !head.product.is_empty() && !fields.has_product() {
        out.row("User-Agent", head.product);
    }
    out.bytes(fields.rows());
    out.finish(fields.body_bytes())
}

/// A request that the client transaction derives from its own: the ACK of a non-2xx final response
/// (RFC 3261 §17.1.1.3; `to` from the response) or the CANCEL (§9.1; `to` as sent).
pub(crate) fn derived_request(
    original: &Message,
    method: Method,
    to: Option<&[u8]>,
    fields: &Fields,
) -> Vec<u8> {
    let mut out = Writer::with_room_for(fields.rows().len());
    out.text(method.as_str())
        .text(" ")
        .text(original.request_uri().unwrap_or(""))
        .text(" SIP/2.0\r\n");
    out.row("Via", original.values(Header::Via).next().unwrap_or(b""));
    out.row("Max-Forwards", "70");
    for route in original.values(Header::Route) {
        out.row("Route", route);
    }
    out.row("From", original.value(Header::From).unwrap_or(b""));
    out.row("To", to.or_else(|| original.value(Header::To)).unwrap_or(b""));
    out.row("Call-ID", original.call_id().unwrap_or(""));
    let number = original.cseq().map_or(0, |cseq| cseq.number);
    out.text("CSeq: ").number(number).text(" ").text(method.as_str()).text("\r\n");
    out.bytes(fields.rows());
    out.finish(b"")
}

/// Everything that a response needs besides the request and what the transaction user gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseHead<'a> {
    /// Tag for a To that has none.
    pub(crate) to_tag: Option<&'a str>,
    /// Contact value, written unless the reply has one.
    pub(crate) contact: Option<&'a str>,
    /// Whether Record-Route is copied, as in responses that open a dialog (§12.1.1).
    pub(crate) record_route: bool,
    pub(crate) product: &'a str,
}

/// A response (RFC 3261 §8.2.6).
pub(crate) fn response(request: &Message, head: &ResponseHead<'_>, reply: &Reply) -> Vec<u8> {
    let fields = reply.content();
    let mut out = Writer::with_room_for(fields.body_bytes().len() + fields.rows().len());
    out.text("SIP/2.0 ").number(reply.status()).text(" ").text(reply.phrase()).text("\r\n");
    for via in request.values(Header::Via) {
        out.row("Via", via);
    }
    if head.record_route {
        for route in request.values(Header::RecordRoute) {
            out.row("Record-Route", route);
        }
    }
    out.row("From", request.value(Header::From).unwrap_or(b""));
    out.row("To", with_tag(request.value(Header::To).unwrap_or(b""), head.to_tag));
    out.row("Call-ID", request.value(Header::CallId).unwrap_or(b""));
    out.row("CSeq", request.value(Header::CSeq).unwrap_or(b""));
    if reply.status() == 100 {
        // §8.2.6.1: delays can be taken out of the round trip.
        if let Some(timestamp) = request.value(Header::Timestamp) {
            out.row("Timestamp", timestamp);
        }
    }
    if let Some(contact) = head.contact.filter(|_| !fields.has_contact()) {
        out.row("Contact", contact);
    }
    if !head.product.is_empty() && !fields.has_product() {
        out.row("Server", head.product);
    }
    out.bytes(fields.rows());
    out.finish(fields.body_bytes())
}

/// A From or To value with `tag` added, unless it has one.
pub(crate) fn with_tag(value: &[u8], tag: Option<&str>) -> Vec<u8> {
    let mut out = value.to_vec();
    let tagged = NameAddr::parse(value).is_ok_and(|address| address.tag().is_some());
    if let Some(tag) = tag.filter(|_| !tagged) {
        out.extend_from_slice(b";tag=");
        out.extend_from_slice(tag.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_added_once() {
        assert_eq!(with_tag(b"<sip:a@b>", Some("1")), b"<sip:a@b>;tag=1");
        assert_eq!(with_tag(b"<sip:a@b>;tag=x", Some("1")), b"<sip:a@b>;tag=x");
        assert_eq!(with_tag(b"sip:a@b", None), b"sip:a@b");
    }
}
