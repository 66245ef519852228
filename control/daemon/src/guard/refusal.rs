//! 503 with Retry-After, made from the octets of the request without reading it (RFC 3261 §21.5.4).

use super::head::{FirstLine, first_line, has_tag, rows};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use tandem_signalling::stack::{Flow, Transport};

/// Rows that a response repeats (RFC 3261 §8.2.6.2), with their short names.
const REPEATED: [(&[u8], &[u8]); 5] =
    [(b"via", b"v"), (b"from", b"f"), (b"to", b"t"), (b"call-id", b"i"), (b"cseq", b"cseq")];
/// Most octets of the rows that are repeated: an answer never grows much over what asked for it.
const MOST: usize = 4_096;

/// Makes refusals and knows their ACKs again.
#[derive(Debug)]
pub struct Refusals {
    /// The begin of our To tags: nobody can know it who has not got one.
    mark: String,
    buffer: Vec<u8>,
}

impl Refusals {
    /// `secret` is random.
    #[must_use]
    pub fn new(secret: u64) -> Self {
        Self { mark: format!("busy{secret:016x}"), buffer: Vec::with_capacity(1_024) }
    }

    /// The answer to a request and the way that it goes; none to what cannot be answered. Its To
    /// tag depends on the request alone (§8.2.7).
    pub fn refuse(
        &mut self,
        flow: &Flow,
        request: &[u8],
        retry_after_s: u32,
    ) -> Option<(Flow, Arc<[u8]>)> {
        let out = &mut self.buffer;
        out.clear();
        out.extend_from_slice(b"SIP/2.0 503 Service Unavailable\r\n");
        let (mut seen, mut port) = ([false; REPEATED.len()], None);
        for (name, value) in rows(request) {
            let named = |(long, short): &(&[u8], &[u8])| {
                name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(short)
            };
            let Some(which) = REPEATED.iter().position(named) else { continue };
            let first = !core::mem::replace(&mut seen[which], true);
            if !first && which > 0 {
                return None;
            }
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            match (which, first) {
                (0, true) => port = Some(via(out, value, flow.remote)?),
                _ => out.extend_from_slice(value),
            }
            if which == 2 && !has_tag(value) {
                let _ = write!(out, ";tag={}{:08x}", self.mark, fold(request));
            }
            out.extend_from_slice(b"\r\n");
            if out.len() > MOST {
                return None;
            }
        }
        let port = port.filter(|_| seen.iter().all(|it| *it))?;
        let _ = write!(out, "Retry-After: {retry_after_s}\r\nContent-Length: 0\r\n\r\n");
        let mut flow = *flow;
        if flow.transport == Transport::Udp {
            flow.remote.set_port(port);
        }
        Some((flow, out.as_slice().into()))
    }

    /// Whether a message is the ACK of one of our refusals.
    #[must_use]
    pub fn is_acknowledged_by(&self, message: &[u8]) -> bool {
        let FirstLine::Request { method: b"ACK", .. } = first_line(message) else { return false };
        let to = rows(message)
            .find(|(name, _)| name.eq_ignore_ascii_case(b"to") || name.eq_ignore_ascii_case(b"t"));
        to.is_some_and(|(_, value)| {
            memchr::memmem::rfind(value, self.mark.as_bytes())
                .is_some_and(|at| value[..at].ends_with(b"tag="))
        })
    }
}

/// Writes the topmost Via with where it came from (RFC 3261 §18.2.1, RFC 3581 §4), and gives the
/// port that the answer goes to (§18.2.2); `None` if it cannot be read.
fn via(out: &mut Vec<u8>, value: &[u8], from: SocketAddr) -> Option<u16> {
    // Several in one row: the first one is ours to change.
    let end = value.iter().position(|octet| *octet == b',').unwrap_or(value.len());
    let (first, others) = value.split_at(end);
    let mut params = first.split(|octet| *octet == b';');
    let head = params.next()?;
    let sent_by = head.trim_ascii_end().split(u8::is_ascii_whitespace).next_back()?;
    let mut port = port_of(sent_by)?;
    out.extend_from_slice(head);
    for param in params {
        let name = param.split(|octet| *octet == b'=').next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"received") {
            continue;
        }
        if name.eq_ignore_ascii_case(b"rport") {
            port = from.port();
            let _ = write!(out, ";rport={port}");
            continue;
        }
        out.push(b';');
        out.extend_from_slice(param);
    }
    let _ = write!(out, ";received={}", from.ip().to_canonical());
    out.extend_from_slice(others);
    Some(port)
}

/// The port of a sent-by; 5060 if there is none.
fn port_of(sent_by: &[u8]) -> Option<u16> {
    let host_end = sent_by.iter().rposition(|octet| *octet == b']').unwrap_or(0);
    match sent_by[host_end..].iter().position(|octet| *octet == b':') {
        Some(colon) => {
            let digits = core::str::from_utf8(&sent_by[host_end + colon + 1..]).ok()?;
            digits.parse().ok().filter(|port| *port > 0)
        }
        None => Some(5060),
    }
}

/// A number that repetitions of a request share, and the request line is not a part of: FNV-1a over
/// the rows Via and Call-ID.
fn fold(request: &[u8]) -> u32 {
    let parts = rows(request).filter(|(name, _)| {
        let is = |it: &[u8]| name.eq_ignore_ascii_case(it);
        is(b"via") || is(b"v") || is(b"call-id") || is(b"i")
    });
    parts
        .flat_map(|(_, value)| value)
        .fold(0x811c_9dc5, |hash: u32, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_signalling::header::Header;
    use tandem_signalling::message::Message;

    fn flow() -> Flow {
        Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.9:40000".parse().unwrap())
    }

    fn request(via: &str, more: &str) -> Vec<u8> {
        format!(
            "INVITE sip:bob@tandem SIP/2.0\r\nv: {via}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@tandem>;tag=1\r\nTo: <sip:bob@tandem>\r\nCall-ID: c1\r\n\
             CSeq: 7 INVITE\r\nContact: <sip:a@h>\r\n{more}\r\nv=0\r\nTo: x\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn a_refusal_is_a_response_to_its_request() {
        let mut refusals = Refusals::new(5);
        let request = request(
            "SIP/2.0/UDP 10.0.0.1:5070;rport;branch=z9hG4bK1",
            "Via: SIP/2.0/TCP x;branch=z9hG4bK0\r\n",
        );
        let (to, bytes) = refusals.refuse(&flow(), &request, 9).unwrap();
        assert_eq!(to, flow());
        let response = Message::parse(&bytes).unwrap();
        let asked = Message::parse(&request).unwrap();
        assert_eq!(response.status(), Some(503));
        assert_eq!(response.value(Header::RetryAfter), Some(&b"9"[..]));
        assert_eq!(response.call_id(), asked.call_id());
        assert_eq!(response.cseq().unwrap(), asked.cseq().unwrap());
        assert_eq!(response.value(Header::From), asked.value(Header::From));
        assert_eq!(response.values(Header::Via).count(), 2);
        let via = response.top_via().unwrap();
        assert_eq!(via.branch(), Some("z9hG4bK1"));
        assert_eq!(via.params().get("received"), Some("192.0.2.9"));
        assert_eq!(via.params().get("rport"), Some("40000"));
        let tag = response.to_tag().unwrap().to_owned();
        let again = refusals.refuse(&flow(), &request, 11).unwrap().1;
        assert_eq!(Message::parse(&again).unwrap().to_tag(), Some(&*tag));

        let ack =
            |tag: &str| format!("ACK sip:bob@tandem SIP/2.0\r\nTo: <sip:b@t>;tag={tag}\r\n\r\n");
        assert!(refusals.is_acknowledged_by(ack(&tag).as_bytes()));
        assert!(!refusals.is_acknowledged_by(ack("busy").as_bytes()));
        assert!(!refusals.is_acknowledged_by(ack(&tag).replace("ACK", "BYE").as_bytes()));
        assert!(!Refusals::new(6).is_acknowledged_by(ack(&tag).as_bytes()));
    }

    #[test]
    fn it_goes_where_answers_go() {
        let mut refusals = Refusals::new(5);
        for (via, port) in [
            ("SIP/2.0/UDP h;branch=z9hG4bK1", Some(5060)),
            ("SIP / 2.0 / UDP [2001:db8::1]:5071 ;branch=z9hG4bK1", Some(5071)),
            ("SIP/2.0/UDP 10.0.0.1:5072;branch=z9hG4bK1;rport", Some(40000)),
            ("SIP/2.0/UDP h:0;branch=z9hG4bK1", None),
            ("SIP/2.0/UDP h:x;branch=z9hG4bK1", None),
        ] {
            let sent = refusals.refuse(&flow(), &request(via, ""), 1);
            assert_eq!(sent.map(|(flow, _)| flow.remote.port()), port, "{via}");
        }
        let over =
            Flow::tcp("192.0.2.1:5060".parse().unwrap(), "192.0.2.9:40000".parse().unwrap(), 3);
        let sent = refusals.refuse(&over, &request("SIP/2.0/TCP h:5070;branch=z9hG4bK1", ""), 1);
        assert_eq!(sent.unwrap().0, over);
    }

    #[test]
    fn what_is_incomplete_or_ambiguous_is_not_answered() {
        let mut refusals = Refusals::new(5);
        let good = request("SIP/2.0/UDP h;branch=z9hG4bK1", "");
        let text = String::from_utf8(good).unwrap();
        for (old, new) in [
            ("v: ", "x: "),
            ("Call-ID", "X"),
            ("CSeq", "X"),
            ("To: <", "X: <"),
            ("From", "X"),
            ("Contact", "To"),
        ] {
            let bad = text.replacen(old, new, 1);
            assert!(refusals.refuse(&flow(), bad.as_bytes(), 1).is_none(), "{old}");
        }
        let long = text.replace("c1", &"c".repeat(5_000));
        assert!(refusals.refuse(&flow(), long.as_bytes(), 1).is_none());
        for cut in 0..text.len() {
            let _ = refusals.refuse(&flow(), &text.as_bytes()[..cut], 1);
        }
    }
}
