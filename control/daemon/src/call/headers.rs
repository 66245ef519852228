//! Which headers go from one leg to the other. End-to-end headers go on as they are, unknown ones
//! included, in their order; what belongs to a hop, to a dialog or to an authentication does not.

use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::Fields;

/// Methods that Tandem takes, as in Allow.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, MESSAGE, REGISTER";

/// Methods that a party may use towards the other one.
const PASSED_METHODS: [&str; 8] =
    ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "UPDATE", "MESSAGE"];

/// Option tags that work from end to end without Tandem's help. Others (`100rel`, `replaces`,
/// `gruu`, `outbound`, …) would need it, and are neither offered on nor accepted.
const PASSED_OPTIONS: [&str; 6] =
    ["timer", "histinfo", "norefersub", "answermode", "resource-priority", "from-change"];

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
            // Asserted by whom nobody asked (RFC 3325 §6), or signed over what changes.
            | Header::PAssertedIdentity
            | Header::PPreferredIdentity
            | Header::Identity
            // Written with the body.
            | Header::ContentLength
            | Header::ContentType
            // Filtered below.
            | Header::Allow
            | Header::Supported
            | Header::Require
            | Header::AllowEvents
            | Header::Unsupported
    )
}

/// The rows of `message` for the other leg, without body.
#[must_use]
pub fn end_to_end(message: &Message) -> Fields {
    let mut fields = Fields::new();
    for row in message.rows() {
        if is_end_to_end(row.header) && !row.name.eq_ignore_ascii_case(HOP) {
            fields.push(row.name, row.value);
        }
    }
    push_filtered(&mut fields, message, Header::Allow, &PASSED_METHODS);
    push_filtered(&mut fields, message, Header::Supported, &PASSED_OPTIONS);
    push_filtered(&mut fields, message, Header::Require, &PASSED_OPTIONS);
    fields
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

/// The rows and the body of `message` for the other leg, as they are.
#[must_use]
pub fn with_same_body(message: &Message) -> Fields {
    let fields = end_to_end(message);
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
        .filter(|value| !PASSED_OPTIONS.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(value)))
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
    /// Answered by Tandem.
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
        Method::Info | Method::Update | Method::Message => InDialog::Pass,
        Method::Options => InDialog::Options,
        Method::Other(_) => InDialog::NotImplemented,
        _ => InDialog::NotAllowed,
    }
}
