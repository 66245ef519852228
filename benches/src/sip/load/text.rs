//! The messages of the load generator.

use std::fmt::Write;
use std::net::SocketAddr;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;

/// Who speaks to whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) server: SocketAddr,
    /// Makes Call-IDs and branches those of this process.
    pub(super) salt: u32,
}

/// What a call's later requests need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dialog {
    pub(super) target: String,
    pub(super) to: String,
    pub(super) routes: Vec<String>,
}

impl Dialog {
    /// Out of the 200 of an INVITE.
    pub(super) fn of(response: &Message) -> Option<Self> {
        let contact = response.value_str(Header::Contact)?;
        let target = contact.split_once('<')?.1.split_once('>')?.0.to_owned();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let mut routes: Vec<String> = response.values(Header::RecordRoute).map(text).collect();
        routes.reverse();
        Some(Self { target, to: response.value_str(Header::To)?.to_owned(), routes })
    }
}

impl Ends {
    pub(super) fn invite(&self, call: u64, user: u64) -> String {
        let sdp = self.sdp();
        let to = format!("<sip:u{user}@{}>", self.server.ip());
        let mut text = format!("INVITE sip:u{user}@{} SIP/2.0\r\n", self.server);
        self.head(&mut text, ("c", call), 1, "INVITE", &to);
        let _ = write!(
            text,
            "Contact: <sip:caller@{}>\r\nUser-Agent: load\r\n\
             Allow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{sdp}",
            self.local,
            sdp.len()
        );
        text
    }

    /// ACK or BYE.
    pub(super) fn in_dialog(&self, call: u64, dialog: &Dialog, method: &str) -> String {
        let mut text = format!("{method} {} SIP/2.0\r\n", dialog.target);
        self.head(&mut text, ("c", call), if method == "ACK" { 1 } else { 2 }, method, &dialog.to);
        for route in &dialog.routes {
            let _ = write!(text, "Route: {route}\r\n");
        }
        text.push_str("Content-Length: 0\r\n\r\n");
        text
    }

    /// REGISTER of a user, again with credentials when there are some.
    pub(super) fn register(&self, user: u64, cseq: u32, credentials: Option<&str>) -> String {
        let mut text = format!("REGISTER {} SIP/2.0\r\n", self.registrar());
        let to = format!("<sip:u{user}@{}>", self.server.ip());
        self.head(&mut text, ("r", user), cseq, "REGISTER", &to);
        let _ = write!(text, "Contact: <sip:u{user}@{}>;expires=3600\r\n", self.local);
        if let Some(credentials) = credentials {
            let _ = write!(text, "Authorization: {credentials}\r\n");
        }
        text.push_str("Content-Length: 0\r\n\r\n");
        text
    }

    pub(super) fn registrar(&self) -> String {
        format!("sip:{}", self.server)
    }

    fn head(&self, text: &mut String, id: (&str, u64), cseq: u32, method: &str, to: &str) {
        let (kind, number) = id;
        let (local, server, salt) = (self.local, self.server.ip(), self.salt);
        let from = match kind {
            "r" => to.to_owned(),
            _ => format!("<sip:caller@{server}>"),
        };
        let branch = format!("z9hG4bK{salt}{kind}{number}x{cseq}{method}");
        let _ = write!(
            text,
            "Via: SIP/2.0/UDP {local};branch={branch}\r\nFrom: {from};tag={kind}{number}\r\n\
             To: {to}\r\nCall-ID: {kind}{number}@{salt}.{local}\r\nCSeq: {cseq} {method}\r\n\
             Max-Forwards: 70\r\n"
        );
    }

    fn sdp(&self) -> String {
        let ip = self.local.ip();
        format!(
            "v=0\r\no=load 53655765 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio 6000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n"
        )
    }

    /// The 200 that answers a request; that of an INVITE opens the dialog.
    pub(super) fn ok(&self, request: &Message) -> String {
        let mut text = "SIP/2.0 200 OK\r\n".to_owned();
        let opens = request.value_str(Header::CSeq).is_some_and(|it| it.ends_with("INVITE"));
        let kept = [Header::Via, Header::RecordRoute, Header::From, Header::To, Header::CallId];
        for row in request.rows().filter(|row| kept.contains(&row.header)) {
            let value = String::from_utf8_lossy(row.value);
            let tag = if opens && row.header == Header::To { ";tag=callee" } else { "" };
            let _ = write!(text, "{}: {value}{tag}\r\n", row.name);
        }
        let cseq = request.value_str(Header::CSeq).unwrap_or_default();
        let _ = write!(text, "CSeq: {cseq}\r\n");
        if opens {
            let sdp = self.sdp();
            let _ = write!(
                text,
                "Contact: <sip:callee@{}>\r\nContent-Type: application/sdp\r\n\
                 Content-Length: {}\r\n\r\n{sdp}",
                self.local,
                sdp.len()
            );
        } else {
            text.push_str("Content-Length: 0\r\n\r\n");
        }
        text
    }
}

/// The kind and the number in a Call-ID of ours.
pub(super) fn number(message: &Message) -> Option<(char, u64)> {
    let id = message.call_id()?;
    let kind = id.chars().next()?;
    let number = id.get(1..)?.split('@').next()?.parse().ok()?;
    Some((kind, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        let (local, server) = (([10, 0, 0, 2], 9000).into(), ([10, 0, 0, 1], 5060).into());
        Ends { local, server, salt: 1 }
    }

    #[test]
    fn an_invite_is_answered_and_its_dialog_goes_on() {
        let invite = Message::parse(ends().invite(7, 3).as_bytes()).unwrap();
        assert_eq!(number(&invite), Some(('c', 7)));
        let ok = Message::parse(ends().ok(&invite).as_bytes()).unwrap();
        assert_eq!(ok.status(), Some(200));
        let dialog = Dialog::of(&ok).unwrap();
        assert_eq!(dialog.target, "sip:callee@10.0.0.2:9000");
        let bye = Message::parse(ends().in_dialog(7, &dialog, "BYE").as_bytes()).unwrap();
        assert_eq!(bye.to_tag(), Some("callee"));
        let ok = Message::parse(ends().ok(&bye).as_bytes()).unwrap();
        assert_eq!(ok.to_tag(), Some("callee"));
        assert!(ok.body().is_empty());
    }
}
