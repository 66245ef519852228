//! What a message must have before anything acts on it, and how a broken request is answered.

use std::borrow::Cow;

use super::Message;
use crate::error::{Malformed, ParseError, Unsupported};
use crate::header::{Header, MediaType};
use crate::method::Method;
use crate::name_addr::{Contact, NameAddr};
use crate::text::{self, utf8};
use crate::uri::Scheme;
use crate::via::Via;

/// Why a request is refused, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The reason, to be counted.
    pub cause: ParseError,
    /// The status code of the answer; `None` when there is to be none (an ACK, or a request whose
    /// Via does not say where the answer would go).
    pub status: Option<u16>,
    /// The reason phrase of the answer.
    pub reason: Cow<'static, str>,
    /// What the answer needs besides the copied headers, as Unsupported.
    pub headers: Vec<(Header, String)>,
}

impl Reject {
    fn new(request: &Message, cause: ParseError) -> Self {
        let answerable = request.method() != Method::Ack && request.answer_via().is_ok();
        let reason = match cause {
            ParseError::Malformed(it) => it.sentence(),
            ParseError::Unsupported(Unsupported::Version) => "Version Not Supported",
            ParseError::Unsupported(Unsupported::UriScheme) => "Unsupported URI Scheme",
            ParseError::Unsupported(_) => "Bad Extension",
            ParseError::LimitReached(_) => "Message Too Large",
        };
        Self {
            cause,
            status: answerable.then(|| cause.status()),
            reason: Cow::Borrowed(reason),
            headers: Vec::new(),
        }
    }
}

/// Checks a request as RFC 3261 §8.2 and §16.3 want it before it is acted upon: the mandatory
/// headers, that what may be there once is there once, and the grammar of everything that Tandem
/// acts on.
///
/// # Errors
/// What to answer, and the reason to count.
pub fn validate_request(request: &Message) -> Result<(), Reject> {
    let checked = request.defect().map_or(Ok(()), Err).and_then(|()| check_request(request));
    checked.map_err(|cause| Reject::new(request, cause))
}

fn check_request(request: &Message) -> Result<(), ParseError> {
    check_common(request)?;
    if request.cseq()?.method != request.method() {
        return Err(Malformed::CSeqMethod.into());
    }
    let uri = request.uri()?;
    if uri.scheme() == Scheme::Other {
        return Err(Unsupported::UriScheme.into());
    }
    // RFC 3261 §19.1.1, table 1: no headers in a Request-URI.
    if !uri.headers_str().is_empty() {
        return Err(Malformed::RequestUri.into());
    }
    if request.has(Header::MaxForwards) && request.max_forwards().is_none() {
        return Err(Malformed::MaxForwards.into());
    }
    if request.has(Header::Expires) && request.expires().is_none() {
        return Err(Malformed::Expires.into());
    }
    if request.method() == Method::Invite && request.to_tag().is_none() {
        check_invite_contact(request)?;
    }
    check_date(request)?;
    if !request.body().is_empty() {
        request.content_type()?;
    }
    Ok(())
}

/// RFC 3261 §8.1.1.8: a request that can make a dialog has exactly one Contact.
fn check_invite_contact(request: &Message) -> Result<(), ParseError> {
    let mut contacts = request.contacts();
    match (contacts.next(), contacts.next()) {
        (Some(Ok(Contact::Address(_))), None) => Ok(()),
        (None, _) => Err(Malformed::MissingContact.into()),
        _ => Err(Malformed::Contact.into()),
    }
}

/// RFC 3261 §20.17: the time zone is GMT.
fn check_date(message: &Message) -> Result<(), ParseError> {
    match message.value(Header::Date) {
        Some(value) if !value.ends_with(b" GMT") => Err(Malformed::Date.into()),
        _ => Ok(()),
    }
}

/// Checks a response before it is matched to a transaction; a response that fails is discarded.
///
/// # Errors
/// The reason to count.
pub fn validate_response(response: &Message) -> Result<(), ParseError> {
    if let Some(defect) = response.defect() {
        return Err(defect);
    }
    check_common(response)
}

fn check_common(message: &Message) -> Result<(), ParseError> {
    let mut vias = 0;
    for value in message.values(Header::Via) {
        Via::parse(value)?;
        vias += 1;
    }
    if vias == 0 {
        return Err(Malformed::MissingVia.into());
    }
    message.from()?;
    message.to()?;
    check_call_id(message.value(Header::CallId).ok_or(Malformed::MissingCallId)?)?;
    message.cseq()?;
    for header in [Header::Route, Header::RecordRoute, Header::Path] {
        for value in message.values(header) {
            NameAddr::parse(value).map_err(|_| Malformed::Route)?;
        }
    }
    for contact in message.contacts() {
        contact.map_err(|_| Malformed::Contact)?;
    }
    if let Some(value) = message.value(Header::ContentType) {
        MediaType::parse(value)?;
    }
    Ok(())
}

/// `word ["@" word]` (RFC 3261 §25.1).
fn check_call_id(value: &[u8]) -> Result<(), ParseError> {
    let good = |it: &u8| {
        text::is_token_octet(*it)
            || matches!(it, b'(' | b')' | b'<' | b'>' | b':' | b'\\' | b'"' | b'/' | b'[' | b']')
            || matches!(it, b'?' | b'{' | b'}')
    };
    let mut words = value.split(|it| *it == b'@');
    let first = words.next().unwrap_or_default();
    let second = words.next();
    let is_word = |it: &[u8]| !it.is_empty() && it.iter().all(good);
    if is_word(first) && second.is_none_or(is_word) && words.next().is_none() {
        Ok(())
    } else {
        Err(Malformed::CallId.into())
    }
}

/// Checks that every option tag in Require (and, for a proxy, Proxy-Require) is one of `supported`
/// (RFC 3261 §8.2.2.3); not for ACK and CANCEL, in which they are ignored.
///
/// # Errors
/// 420 with Unsupported.
pub fn check_require(request: &Message, header: Header, supported: &[&str]) -> Result<(), Reject> {
    if matches!(request.method(), Method::Ack | Method::Cancel) {
        return Ok(());
    }
    let known = |it: &&[u8]| supported.iter().any(|tag| it.eq_ignore_ascii_case(tag.as_bytes()));
    let unknown: Vec<&str> = request
        .values(header)
        .filter(|it| text::is_token(it) && !known(it))
        .filter_map(utf8)
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let mut reject = Reject::new(request, Unsupported::Extension.into());
    reject.headers.push((Header::Unsupported, unknown.join(", ")));
    Err(reject)
}
