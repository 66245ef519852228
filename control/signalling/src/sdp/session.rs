//! Lines and sections: parse, find, replace, insert, remove, emit.

use super::media::MediaHeader;
use super::{SdpError, limits};
use core::fmt;
use core::ops::Range;

/// Where a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Before the first `m=` line.
    Session,
    /// From the `m=` line of this index on; 0 is the first.
    Media(usize),
}

/// A line as readers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The letter before `=`.
    pub kind: u8,
    /// What follows it, without the line end; not always UTF-8.
    pub value: &'a [u8],
}

impl<'a> Line<'a> {
    /// Name and value of an attribute line; `None` for other lines. A property attribute
    /// (`a=sendrecv`) has an empty value.
    #[must_use]
    pub fn attribute(&self) -> Option<(&'a [u8], &'a [u8])> {
        if self.kind != b'a' {
            return None;
        }
        Some(match memchr::memchr(b':', self.value) {
            Some(colon) => (&self.value[..colon], &self.value[colon + 1..]),
            None => (self.value, &[]),
        })
    }
}

/// The value of a line: a range of what was parsed, or text written since.
#[derive(Clone)]
enum Text {
    Source(Range<usize>),
    Own(Vec<u8>),
}

#[derive(Clone)]
struct StoredLine {
    kind: u8,
    text: Text,
}

/// A session description whose lines keep their order.
#[derive(Clone)]
pub struct SessionDescription {
    source: Vec<u8>,
    lines: Vec<StoredLine>,
    media: Vec<MediaHeader>,
}

/// Keys (`a=crypto`, `k=`, ICE passwords) are in the text, so it does not print.
impl fmt::Debug for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionDescription")
            .field("lines", &self.lines.len())
            .field("media", &self.media.len())
            .finish_non_exhaustive()
    }
}

impl SessionDescription {
    /// Reads a description (RFC 8866 §5), tolerating bare LF, a missing last line end and empty
    /// lines at the end.
    ///
    /// # Errors
    /// [`SdpError`] if it is too large, does not begin with `v=0`, or has a line that is not
    /// `letter=value` or a broken `m=` line.
    pub fn parse(bytes: &[u8]) -> Result<Self, SdpError> {
        if bytes.len() > limits::MAX_OCTETS {
            return Err(SdpError::TooLong);
        }
        let end = bytes.len() - bytes.iter().rev().take_while(|&&b| is_line_end(b)).count();
        let mut description = Self {
            source: bytes[..end].to_vec(),
            lines: Vec::with_capacity(32),
            media: Vec::with_capacity(2),
        };
        let mut start = 0;
        while start < end {
            let stop = memchr::memchr(b'\n', &bytes[start..end]).map_or(end, |at| start + at);
            let value_end = if bytes[start..stop].ends_with(b"\r") { stop - 1 } else { stop };
            description.push_parsed(start, value_end)?;
            start = stop + 1;
        }
        match description.lines.first() {
            Some(line) if line.kind == b'v' && description.text(line) == b"0" => Ok(description),
            _ => Err(SdpError::Version),
        }
    }

    fn push_parsed(&mut self, start: usize, end: usize) -> Result<(), SdpError> {
        let line = self.lines.len() + 1;
        if line > limits::MAX_LINES {
            return Err(SdpError::TooManyLines);
        }
        let kind = match self.source.get(start..end) {
            Some([kind, b'=', value @ ..])
                if kind.is_ascii_lowercase() && !value.contains(&0) && !value.contains(&b'\r') =>
            {
                *kind
            }
            _ => return Err(SdpError::Line { line }),
        };
        if kind == b'm' {
            if self.media.len() == limits::MAX_MEDIA {
                return Err(SdpError::TooManyMedia);
            }
            let header = MediaHeader::parse(line - 1, &self.source[start + 2..end])
                .ok_or(SdpError::Media { line })?;
            self.media.push(header);
        }
        self.lines.push(StoredLine { kind, text: Text::Source(start + 2..end) });
        Ok(())
    }

    /// Writes the description with CRLF line ends.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.source.len() + 128);
        for line in &self.lines {
            out.extend_from_slice(&[line.kind, b'=']);
            out.extend_from_slice(self.text(line));
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    /// Number of media lines.
    #[must_use]
    pub fn media_count(&self) -> usize {
        self.media.len()
    }

    /// Lines of a section in order; none if there is no such section.
    pub fn lines(&self, section: Section) -> impl Iterator<Item = Line<'_>> {
        self.lines[self.range(section)]
            .iter()
            .map(|line| Line { kind: line.kind, value: self.text(line) })
    }

    /// Value of the first line of a kind in a section.
    #[must_use]
    pub fn value(&self, section: Section, kind: u8) -> Option<&[u8]> {
        self.lines(section).find(|line| line.kind == kind).map(|line| line.value)
    }

    /// Replaces the first line of a kind in a section, removes further ones, or inserts one where
    /// RFC 8866 §5 wants it. Nothing happens if there is no such section.
    pub fn set_value(&mut self, section: Section, kind: u8, value: impl Into<Vec<u8>>) {
        debug_assert!(kind != b'm', "media lines are edited by their own setters");
        let range = self.range(section);
        if range.is_empty() {
            return;
        }
        let first = self.lines[range.clone()].iter().position(|line| line.kind == kind);
        let text = Text::Own(clean(value.into()));
        match first {
            Some(offset) => {
                let index = range.start + offset;
                self.lines[index].text = text;
                self.remove_where(index + 1..range.end, |line| line.kind == kind);
            }
            None => {
                let index = self.insertion_point(&range, kind);
                self.insert(index, StoredLine { kind, text });
            }
        }
    }

    /// Removes every line of a section of which `remove` says so; an `m=` line stays.
    pub fn remove_lines(&mut self, section: Section, mut remove: impl FnMut(Line<'_>) -> bool) {
        self.remove_where(self.range(section), &mut remove);
    }

    /// Values of all attributes of a name in a section, in order.
    pub fn attributes(&self, section: Section, name: &str) -> impl Iterator<Item = &[u8]> {
        self.lines(section)
            .filter_map(move |line| line.attribute().filter(|(n, _)| *n == name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// Value of the first attribute of a name in a section, empty for a property attribute.
    #[must_use]
    pub fn attribute(&self, section: Section, name: &str) -> Option<&[u8]> {
        self.attributes(section, name).next()
    }

    /// Attribute of a media section, else of the session (RFC 8866 §5.13).
    #[must_use]
    pub fn inherited_attribute(&self, media: usize, name: &str) -> Option<&[u8]> {
        self.attribute(Section::Media(media), name)
            .or_else(|| self.attribute(Section::Session, name))
    }

    /// Replaces the first attribute of a name in a section and removes further ones, or appends it
    /// to the section. An empty value makes a property attribute.
    pub fn set_attribute(&mut self, section: Section, name: &str, value: &str) {
        let text = if value.is_empty() { name.to_owned() } else { format!("{name}:{value}") };
        self.place_attribute(section, |other| other == name.as_bytes(), &text);
    }

    /// Appends an attribute to a section.
    pub fn add_attribute(&mut self, section: Section, name: &str, value: &str) {
        self.place_attribute(section, |_| false, &format!("{name}:{value}"));
    }

    /// Puts an attribute in place of the first one whose name fits, removes further ones, or
    /// appends it to the section.
    pub(super) fn place_attribute(
        &mut self,
        section: Section,
        fits: impl Fn(&[u8]) -> bool,
        text: &str,
    ) {
        let range = self.range(section);
        if range.is_empty() {
            return;
        }
        let line = StoredLine { kind: b'a', text: Text::Own(clean(text.into())) };
        let named = |line: Line<'_>| line.attribute().is_some_and(|(name, _)| fits(name));
        let first = self.lines(section).position(named);
        match first {
            Some(offset) => {
                let index = range.start + offset;
                self.lines[index] = line;
                self.remove_where(index + 1..range.end, named);
            }
            None => self.insert(range.end, line),
        }
    }

    /// Removes all attributes of a name in a section.
    pub fn remove_attribute(&mut self, section: Section, name: &str) {
        self.remove_lines(section, |line| {
            line.attribute().is_some_and(|(n, _)| n == name.as_bytes())
        });
    }

    pub(super) fn header(&self, media: usize) -> Option<&MediaHeader> {
        self.media.get(media)
    }

    pub(super) fn header_value(&self, header: &MediaHeader) -> &[u8] {
        self.text(&self.lines[header.line])
    }

    /// Replaces the text of an `m=` line; ignored unless it is a valid one.
    pub(super) fn set_media_text(&mut self, media: usize, text: Vec<u8>) {
        let Some(line) = self.media.get(media).map(|header| header.line) else { return };
        if let Some(header) = MediaHeader::parse(line, &text) {
            self.media[media] = header;
            self.lines[line].text = Text::Own(text);
        }
    }

    /// Appends a media section of this one line; ignored unless it is a valid one.
    pub(super) fn push_media(&mut self, text: &[u8]) {
        let Some(header) = MediaHeader::parse(self.lines.len(), text) else { return };
        self.lines.push(StoredLine { kind: b'm', text: Text::Own(text.into()) });
        self.media.push(header);
    }

    /// Removes the media sections from index `count` on.
    pub fn truncate_media(&mut self, count: usize) {
        if let Some(first) = self.media.get(count) {
            self.lines.truncate(first.line);
            self.media.truncate(count);
        }
    }

    /// Number (from 1) of the first line of a kind in a section, for error messages.
    pub(super) fn line_number(&self, section: Section, kind: u8) -> usize {
        let range = self.range(section);
        let offset = self.lines[range.clone()].iter().position(|line| line.kind == kind);
        range.start + offset.unwrap_or(0) + 1
    }

    fn text<'a>(&'a self, line: &'a StoredLine) -> &'a [u8] {
        match &line.text {
            Text::Source(range) => &self.source[range.clone()],
            Text::Own(text) => text,
        }
    }

    fn range(&self, section: Section) -> Range<usize> {
        let start_of = |media: usize| self.media.get(media).map(|header| header.line);
        match section {
            Section::Session => 0..start_of(0).unwrap_or(self.lines.len()),
            Section::Media(index) => match start_of(index) {
                Some(start) => start..start_of(index + 1).unwrap_or(self.lines.len()),
                None => 0..0,
            },
        }
    }

    /// Behind the last line that RFC 8866 §5 puts before (or with) this kind.
    fn insertion_point(&self, range: &Range<usize>, kind: u8) -> usize {
        const ORDER: &[u8] = b"vmosiuepcbtrzka";
        let rank = |kind: u8| ORDER.iter().position(|&k| k == kind).unwrap_or(ORDER.len());
        let before =
            self.lines[range.clone()].iter().take_while(|line| rank(line.kind) <= rank(kind));
        range.start + before.count().max(1)
    }

    fn insert(&mut self, index: usize, line: StoredLine) {
        self.lines.insert(index, line);
        for header in self.media.iter_mut().filter(|header| header.line >= index) {
            header.line += 1;
        }
    }

    fn remove_where(&mut self, range: Range<usize>, mut remove: impl FnMut(Line<'_>) -> bool) {
        for index in range.rev() {
            let line = &self.lines[index];
            let seen = Line { kind: line.kind, value: self.text(line) };
            if line.kind != b'm' && remove(seen) {
                self.lines.remove(index);
                for header in self.media.iter_mut().filter(|header| header.line > index) {
                    header.line -= 1;
                }
            }
        }
    }
}

const fn is_line_end(byte: u8) -> bool {
    byte == b'\r' || byte == b'\n'
}

/// What is written never breaks out of its line.
fn clean(mut text: Vec<u8>) -> Vec<u8> {
    text.retain(|&b| !is_line_end(b) && b != 0);
    text
}
