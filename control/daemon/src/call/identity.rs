//! Who calls, and who may know: P-Asserted-Identity (RFC 3325), Privacy (RFC 3323), and the From
//! of the other leg. Pure.
//!
//! | Privacy | towards a trusted peer | towards everybody else |
//! | --- | --- | --- |
//! | none given | P-Asserted-Identity | withheld, unless the operator shows it |
//! | `none` | P-Asserted-Identity | P-Asserted-Identity (RFC 3325 §7 forbids to withhold it) |
//! | `id` | P-Asserted-Identity, `id` goes on | withheld, From and `Identity` are anonymous |
//! | `user` | From is anonymous | withheld, From and `Identity` are anonymous |
//! | `header`, `session` | done: no address of a leg is seen on the other | the same |
//! | `history` | goes on | History-Info is anonymous |

use super::headers;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::name_addr::NameAddr;
use tandem_signalling::stack::{Fields, Reply};
use tandem_signalling::uri::{Host, Uri};

/// From of somebody who wants to stay unknown (RFC 3323 §4.1.1.3).
pub const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

/// The host that tells nothing (RFC 3323 §4.1.1.3).
const ANONYMOUS_HOST: &str = "anonymous.invalid";

/// Identities that one request asserts at most: a SIP and a telephone URI (RFC 3325 §9.1).
const MAX_ASSERTED: usize = 2;

/// Who vouches for the identity of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouched {
    /// We do: it proved to be a user of ours.
    Us,
    /// A trusted peer does, in P-Asserted-Identity.
    Peer,
    /// Nobody does.
    Nobody,
}

/// What the sender of a request wants to be kept from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the tokens of one header")]
pub struct Privacy {
    user: bool,
    id: bool,
    history: bool,
    none: bool,
    critical: bool,
    /// A token that nobody here knows.
    unknown: bool,
}

impl Privacy {
    /// What the Privacy rows of a request ask for.
    #[must_use]
    pub fn of(request: &Message) -> Self {
        let mut privacy = Self::default();
        for row in request.rows().filter(|row| row.header == Header::Privacy) {
            // RFC 3323 §4.2 separates by semicolons; commas are common.
            for token in row.value.split(|octet| matches!(octet, b';' | b',')) {
                privacy.add(token.trim_ascii());
            }
        }
        privacy
    }

    fn add(&mut self, token: &[u8]) {
        match token.to_ascii_lowercase().as_slice() {
            b"user" => self.user = true,
            b"id" => self.id = true,
            b"history" => self.history = true,
            b"none" => self.none = true,
            b"critical" => self.critical = true,
            // No address of a leg is seen on the other anyhow, in headers and in descriptions.
            b"" | b"header" | b"session" => {}
            _ => self.unknown = true,
        }
    }

    /// # Errors
    /// 500 if what cannot be granted is asked for as critical (RFC 3323 §5).
    pub fn check(self) -> Result<(), Reply> {
        if self.unknown && self.critical && !self.none {
            return Err(Reply::new(500).reason("Privacy that is asked for cannot be granted"));
        }
        Ok(())
    }

    /// Whether History-Info tells nothing towards who is not trusted.
    #[must_use]
    pub const fn hides_history(self) -> bool {
        self.history && !self.none
    }

    /// What is left to be done by whoever comes next (RFC 3323 §5: what was granted is removed).
    fn left(self, trusted: bool) -> String {
        if self.none {
            return "none".to_owned();
        }
        let mut left = Vec::new();
        if trusted && self.id {
            left.push("id");
        }
        if trusted && self.history {
            left.push("history");
        }
        if self.critical && !left.is_empty() {
            left.push("critical");
        }
        left.join(";")
    }
}

/// Who sent a request, as others may see it.
#[derive(Clone, Debug)]
pub struct Sender<'a> {
    request: &'a Message,
    /// Its address of record.
    aor: &'a str,
    vouched: Vouched,
    privacy: Privacy,
}

impl<'a> Sender<'a> {
    /// The sender of `request`, whose address of record is `aor`.
    #[must_use]
    pub fn new(request: &'a Message, aor: &'a str, vouched: Vouched) -> Self {
        Self { request, aor, vouched, privacy: Privacy::of(request) }
    }

    /// What it wants to be kept from others.
    #[must_use]
    pub const fn privacy(&self) -> Privacy {
        self.privacy
    }

    fn is_anonymous(&self, trusted: bool) -> bool {
        if is_anonymous(self.request) {
            return true;
        }
        !self.privacy.none && (self.privacy.user || (self.privacy.id && !trusted))
    }

    /// The From for somebody who is trusted, or not.
    #[must_use]
    pub fn from(&self, trusted: bool) -> String {
        if self.is_anonymous(trusted) {
            return ANONYMOUS.to_owned();
        }
        party(self.request.from().ok(), self.aor)
    }

    /// The end-to-end rows of the request except those of [`history`](super::history), with the identity that who gets them may know; `show`
    /// tells whether everybody may know what nobody asked to hide.
    #[must_use]
    pub fn fields(&self, trusted: bool, show: bool) -> Fields {
        let anonymous = self.is_anonymous(trusted);
        // RFC 3323 §5.3: what a user agent adds of its user; RFC 8224 §4.1: the signature names him.
        let reveals = |header| {
            matches!(
                header,
                Header::Subject
                    | Header::CallInfo
                    | Header::Organization
                    | Header::ReplyTo
                    | Header::InReplyTo
                    | Header::UserAgent
            ) || (header == Header::Identity && !trusted)
        };
        let mut fields = headers::end_to_end_if(self.request, |header| {
            // The last two are written by `history`.
            let written =
                matches!(header, Header::Privacy | Header::HistoryInfo | Header::Diversion);
            !(written || anonymous && reveals(header))
        });
        let hidden = !trusted && !self.privacy.none && (self.privacy.id || self.privacy.user);
        if (trusted || show || self.privacy.none) && !hidden {
            for identity in self.asserted() {
                fields.push("P-Asserted-Identity", identity);
            }
        }
        let left = self.privacy.left(trusted);
        if !left.is_empty() {
            fields.push("Privacy", left);
        }
        fields
    }

    /// The identities that somebody vouches for.
    fn asserted(&self) -> Vec<Vec<u8>> {
        match self.vouched {
            Vouched::Nobody => Vec::new(),
            Vouched::Us => vec![self.own_identity().into_bytes()],
            Vouched::Peer => self
                .request
                .values(Header::PAssertedIdentity)
                .filter(|value| NameAddr::parse(value).is_ok())
                .take(MAX_ASSERTED)
                .map(<[u8]>::to_vec)
                .collect(),
        }
    }

    /// The identity of a user of ours: the one that it prefers if it is its own (RFC 3325 §9.2),
    /// which is a matter of the display name only.
    fn own_identity(&self) -> String {
        let own = Uri::parse(self.aor).ok();
        let own_user = own.as_ref().and_then(Uri::user_decoded);
        let preferred = self
            .request
            .addresses(Header::PPreferredIdentity)
            .flatten()
            .find(|address| address.uri().user_decoded() == own_user);
        let named =
            preferred.or_else(|| self.request.from().ok().filter(|_| !is_anonymous(self.request)));
        party(named, self.aor)
    }
}

/// Whether the From of a request tells nobody who sent it.
#[must_use]
pub fn is_anonymous(request: &Message) -> bool {
    request.from().is_ok_and(|from| match from.uri().host() {
        Host::Name(name) => name.eq_ignore_ascii_case(ANONYMOUS_HOST),
        Host::Ip(_) => false,
    })
}

/// A From or To for the other leg: the display name as it was sent, and the address of record, for
/// the host that a party writes is unchecked and may be its own address.
#[must_use]
pub fn party(address: Option<NameAddr<'_>>, aor: &str) -> String {
    let display = address.map(|address| String::from_utf8_lossy(address.display_raw()));
    match display.filter(|display| !display.is_empty()) {
        Some(display) => format!("{display} <{aor}>"),
        None => format!("<{aor}>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_signalling::method::Method;
    use tandem_signalling::stack::{Flow, NewRequest, Output, Stack, StackConfig};
    use tandem_wire::time::Instant;

    fn invite(from: &str, rows: &str) -> Message {
        let text = format!(
            "INVITE sip:bob@tandem SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n\
             From: {from};tag=1\r\nTo: <sip:bob@tandem>\r\nCall-ID: a@192.0.2.7\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:alice@192.0.2.7>\r\nSubject: secret\r\nDate: now\r\n\
             Identity: abc;info=<https://cert.example>\r\n{rows}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.as_bytes()).unwrap()
    }

    fn shown(from: &str, rows: &str, vouched: Vouched, trusted: bool) -> (String, String) {
        let request = invite(from, rows);
        let sender = Sender::new(&request, "sip:alice@tandem", vouched);
        (sender.from(trusted), written(sender.fields(trusted, false)))
    }

    /// A request with these rows.
    fn written(fields: Fields) -> String {
        let mut stack = Stack::new(StackConfig::default(), 1);
        let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
        let request = NewRequest::new(Method::Options, "sip:x@192.0.2.2").fields(fields);
        stack.request(Instant::ZERO, flow, request).unwrap();
        let Some(Output::Transmit { bytes, .. }) = stack.poll_output() else { panic!() };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    const ALICE: &str = "\"Alice\" <sip:alice@tandem>";

    #[test]
    fn an_identity_goes_to_trusted_peers_alone() {
        let (from, rows) = shown(ALICE, "", Vouched::Us, true);
        assert_eq!(from, ALICE);
        assert!(rows.contains("P-Asserted-Identity: \"Alice\" <sip:alice@tandem>\r\n"));
        assert!(rows.contains("Date: now\r\nIdentity: abc;info=<https://cert.example>\r\n"));
        let (_, rows) = shown(ALICE, "", Vouched::Us, false);
        assert!(!rows.contains("P-Asserted"));
        let (_, rows) = shown(ALICE, "Privacy: none\r\n", Vouched::Us, false);
        assert!(rows.contains("P-Asserted") && rows.contains("Privacy: none\r\n"));
    }

    #[test]
    fn what_a_user_asserts_of_itself_is_removed() {
        let forged = "P-Asserted-Identity: <sip:boss@tandem>\r\n\
                      P-Preferred-Identity: \"Boss\" <sip:boss@tandem>\r\n\
                      Remote-Party-ID: <sip:boss@tandem>\r\n";
        let (_, rows) = shown(ALICE, forged, Vouched::Us, true);
        assert!(!rows.to_lowercase().contains("boss"), "{rows}");
        let (_, rows) = shown(ALICE, forged, Vouched::Nobody, true);
        assert!(!rows.contains("P-Asserted"), "{rows}");
        let (_, rows) = shown(ALICE, forged, Vouched::Peer, true);
        assert!(rows.contains("P-Asserted-Identity: <sip:boss@tandem>\r\n"), "{rows}");
    }

    #[test]
    fn privacy_makes_anonymous_and_is_removed_when_granted() {
        let (from, rows) = shown(ALICE, "Privacy: user;critical\r\n", Vouched::Us, true);
        assert_eq!(from, ANONYMOUS);
        assert!(!rows.contains("Subject") && !rows.contains("Privacy"), "{rows}");
        let (from, rows) = shown(ALICE, "Privacy: id\r\n", Vouched::Us, true);
        assert_eq!(from, ALICE);
        assert!(rows.contains("Privacy: id\r\n") && rows.contains("P-Asserted"), "{rows}");
        let (from, rows) = shown(ALICE, "Privacy: id\r\n", Vouched::Us, false);
        assert_eq!(from, ANONYMOUS);
        for kept_back in ["Privacy", "P-Asserted", "Identity", "Subject", "alice"] {
            assert!(!rows.contains(kept_back), "{kept_back} in {rows}");
        }
    }

    #[test]
    fn an_anonymous_from_stays_so_and_the_preferred_identity_goes_to_the_trusted() {
        let rows = "P-Preferred-Identity: \"A. Smith\" <sip:alice@tandem>\r\nPrivacy: id\r\n";
        let (from, rows) = shown(ANONYMOUS, rows, Vouched::Us, true);
        assert_eq!(from, ANONYMOUS);
        assert!(rows.contains("P-Asserted-Identity: \"A. Smith\" <sip:alice@tandem>\r\n"));
    }

    #[test]
    fn critical_privacy_that_is_unknown_is_refused() {
        let of = |rows: &str| Privacy::of(&invite(ALICE, rows)).check().is_ok();
        assert!(of("Privacy: header;session;user;id;history;critical\r\n"));
        assert!(of("Privacy: magic\r\n"));
        assert!(!of("Privacy: magic;critical\r\n"));
    }
}
