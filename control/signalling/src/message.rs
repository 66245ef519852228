//! SIP messages: owned octets and an index of their header rows.
//!
//! Parsing is one pass. It allocates a fixed number of times, however many headers there are; what
//! is inside a header is read when it is asked for. A clone shares the octets.
//!
//! What is tolerated, on purpose: line ends before the start line (RFC 3261 §7.5), and a lone LF as
//! a line end. A lone CR or a NUL in the headers is not: other elements read them differently, so
//! they are a way to smuggle headers past this one. Folded rows are joined by spaces in the owned
//! octets, which RFC 3261 §7.3.1 says is the same, so nothing later has to know of folding.
//!
//! A request that is broken but has a start line still becomes a `Message`, so that it can be
//! answered: see [`Message::defect`] and [`validate`].

mod index;
mod typed;
pub mod validate;

use std::fmt;
use std::sync::Arc;

use crate::error::ParseError;
use crate::header::Header;
use crate::method::Method;
use crate::text::{Split, utf8};
use index::{Index, Row, Start};

pub use typed::stamp_received;
pub use validate::{Reject, check_require, validate_request, validate_response};

/// A SIP request or response.
#[derive(Clone)]
pub struct Message {
    inner: Arc<Inner>,
}

struct Inner {
    octets: Vec<u8>,
    index: Index<Box<[Row]>>,
}

impl Message {
    /// Reads one message: a datagram, or what [`Framer`](crate::framing::Framer) cut from a stream.
    ///
    /// Octets after the body that Content-Length announces are cut off (RFC 3261 §18.3).
    ///
    /// # Errors
    /// When no `Message` can be made: it has no SIP start line, goes over a limit, or is a response
    /// with any defect (a broken response is never answered).
    pub fn parse(octets: &[u8]) -> Result<Self, ParseError> {
        Self::from_vec(octets.to_vec())
    }

    /// As [`Self::parse`], without a copy.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn from_vec(mut octets: Vec<u8>) -> Result<Self, ParseError> {
        let index = index::build(&mut octets)?.kept();
        octets.truncate(usize::from(index.body.end));
        Ok(Self { inner: Arc::new(Inner { octets, index }) })
    }

    /// The whole message, unfolded, without what came before its start line or after its body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.inner.octets.get(usize::from(self.inner.index.start_at)..).unwrap_or_default()
    }

    /// Whether it is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.inner.index.start, Start::Request { .. })
    }

    /// Whether it is a response.
    #[must_use]
    pub fn is_response(&self) -> bool {
        !self.is_request()
    }

    /// The method; of a response, that of its CSeq.
    #[must_use]
    pub fn method(&self) -> Method {
        match self.inner.index.start {
            Start::Request { method, .. } | Start::Response { method, .. } => method,
        }
    }

    /// The Request-URI as it was sent, with white space in it when the request is broken.
    #[must_use]
    pub fn request_uri(&self) -> Option<&str> {
        match self.inner.index.start {
            Start::Request { uri, .. } => utf8(uri.of(&self.inner.octets)),
            Start::Response { .. } => None,
        }
    }

    /// The status code of a response, 100 to 699.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.inner.index.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// The reason phrase of a response; octets that are not UTF-8 make it empty, see
    /// [`Self::reason_bytes`].
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason_bytes().map(|it| utf8(it).unwrap_or(""))
    }

    /// The reason phrase of a response as it was sent.
    #[must_use]
    pub fn reason_bytes(&self) -> Option<&[u8]> {
        match self.inner.index.start {
            Start::Request { .. } => None,
            Start::Response { reason, .. } => Some(reason.of(&self.inner.octets)),
        }
    }

    /// The first thing that is wrong with a request and does not keep it from being answered;
    /// [`validate_request`] reports it.
    #[must_use]
    pub fn defect(&self) -> Option<ParseError> {
        self.inner.index.defect
    }

    /// The first value of a header, trimmed; of a list, its first element.
    #[must_use]
    pub fn value(&self, header: Header) -> Option<&[u8]> {
        let row = self.first_row(header)?;
        let value = row.value.of(&self.inner.octets);
        if header.is_list() {
            Some(Split::new(value, b',').next().unwrap_or_default())
        } else {
            Some(value)
        }
    }

    /// As [`Self::value`], as text; `None` also when it is not UTF-8.
    #[must_use]
    pub fn value_str(&self, header: Header) -> Option<&str> {
        self.value(header).and_then(utf8)
    }

    /// The value of the first row of that name, in any case, known or not.
    #[must_use]
    pub fn value_named(&self, name: &str) -> Option<&[u8]> {
        let header = Header::from_name(name.as_bytes());
        if header != Header::Other {
            return self.value(header);
        }
        self.rows().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.value)
    }

    /// All values of a header in order, across rows and commas.
    ///
    /// An empty row yields nothing, a stray comma an empty value.
    pub fn values(&self, header: Header) -> Values<'_> {
        let first = self.inner.index.first(header);
        Values {
            octets: &self.inner.octets,
            rows: first.and_then(|at| self.inner.index.rows.get(at..)).unwrap_or_default(),
            header,
            split: None,
        }
    }

    /// Whether at least one row of this header is there.
    #[must_use]
    pub fn has(&self, header: Header) -> bool {
        self.inner.index.first(header).is_some()
    }

    /// All header rows in order, unknown ones included.
    pub fn rows(&self) -> impl Iterator<Item = HeaderRow<'_>> {
        let octets = &self.inner.octets;
        self.inner.index.rows.iter().map(move |row| HeaderRow {
            header: row.header,
            name: utf8(row.name.of(octets)).unwrap_or(""),
            value: row.value.of(octets),
        })
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.inner.index.body.of(&self.inner.octets)
    }

    fn first_row(&self, header: Header) -> Option<&Row> {
        self.inner.index.rows.get(self.inner.index.first(header)?)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No more than this: the rest holds numbers, addresses and credentials.
        match self.status() {
            Some(status) => write!(f, "Message({status} to {})", self.method()),
            None => write!(f, "Message({})", self.method()),
        }
    }
}

/// One header row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderRow<'a> {
    /// Which header it is.
    pub header: Header,
    /// The name as it was sent, perhaps compact.
    pub name: &'a str,
    /// The value, unfolded and trimmed.
    pub value: &'a [u8],
}

/// The values of one header; made by [`Message::values`].
#[derive(Clone, Debug)]
pub struct Values<'a> {
    octets: &'a [u8],
    rows: &'a [Row],
    header: Header,
    split: Option<Split<'a>>,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(value) = self.split.as_mut().and_then(Iterator::next) {
                return Some(value);
            }
            let at = self.rows.iter().position(|row| row.header == self.header)?;
            let value = self.rows[at].value.of(self.octets);
            self.rows = &self.rows[at + 1..];
            if !self.header.is_list() {
                return Some(value);
            }
            self.split = Some(Split::new(value, b','));
        }
    }
}

#[cfg(test)]
mod tests;
