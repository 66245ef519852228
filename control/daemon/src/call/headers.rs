//! Which headers go from one leg to the other. End-to-end headers go on as they are, unknown ones
//! included, in their order; what belongs to a hop, to a dialog or to an authentication does not.

use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::Fields;

/// Methods that Tandem takes, as in Allow.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, INFO, UPDATE, MESSAGE, REGISTER, PUBLISH, REFER, \
     SUBSCRIBE, NOTIFY";

/// Headers without a variant of their own that stay on their leg.
const KEPT_BACK: [&str; 12] = [
    // They name a dialog of this leg (RFC 4538), or were made for this hop (RFC 3329, RFC 4488).
    "Target-Dialog",
    "Refer-Sub",
    "Security-Client",
    "Security-Server",
    "Security-Verify",
    // Asserted by whom nobody asked: what came before P-Asserted-Identity.
    "Remote-Party-ID",
    // Of the trust domain and its network (RFC 7315 §4, RFC 6050 §4.1).
    "P-Access-Network-Info",
    "P-Associated-URI",
    "P-Charging-Function-Addresses",
    "P-Charging-Vector",
    "P-Visited-Network-ID",
    "P-Preferred-Service",
];

/// Methods that a party may use towards the other one.
const PASSED_METHODS: [&str; 10] =
    ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "PRACK", "INFO", "UPDATE", "MESSAGE", "REFER"];

/// Those of them that Tandem deals with if the other party does not.
const OWN_METHODS: [&str; 4] = ["OPTIONS", "PRACK", "UPDATE", "REFER"];

/// Option tags that Tandem speaks by itself on each leg: accepted, and not passed on.
const OWN_OPTIONS: [&str; 4] = ["100rel", "norefersub", "replaces", "timer"];

/// Option tags that work from end to end without Tandem's help. Others (`gruu`, `outbound`,
/// …) would need it, and are neither offered on nor accepted.
const PASSED_OPTIONS: [&str; 4] = ["histinfo", "answermode", "resource-priority", "from-change"];

/// Body types that the first INVITE of a call may have.
pub const ACCEPT: &str = "application/sdp";

/// Header that tells the same call when it comes around again: this Tandem's token and a hash of
/// what was asked for.
pub const HOP: &str = "Tandem-Hop";

/// Tandems that one call passes at most.
pub const MAX_HOPS: usize = 16;

/// The marks of the Tandems that a call came through.
pub fn hops(message: &Message) -> impl Iterator<Item = &[u8]> {
    message
        .rows()
        .filter(|row| row.name.eq_ignore_ascii_case(HOP))
        .flat_map(|row| row.value.split(|octet| *octet == b','))
        .map(<[u8]>::trim_ascii)
}

/// Whether a header goes on to the other leg as it is.
fn is_end_to_end(header: Header) -> bool {
    !matches!(
        header,
        // Hop by hop.
        Header::Via
            | Header::Route
            | Header::RecordRoute
            | Header::MaxForwards
            | Header::ProxyRequire
            | Header::Path
            | Header::ServiceRoute
            | Header::Timestamp
            // Of this leg's session timer (RFC 4028).
            | Header::SessionExpires
            | Header::MinSe
            // Of the dialog or the registration; the stack writes them.
            | Header::From
            | Header::To
            | Header::CallId
            | Header::CSeq
            | Header::Contact
            | Header::Expires
            | Header::MinExpires
            | Header::RAck
            | Header::RSeq
            | Header::Replaces
            | Header::Join
            | Header::ReferTo
            // Of an authentication on this side.
            | Header::Authorization
            | Header::ProxyAuthorization
            | Header::WwwAuthenticate
            | Header::ProxyAuthenticate
            | Header::AuthenticationInfo
            // Written anew by `identity`, for who may see them (RFC 3325 §5).
            | Header::PAssertedIdentity
            | Header::PPreferredIdentity
            // Written with the body.
            | Header::ContentLength
            | Header::ContentType
            // Written below.
            | Header::Warning
            | Header::Allow
            | Header::Supported
            | Header::Require
            | Header::AllowEvents
            | Header::Unsupported
    )
}

/// Whether a row that has no variant of its own goes on to the other leg.
fn is_passed_name(name: &str) -> bool {
    !name.eq_ignore_ascii_case(HOP) && !KEPT_BACK.iter().any(|kept| name.eq_ignore_ascii_case(kept))
}

/// The rows of `message` for the other leg, without body.
#[must_use]
pub fn end_to_end(message: &Message) -> Fields {
    end_to_end_if(message, |_| true)
}

/// As [`end_to_end`], only the rows that `keep` wants.
#[must_use]
pub fn end_to_end_if(message: &Message, keep: impl Fn(Header) -> bool) -> Fields {
    let mut fields = Fields::new();
    for row in message.rows() {
        if is_end_to_end(row.header)
            && keep(row.header)
            && (row.header != Header::Other || is_passed_name(row.name))
        {
            fields.push(row.name, row.value);
        }
    }
    for warning in message.values(Header::Warning) {
        push_warning(&mut fields, warning);
    }
    push_allow(&mut fields, message);
    push_filtered(&mut fields, message, Header::Supported, &PASSED_OPTIONS);
    push_filtered(&mut fields, message, Header::Require, &PASSED_OPTIONS);
    fields
}

/// A Warning names who warns, often by an address of the other leg: that becomes our name
/// (RFC 3261 §20.43 lets it be a pseudonym).
fn push_warning(fields: &mut Fields, value: &[u8]) {
    let mut parts = value.splitn(3, |octet| *octet == b' ');
    let (Some(code), Some(_), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
        return;
    };
    fields.push("Warning", [code, b" tandem ", text].concat());
}

/// Allow: what the other party takes from us, and what Tandem itself takes on each leg.
fn push_allow(fields: &mut Fields, message: &Message) {
    if !message.has(Header::Allow) {
        return;
    }
    let taken =
        |method: &&str| OWN_METHODS.contains(method) || message.lists(Header::Allow, method);
    let allowed: Vec<&str> = PASSED_METHODS.iter().copied().filter(taken).collect();
    fields.push("Allow", allowed.join(", "));
}

fn push_filtered(fields: &mut Fields, message: &Message, header: Header, keep: &[&str]) {
    let kept: Vec<&str> = message
        .tokens(header)
        .filter(|value| keep.iter().any(|it| it.eq_ignore_ascii_case(value)))
        .collect();
    if !kept.is_empty() {
        fields.push(header.name(), kept.join(", "));
    }
}

/// The marks of the Tandems that a request came through, so that each of them sees a loop that leads
/// over many, and our own.
pub fn push_hops(fields: &mut Fields, request: &Message, own: &str) {
    for mark in hops(request) {
        fields.push(HOP, mark);
    }
    fields.push(HOP, own);
}

/// The rows and the body of `message` for the other leg, as they are.
#[must_use]
pub fn with_same_body(message: &Message) -> Fields {
    with_body_of(end_to_end(message), message)
}

/// As [`with_same_body`], without a body that is a session description.
#[must_use]
pub fn without_sdp(message: &Message) -> Fields {
    if message.content_type().is_ok_and(|kind| kind.is("application", "sdp")) {
        end_to_end(message)
    } else {
        with_same_body(message)
    }
}

/// These rows, and the body of `message` as it is.
#[must_use]
pub fn with_body_of(fields: Fields, message: &Message) -> Fields {
    if message.body().is_empty() {
        return fields;
    }
    let content_type = message.value(Header::ContentType).unwrap_or(b"application/octet-stream");
    fields.body(&String::from_utf8_lossy(content_type), message.body())
}

/// Option tags that `message` requires and nobody here can promise (RFC 3261 §8.2.2.3).
#[must_use]
pub fn unsupported_options(message: &Message) -> Vec<String> {
    message
        .values(Header::Require)
        .filter(|value| {
            let mut known = PASSED_OPTIONS.iter().chain(&OWN_OPTIONS);
            !known.any(|it| it.as_bytes().eq_ignore_ascii_case(value))
        })
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .collect()
}

/// How a method inside a dialog is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InDialog {
    /// Ends the call.
    Bye,
    /// Renegotiates.
    Invite,
    /// Goes to the other party.
    Pass,
    /// Renegotiates, or refreshes the session.
    Update,
    /// Acknowledges a provisional response.
    Prack,
    /// Carried out by Tandem.
    Refer,
    /// About what a REFER began.
    Subscribe,
    /// Goes to the other party, once there is one.
    Options,
    /// Known, not allowed here.
    NotAllowed,
    /// Unknown.
    NotImplemented,
}

/// How a method inside a dialog is treated.
#[must_use]
pub const fn in_dialog(method: &Method) -> InDialog {
    match method {
        Method::Bye => InDialog::Bye,
        Method::Invite => InDialog::Invite,
        Method::Info | Method::Message => InDialog::Pass,
        Method::Update => InDialog::Update,
        Method::Prack => InDialog::Prack,
        Method::Refer => InDialog::Refer,
        Method::Subscribe => InDialog::Subscribe,
        Method::Options => InDialog::Options,
        Method::Other(_) => InDialog::NotImplemented,
        _ => InDialog::NotAllowed,
    }
}
