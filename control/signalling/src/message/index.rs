//! The one pass over the octets.

use arrayvec::ArrayVec;

use crate::error::{Limit, Malformed, ParseError, Unsupported};
use crate::header::{CSeq, Header};
use crate::limits::{MAX_HEADER_ROWS, MAX_MESSAGE_OCTETS};
use crate::method::Method;
use crate::text::{self, is_space, is_token_octet};

/// A range of the message; 16 bits are enough because [`MAX_MESSAGE_OCTETS`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u16,
    pub(super) end: u16,
}

impl Span {
    #[expect(clippy::cast_possible_truncation, reason = "build() refuses more than 65,535 octets")]
    const fn new(start: usize, end: usize) -> Self {
        Self { start: start as u16, end: end as u16 }
    }

    #[inline]
    pub(super) fn of(self, octets: &[u8]) -> &[u8] {
        octets.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) header: Header,
    pub(super) name: Span,
    pub(super) value: Span,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    Request { method: Method, uri: Span },
    Response { status: u16, reason: Span, method: Method },
}

/// What was found in a message; its rows lie on the stack while it is read, and take no more room
/// than they need when it is kept.
pub(super) struct Index<Rows = ArrayVec<Row, MAX_HEADER_ROWS>> {
    pub(super) start: Start,
    pub(super) start_at: u16,
    pub(super) defect: Option<ParseError>,
    /// One more than the place of the first row of each header; zero when there is none.
    first: [u8; Header::COUNT],
    pub(super) rows: Rows,
    pub(super) body: Span,
}

// A place in `rows`, plus one, has to fit into the octets of `first`.
const _: () = assert!(MAX_HEADER_ROWS < 255 && MAX_MESSAGE_OCTETS <= 65_535);

impl<Rows> Index<Rows> {
    #[inline]
    pub(super) fn first(&self, header: Header) -> Option<usize> {
        usize::from(self.first[header.index()]).checked_sub(1)
    }
}

impl Index {
    /// The same with its rows on the heap, one allocation of their size.
    pub(super) fn kept(&self) -> Index<Box<[Row]>> {
        Index {
            start: self.start,
            start_at: self.start_at,
            defect: self.defect,
            first: self.first,
            rows: self.rows.as_slice().into(),
            body: self.body,
        }
    }

    #[inline]
    fn push(&mut self, octets: &[u8], name: Span, value: Span) -> Result<(), ParseError> {
        let header = Header::from_name(name.of(octets));
        self.rows.try_push(Row { header, name, value }).map_err(|_| Limit::HeaderRows)?;
        let first = &mut self.first[header.index()];
        if *first == 0 {
            *first = u8::try_from(self.rows.len()).map_err(|_| Limit::HeaderRows)?;
        } else if header.is_once() {
            self.note(Malformed::Repeated);
        }
        Ok(())
    }

    fn note(&mut self, defect: impl Into<ParseError>) {
        self.defect.get_or_insert(defect.into());
    }
}

/// Reads the start line and all rows, and unfolds in place.
pub(super) fn build(octets: &mut [u8]) -> Result<Index, ParseError> {
    if octets.len() > MAX_MESSAGE_OCTETS {
        return Err(Limit::MessageOctets.into());
    }
    let start_at = octets.iter().position(|it| !matches!(it, b'\r' | b'\n'));
    let start_at = start_at.ok_or(Malformed::Empty)?;
    let line_end = find_line_end(octets, start_at).ok_or(Malformed::Unterminated)?;
    let mut defect = None;
    let start = start_line(octets, start_at, without_cr(octets, start_at, line_end), &mut defect)?;
    let mut index = Index {
        start,
        start_at: Span::new(start_at, 0).start,
        defect,
        first: [0; Header::COUNT],
        rows: ArrayVec::new(),
        body: Span::default(),
    };
    let (rows_end, body_at) = header_rows(&mut index, octets, line_end + 1)?;
    if has_stray_octets(&octets[start_at..rows_end]) {
        index.note(Malformed::ControlOctet);
    }
    body(&mut index, octets, body_at);
    if let Start::Response { method, .. } = &mut index.start {
        let row = usize::from(index.first[Header::CSeq.index()]);
        let row =
            row.checked_sub(1).and_then(|at| index.rows.get(at)).ok_or(Malformed::MissingCSeq)?;
        *method = CSeq::parse(row.value.of(octets))?.method;
        if let Some(defect) = index.defect {
            return Err(defect);
        }
    }
    Ok(index)
}

fn find_line_end(octets: &[u8], from: usize) -> Option<usize> {
    memchr::memchr(b'\n', &octets[from..]).map(|at| from + at)
}

fn without_cr(octets: &[u8], from: usize, end: usize) -> usize {
    if end > from && octets[end - 1] == b'\r' { end - 1 } else { end }
}

fn start_line(
    octets: &[u8],
    from: usize,
    end: usize,
    defect: &mut Option<ParseError>,
) -> Result<Start, ParseError> {
    let line = &octets[from..end];
    if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
        return status_line(line, from);
    }
    let name_len = line.iter().take_while(|it| is_token_octet(**it)).count();
    if line.get(name_len) != Some(&b' ') {
        return Err(Malformed::StartLine.into());
    }
    let method = Method::parse(&line[..name_len]).map_err(|error| match error {
        ParseError::Malformed(_) => Malformed::StartLine.into(),
        other => other,
    })?;
    // The version is the last word, so that a Request-URI with spaces can still be answered.
    let trimmed = line.iter().rposition(|it| !is_space(*it)).map_or(0, |it| it + 1);
    let version_at = memchr::memrchr(b' ', &line[..trimmed]).map_or(0, |it| it + 1);
    let version = &line[version_at..trimmed];
    let is_version = version.len() >= 4 && version[..4].eq_ignore_ascii_case(b"SIP/");
    if version_at <= name_len + 1 || !is_version {
        return Err(Malformed::StartLine.into());
    }
    let (uri_from, uri_end) = (name_len + 1, version_at - 1);
    if !version[4..].eq_ignore_ascii_case(b"2.0") {
        *defect = Some(Unsupported::Version.into());
    } else if trimmed != line.len() {
        *defect = Some(Malformed::StartLine.into());
    } else if line[uri_from..uri_end].iter().any(|it| *it <= b' ' || *it == 127) {
        *defect = Some(Malformed::RequestUri.into());
    }
    Ok(Start::Request { method, uri: Span::new(from + uri_from, from + uri_end) })
}

fn status_line(line: &[u8], from: usize) -> Result<Start, ParseError> {
    let rest = line.get(4..7).filter(|it| *it == b"2.0").map(|_| &line[7..]);
    let Some([b' ', rest @ ..]) = rest else {
        return Err(Unsupported::Version.into());
    };
    let digits = rest.iter().take_while(|it| it.is_ascii_digit()).count();
    let status = text::number(&rest[..digits]).and_then(|it| u16::try_from(it).ok());
    let status = status.filter(|it| digits == 3 && (100..700).contains(it));
    let status = status.ok_or(Malformed::StatusCode)?;
    // The space before an empty reason phrase is often forgotten.
    let reason_at = match rest.get(digits) {
        None => 8 + digits,
        Some(b' ') => 9 + digits,
        Some(_) => return Err(Malformed::StatusCode.into()),
    };
    // The method is filled in from CSeq once the rows are known.
    let reason = Span::new(from + reason_at, from + line.len());
    Ok(Start::Response { status, reason, method: Method::Invite })
}

/// Returns where the rows end and the body begins.
fn header_rows(
    index: &mut Index,
    octets: &mut [u8],
    mut at: usize,
) -> Result<(usize, usize), ParseError> {
    loop {
        let line = octets.get(at..).unwrap_or_default();
        match line {
            [b'\n', ..] => return Ok((at, at + 1)),
            [b'\r', b'\n', ..] => return Ok((at, at + 2)),
            _ => {}
        }
        let name_len = line.iter().take_while(|it| is_token_octet(**it)).count();
        let Some(end) = unfolded_line_end(octets, at) else {
            index.note(Malformed::Unterminated);
            return Ok((at, octets.len()));
        };
        let mut colon = at + name_len;
        while is_space(octets[colon]) {
            colon += 1;
        }
        if name_len == 0 || octets[colon] != b':' {
            index.note(Malformed::HeaderLine);
        } else {
            let value_end = without_cr(octets, colon + 1, end);
            let value = trimmed(octets, colon + 1, value_end);
            index.push(octets, Span::new(at, at + name_len), value)?;
        }
        at = end + 1;
    }
}

fn trimmed(octets: &[u8], mut from: usize, mut end: usize) -> Span {
    while from < end && is_space(octets[from]) {
        from += 1;
    }
    while end > from && is_space(octets[end - 1]) {
        end -= 1;
    }
    Span::new(from, end)
}

/// The line feed that ends the row; those that fold it become spaces, with their carriage returns.
fn unfolded_line_end(octets: &mut [u8], from: usize) -> Option<usize> {
    let mut search = from;
    loop {
        let end = find_line_end(octets, search)?;
        if !octets.get(end + 1).is_some_and(|it| is_space(*it)) {
            return Some(end);
        }
        octets[end] = b' ';
        if end > from && octets[end - 1] == b'\r' {
            octets[end - 1] = b' ';
        }
        search = end + 1;
    }
}

/// Whether there is a carriage return that is not before a line feed, or a NUL that is not escaped
/// (RFC 3261 §25.1 allows it as a quoted pair).
fn has_stray_octets(headers: &[u8]) -> bool {
    let mut crs = 0;
    let mut pairs = 0;
    let mut nuls = 0;
    // Sums of at most 128 ones stay in an octet, which lets the compiler count 16 or 32 at once.
    let next = headers.get(1..).unwrap_or_default();
    for (chunk, next) in headers.chunks(128).zip(next.chunks(128)) {
        let sums = chunk.iter().zip(next).fold((0u8, 0u8, 0u8), |(cr, pair, nul), (it, next)| {
            let is_cr = u8::from(*it == b'\r');
            let is_pair = is_cr & u8::from(*next == b'\n');
            (
                cr.wrapping_add(is_cr),
                pair.wrapping_add(is_pair),
                nul.wrapping_add(u8::from(*it == 0)),
            )
        });
        crs += usize::from(sums.0);
        pairs += usize::from(sums.1);
        nuls += usize::from(sums.2);
    }
    crs != pairs
        || (nuls != 0 && has_bare_nul(headers))
        || matches!(headers.last(), Some(b'\r' | 0))
}

fn has_bare_nul(headers: &[u8]) -> bool {
    let mut escaped = false;
    headers.iter().any(|it| {
        let bare = *it == 0 && !escaped;
        escaped = *it == b'\\' && !escaped;
        bare
    })
}

/// Where the body ends (RFC 3261 §18.3): Content-Length cuts what is longer.
fn body(index: &mut Index, octets: &[u8], body_at: usize) {
    let available = octets.len() - body_at;
    let mut length = available;
    if let Some(first) = index.first(Header::ContentLength) {
        match content_length(index, octets, first) {
            Some(announced) if announced <= available => length = announced,
            Some(_) => index.note(Malformed::BodyShort),
            None => index.note(Malformed::ContentLength),
        }
    }
    index.body = Span::new(body_at, body_at + length);
}

/// `None` when a row is no number, or two differ.
fn content_length(index: &Index, octets: &[u8], first: usize) -> Option<usize> {
    let mut rows = index.rows.iter().skip(first).filter(|row| row.header == Header::ContentLength);
    let value = text::number(rows.next()?.value.of(octets))?;
    let same = rows.all(|row| text::number(row.value.of(octets)) == Some(value));
    if same { usize::try_from(value).ok() } else { None }
}
