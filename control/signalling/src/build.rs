//! Making messages, and editing those that are passed on.
//!
//! Content-Length is always written by the builder and always right. CR and LF, and NUL without a
//! backslash, are refused in every value, so that no value can add a header. The first misuse is remembered and comes out of
//! [`MessageBuilder::finish`].

mod reason;

use std::fmt::{self, Write};
use std::io;

use crate::error::{BuildError, ParseError};
use crate::header::{Header, HeaderName};
use crate::limits::MAX_MESSAGE_OCTETS;
use crate::message::{HeaderRow, Message};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::text::{Split, is_token, trim};

pub use reason::reason_phrase;

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    header: Header,
    /// `None` for the name that [`Header::name`] gives.
    name: Option<Span>,
    value: Span,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Request { method: Method, uri: Span },
    Response { status: u16, reason: Span },
}

/// Collects the parts of a message; see the [module](self).
#[derive(Clone, Debug)]
pub struct MessageBuilder {
    /// All names and values, one behind the other; rows refer to it.
    arena: Vec<u8>,
    start: Start,
    rows: Vec<Row>,
    body: Vec<u8>,
    misuse: Option<BuildError>,
}

impl MessageBuilder {
    fn new(start: Start, arena: Vec<u8>) -> Self {
        Self { arena, start, rows: Vec::with_capacity(24), body: Vec::new(), misuse: None }
    }

    /// Begins a request.
    #[must_use]
    pub fn request(method: Method, uri: &str) -> Self {
        let mut arena = Vec::with_capacity(1024);
        arena.extend_from_slice(uri.as_bytes());
        let span = Span { start: 0, end: uri.len() };
        let mut this = Self::new(Start::Request { method, uri: span }, arena);
        this.check_uri(uri);
        this
    }

    /// Begins a response without headers; an empty `reason` becomes the usual phrase.
    #[must_use]
    pub fn response(status: u16, reason: &str) -> Self {
        let reason = if reason.is_empty() { reason_phrase(status) } else { reason };
        let mut arena = Vec::with_capacity(1024);
        arena.extend_from_slice(reason.as_bytes());
        let span = Span { start: 0, end: reason.len() };
        let mut this = Self::new(Start::Response { status, reason: span }, arena);
        if !(100..700).contains(&status) {
            this.fail(BuildError::Status);
        }
        this.check_value(reason.as_bytes());
        this
    }

    /// Begins the response to a request (RFC 3261 §8.2.6): all Via, From, To, Call-ID and CSeq are
    /// copied, Record-Route into what can make a dialog (§12.1.1), Timestamp into a 100 (§8.2.6.1).
    /// Add the tag with [`Self::to_tag`].
    #[must_use]
    pub fn response_to(request: &Message, status: u16, reason: &str) -> Self {
        let mut this = Self::response(status, reason);
        let makes_dialog =
            matches!(request.method(), Method::Invite | Method::Subscribe | Method::Refer);
        let keeps_route = makes_dialog && (101..300).contains(&status);
        for row in request.rows() {
            let wanted = match row.header {
                Header::Via | Header::From | Header::To | Header::CallId | Header::CSeq => true,
                Header::RecordRoute => keeps_route,
                Header::Timestamp => status == 100,
                _ => false,
            };
            if wanted {
                this.push_row(&row);
            }
        }
        this
    }

    /// Begins with everything of `message`, unknown headers and their order included, except
    /// Content-Length, which is written anew.
    #[must_use]
    pub fn edit(message: &Message) -> Self {
        let mut this = match message.status() {
            Some(status) => {
                let mut this = Self::response(status, " ");
                let reason = message.reason_bytes().unwrap_or_default();
                let span = this.store(reason);
                this.check_value(reason);
                this.start = Start::Response { status, reason: span };
                this
            }
            None => Self::request(message.method(), message.request_uri().unwrap_or("")),
        };
        for row in message.rows() {
            if row.header != Header::ContentLength {
                this.push_row(&row);
            }
        }
        this.body.extend_from_slice(message.body());
        this
    }

    /// Replaces the Request-URI.
    #[must_use]
    pub fn request_uri(mut self, uri: &str) -> Self {
        self.check_uri(uri);
        let span = self.store(uri.as_bytes());
        match &mut self.start {
            Start::Request { uri, .. } => *uri = span,
            Start::Response { .. } => self.fail(BuildError::NoSuchPart),
        }
        self
    }

    /// The method, when this is a request.
    #[must_use]
    pub const fn method(&self) -> Option<Method> {
        match self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The Request-URI, when this is a request.
    #[must_use]
    pub fn uri(&self) -> Option<&str> {
        match self.start {
            Start::Request { uri, .. } => core::str::from_utf8(self.span(uri)).ok(),
            Start::Response { .. } => None,
        }
    }

    /// Whether a row of this header is there.
    #[must_use]
    pub fn has(&self, name: impl HeaderName) -> bool {
        self.rows.iter().any(|row| self.is(row, &name))
    }

    /// The value of the first row of this header.
    #[must_use]
    pub fn value(&self, name: impl HeaderName) -> Option<&[u8]> {
        self.rows.iter().find(|row| self.is(row, &name)).map(|row| self.span(row.value))
    }

    /// Appends a row.
    #[must_use]
    pub fn header(mut self, name: impl HeaderName, value: impl AsRef<[u8]>) -> Self {
        self.add(name, value);
        self
    }

    /// Appends a row whose value is formatted in place.
    #[must_use]
    pub fn header_fmt(mut self, name: impl HeaderName, value: fmt::Arguments<'_>) -> Self {
        let text = fmt_to_string(value);
        self.add(name, text);
        self
    }

    /// As [`Self::header`], by reference.
    pub fn add(&mut self, name: impl HeaderName, value: impl AsRef<[u8]>) {
        if let Some(row) = self.row(&name, value.as_ref()) {
            self.rows.push(row);
        }
    }

    /// Puts a row before the first of its name, or before all others when there is none.
    #[must_use]
    pub fn prepend(mut self, name: impl HeaderName, value: impl AsRef<[u8]>) -> Self {
        if let Some(row) = self.row(&name, value.as_ref()) {
            let at = self.rows.iter().position(|it| self.is(it, &name)).unwrap_or(0);
            self.rows.insert(at, row);
        }
        self
    }

    /// Puts a Via above all others.
    #[must_use]
    pub fn prepend_via(self, value: impl AsRef<[u8]>) -> Self {
        self.prepend(Header::Via, value)
    }

    /// Replaces all rows of a header by one, at the place of the first, or appends it.
    #[must_use]
    pub fn set(mut self, name: impl HeaderName, value: impl AsRef<[u8]>) -> Self {
        let Some(row) = self.row(&name, value.as_ref()) else { return self };
        match self.rows.iter().position(|it| self.is(it, &name)) {
            Some(at) => {
                self.rows[at].value = row.value;
                self.remove_from(&name, at + 1);
            }
            None => self.rows.push(row),
        }
        self
    }

    /// Removes all rows of a header.
    #[must_use]
    pub fn remove(mut self, name: impl HeaderName) -> Self {
        self.remove_from(&name, 0);
        self
    }

    /// Keeps only the rows for which `keep` says so.
    #[must_use]
    pub fn retain(mut self, mut keep: impl FnMut(Header, &str) -> bool) -> Self {
        let rows = std::mem::take(&mut self.rows);
        self.rows = rows
            .into_iter()
            .filter(|row| keep(row.header, core::str::from_utf8(self.name(row)).unwrap_or("")))
            .collect();
        self
    }

    /// Removes the first value of a list header: the topmost Via, or the topmost Route.
    #[must_use]
    pub fn pop_first(mut self, header: Header) -> Self {
        let Some(at) = self.rows.iter().position(|row| row.header == header) else { return self };
        let value = self.rows[at].value;
        let first = Split::new(self.span(value), b',').next().unwrap_or_default();
        let rest = &self.span(value)[first.len()..];
        let lead = rest.len() - trim(rest).strip_prefix(b",").map_or(0, <[u8]>::len);
        let start = value.start + first.len() + lead;
        if header.is_list() && start < value.end {
            let skip = self.arena[start..value.end].iter().take_while(|it| **it == b' ').count();
            self.rows[at].value.start = start + skip;
        } else {
            self.rows.remove(at);
        }
        self
    }

    /// Copies all rows of a header.
    #[must_use]
    pub fn copy(mut self, message: &Message, name: impl HeaderName) -> Self {
        let header = name.header();
        for row in message.rows() {
            if row.header == header
                && (header != Header::Other || row.name.eq_ignore_ascii_case(name.text()))
            {
                self.push_row(&row);
            }
        }
        self
    }

    /// Adds a tag to To, unless it has one.
    #[must_use]
    pub fn to_tag(self, tag: &str) -> Self {
        self.tag(Header::To, tag)
    }

    /// Adds a tag to From, unless it has one.
    #[must_use]
    pub fn from_tag(self, tag: &str) -> Self {
        self.tag(Header::From, tag)
    }

    fn tag(mut self, header: Header, tag: &str) -> Self {
        if !is_token(tag.as_bytes()) {
            self.fail(BuildError::Token);
            return self;
        }
        let Some(at) = self.rows.iter().position(|row| row.header == header) else {
            self.fail(BuildError::NoSuchPart);
            return self;
        };
        let value = self.span(self.rows[at].value).to_vec();
        let tagged = match NameAddr::parse(&value) {
            Ok(address) if address.tag().is_some() => return self,
            // Also a broken value gets its tag: the answer to it has to have one.
            _ => [&value[..], b";tag=", tag.as_bytes()].concat(),
        };
        self.rows[at].value = self.store(&tagged);
        self
    }

    /// Sets body and Content-Type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self = self.set(Header::ContentType, content_type);
        self.body = body.into();
        self
    }

    /// Removes the body and the headers that describe it.
    #[must_use]
    pub fn no_body(mut self) -> Self {
        self.body.clear();
        self.rows.retain(|row| {
            !matches!(
                row.header,
                Header::ContentType
                    | Header::ContentDisposition
                    | Header::ContentEncoding
                    | Header::ContentLanguage
                    | Header::MimeVersion
            )
        });
        self
    }

    /// The message.
    ///
    /// # Errors
    /// The first misuse; or the limit that the message goes over; or, for a response, that it has no
    /// CSeq.
    pub fn finish(self) -> Result<Message, BuildError> {
        let octets = self.finish_octets()?;
        Message::from_vec(octets).map_err(|error| match error {
            ParseError::LimitReached(_) => BuildError::TooLarge,
            ParseError::Malformed(_) | ParseError::Unsupported(_) => BuildError::NoSuchPart,
        })
    }

    fn finish_octets(&self) -> Result<Vec<u8>, BuildError> {
        if let Some(misuse) = self.misuse {
            return Err(misuse);
        }
        let mut out = Vec::with_capacity(self.arena.len() + self.body.len() + 512);
        match self.start {
            Start::Request { method, uri } => {
                out.extend_from_slice(method.as_str().as_bytes());
                out.push(b' ');
                out.extend_from_slice(self.span(uri));
                out.extend_from_slice(b" SIP/2.0\r\n");
            }
            Start::Response { status, reason } => {
                write_to(&mut out, format_args!("SIP/2.0 {status} "));
                out.extend_from_slice(self.span(reason));
                out.extend_from_slice(b"\r\n");
            }
        }
        for row in &self.rows {
            out.extend_from_slice(self.name(row));
            out.extend_from_slice(b": ");
            out.extend_from_slice(self.span(row.value));
            out.extend_from_slice(b"\r\n");
        }
        write_to(&mut out, format_args!("Content-Length: {}\r\n\r\n", self.body.len()));
        out.extend_from_slice(&self.body);
        if out.len() > MAX_MESSAGE_OCTETS { Err(BuildError::TooLarge) } else { Ok(out) }
    }

    fn fail(&mut self, misuse: BuildError) {
        self.misuse.get_or_insert(misuse);
    }

    fn check_uri(&mut self, uri: &str) {
        if uri.is_empty() || uri.bytes().any(|it| it <= b' ' || it >= 127) {
            self.fail(BuildError::RequestUri);
        }
    }

    fn check_value(&mut self, value: &[u8]) {
        if memchr::memchr3(b'\r', b'\n', 0, value).is_some() && has_stray_octets(value) {
            self.fail(BuildError::Value);
        }
    }

    fn store(&mut self, octets: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(octets);
        Span { start, end: self.arena.len() }
    }

    fn row(&mut self, name: &impl HeaderName, value: &[u8]) -> Option<Row> {
        let header = name.header();
        if header == Header::ContentLength || !is_token(name.text().as_bytes()) {
            self.fail(BuildError::Name);
            return None;
        }
        self.check_value(value);
        let own_name = header == Header::Other || name.text() != header.name();
        let name = own_name.then(|| self.store(name.text().as_bytes()));
        Some(Row { header, name, value: self.store(trim(value)) })
    }

    fn push_row(&mut self, row: &HeaderRow<'_>) {
        self.add(row.name, row.value);
    }

    fn span(&self, span: Span) -> &[u8] {
        &self.arena[span.start..span.end]
    }

    fn name(&self, row: &Row) -> &[u8] {
        row.name.map_or_else(|| row.header.name().as_bytes(), |it| self.span(it))
    }

    fn is(&self, row: &Row, name: &impl HeaderName) -> bool {
        row.header == name.header()
            && (row.header != Header::Other
                || self.name(row).eq_ignore_ascii_case(name.text().as_bytes()))
    }

    fn remove_from(&mut self, name: &impl HeaderName, from: usize) {
        let mut rows = std::mem::take(&mut self.rows);
        let mut at = 0;
        rows.retain(|row| {
            at += 1;
            at <= from || !self.is(row, name)
        });
        self.rows = rows;
    }
}

/// A line end, or a NUL that is no quoted pair.
fn has_stray_octets(value: &[u8]) -> bool {
    let mut escaped = false;
    value.iter().any(|it| {
        let stray = matches!(it, b'\r' | b'\n') || (*it == 0 && !escaped);
        escaped = *it == b'\\' && !escaped;
        stray
    })
}

fn write_to(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = io::Write::write_fmt(out, text);
}

fn fmt_to_string(text: fmt::Arguments<'_>) -> String {
    let mut out = String::new();
    let _ = out.write_fmt(text);
    out
}

#[cfg(test)]
mod roundtrip;
#[cfg(test)]
mod tests;
