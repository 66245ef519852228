//! Tokens, quoted strings, parameters and lists: the grammar that all headers share (RFC 3261 §25.1).

use std::borrow::Cow;

use crate::error::Malformed;

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0;
    while octet < 128 {
        #[expect(clippy::cast_possible_truncation, reason = "octet is below 128")]
        let it = octet as u8;
        table[octet] = it.is_ascii_alphanumeric()
            || matches!(it, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        octet += 1;
    }
    table
};

/// Whether this octet may be in a token.
#[inline]
pub(crate) fn is_token_octet(octet: u8) -> bool {
    TOKEN[octet as usize]
}

/// Whether these octets are a token: at least one, and token octets only.
pub(crate) fn is_token(octets: &[u8]) -> bool {
    !octets.is_empty() && octets.iter().all(|it| is_token_octet(*it))
}

/// Whether this octet is white space inside an unfolded header.
#[inline]
pub(crate) const fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// Without the white space at both ends.
#[inline]
pub(crate) fn trim(octets: &[u8]) -> &[u8] {
    trim_end(trim_start(octets))
}

pub(crate) fn trim_start(mut octets: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = octets
        && is_space(*first)
    {
        octets = rest;
    }
    octets
}

fn trim_end(mut octets: &[u8]) -> &[u8] {
    while let [rest @ .., last] = octets
        && is_space(*last)
    {
        octets = rest;
    }
    octets
}

/// As text, where the grammar allows nothing but ASCII (or UTF-8 that was checked before).
pub(crate) fn utf8(octets: &[u8]) -> Option<&str> {
    core::str::from_utf8(octets).ok()
}

/// A decimal number of at most ten digits that fits.
pub(crate) fn number(octets: &[u8]) -> Option<u32> {
    if octets.is_empty() {
        return None;
    }
    let mut value: u32 = 0;
    for octet in octets {
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u32::from(digit))?;
    }
    Some(value)
}

/// The length of the quoted string at the start of `octets`, both quotes included.
pub(crate) fn quoted_len(octets: &[u8]) -> Option<usize> {
    if octets.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    while let Some(octet) = octets.get(at) {
        match octet {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// The content of a quoted string (escapes resolved), or the octets as they are when not quoted.
pub(crate) fn unquote(octets: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = octets.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")) else {
        return Cow::Borrowed(octets);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.iter();
    while let Some(octet) = rest.next() {
        match octet {
            b'\\' => out.extend(rest.next()),
            other => out.push(*other),
        }
    }
    Cow::Owned(out)
}

/// Writes `content` as a quoted string, escaping what must be; line ends become spaces.
pub(crate) fn quote_into(out: &mut String, content: &str) {
    out.push('"');
    for it in content.chars() {
        match it {
            '"' | '\\' => {
                out.push('\\');
                out.push(it);
            }
            '\r' | '\n' | '\0' => out.push(' '),
            _ => out.push(it),
        }
    }
    out.push('"');
}

/// The value split at each `separator` that is neither in quotes nor in angle brackets, trimmed.
///
/// A row that is empty yields nothing; a stray separator yields an empty value.
#[derive(Clone, Debug)]
pub struct Split<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Split<'a> {
    pub(crate) fn new(value: &'a [u8], separator: u8) -> Self {
        let value = trim(value);
        Self { rest: (!value.is_empty()).then_some(value), separator }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let end = separator_at(rest, self.separator);
        self.rest = end.map(|at| &rest[at + 1..]);
        Some(trim(&rest[..end.unwrap_or(rest.len())]))
    }
}

fn separator_at(octets: &[u8], separator: u8) -> Option<usize> {
    // Most values have no quotes and brackets before their first separator.
    let mut at = memchr::memchr3(separator, b'"', b'<', octets)?;
    let mut in_angles = false;
    while let Some(octet) = octets.get(at) {
        match *octet {
            it if it == separator && !in_angles => return Some(at),
            b'"' if !in_angles => at += quoted_len(&octets[at..])?,
            b'<' => {
                in_angles = true;
                at += 1;
            }
            b'>' => {
                in_angles = false;
                at += 1;
            }
            _ => at += 1,
        }
    }
    None
}

/// Octets that a parameter value may have without quotes; more than the grammar has, because hosts
/// and URIs are among the values.
static PARAM_VALUE: [bool; 256] = {
    let mut table = [true; 256];
    let mut octet = 0;
    while octet < 256 {
        if octet <= 32 || octet == 127 || matches!(octet, 34 | 44 | 59 | 60 | 62) {
            table[octet] = false;
        }
        octet += 1;
    }
    table
};

/// Reads one `;name=value` after the other; stops at what is malformed.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    #[inline]
    fn step(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let (name, rest) = take_while(trim_start(self.rest.strip_prefix(b";")?), &TOKEN);
        let mut rest = trim_start(rest);
        let mut value = None;
        if let Some(after) = rest.strip_prefix(b"=") {
            let after = trim_start(after);
            let (octets, after) = match after.first() {
                Some(b'"') => after.split_at(quoted_len(after)?),
                _ => take_while(after, &PARAM_VALUE),
            };
            if octets.is_empty() {
                return None;
            }
            value = Some(octets);
            rest = trim_start(after);
        }
        if name.is_empty() || !matches!(rest.first(), None | Some(b';')) {
            return None;
        }
        self.rest = rest;
        Some((name, value))
    }
}

#[inline]
fn take_while<'a>(octets: &'a [u8], table: &[bool; 256]) -> (&'a [u8], &'a [u8]) {
    let len = octets.iter().take_while(|it| table[usize::from(**it)]).count();
    octets.split_at(len)
}

/// The parameters of a header value: `;name=value;flag`, checked once and read lazily.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Params<'a> {
    raw: &'a [u8],
}

impl core::fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.raw.escape_ascii().to_string())
    }
}

impl<'a> Params<'a> {
    /// Checks `raw`, which is empty or begins with a semicolon.
    ///
    /// # Errors
    /// When a name is not a token, a quoted string does not end, or a value holds what only a
    /// quoted string may hold.
    pub fn parse(raw: &'a [u8]) -> Result<Self, Malformed> {
        let raw = trim(raw);
        let Some(first) = raw.first() else { return Ok(Self::default()) };
        if *first != b';' {
            return Err(Malformed::Params);
        }
        let mut scan = Scan { rest: raw };
        while !scan.rest.is_empty() {
            scan.step().ok_or(Malformed::Params)?;
        }
        Ok(Self { raw })
    }

    /// The text as it was sent, with its leading semicolon.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.raw
    }

    /// Names and raw values in order; `None` for a flag.
    pub fn iter_bytes(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut scan = Scan { rest: self.raw };
        core::iter::from_fn(move || scan.step())
    }

    /// The raw value of the first parameter of that name (names are case-insensitive): empty for a
    /// flag, still quoted when it was quoted.
    #[must_use]
    pub fn get_bytes(self, name: &str) -> Option<&'a [u8]> {
        self.iter_bytes()
            .find(|(it, _)| it.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.unwrap_or_default())
    }

    /// As [`Self::get_bytes`], as text; `None` also when it is not UTF-8.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.get_bytes(name).and_then(utf8)
    }

    /// The value with quotes and escapes resolved.
    #[must_use]
    pub fn get_unquoted(self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.get_bytes(name).map(unquote)
    }

    /// Whether a parameter of that name is there.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        self.get_bytes(name).is_some()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.raw.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_outside_of_quotes_and_angles() {
        let value = br#" "a, b" <sip:c,d@e>;x="y,\",z" , <sip:f> ,, "#;
        let parts: Vec<_> = Split::new(value, b',').collect();
        assert_eq!(parts, [&br#""a, b" <sip:c,d@e>;x="y,\",z""#[..], b"<sip:f>", b"", b""]);
        assert_eq!(Split::new(b"  ", b',').count(), 0);
    }

    #[test]
    fn parameters_are_found_whatever_their_case() {
        let params = Params::parse(b";lr;Tag = abc ;q=\"a;b\"").unwrap();
        assert_eq!(params.get("TAG"), Some("abc"));
        assert_eq!(params.get("lr"), Some(""));
        assert_eq!(params.get_unquoted("q").as_deref(), Some(&b"a;b"[..]));
        assert!(!params.has("none"));
    }

    #[test]
    fn broken_parameters_are_refused() {
        for raw in
            [&b"tag=1"[..], b";;", b";=x", b";a=", b";a=\"b", b";a=b c", b";a=<b>", b";a b=c"]
        {
            assert_eq!(Params::parse(raw), Err(Malformed::Params), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn quotes_resolve_escapes() {
        assert_eq!(&*unquote(br#""a\"b\\c""#), br#"a"b\c"#);
        let mut out = String::new();
        quote_into(&mut out, "a\"b\\c\r\n");
        assert_eq!(out, r#""a\"b\\c  ""#);
    }

    #[test]
    fn numbers_that_do_not_fit_are_none() {
        assert_eq!(number(b"4294967295"), Some(u32::MAX));
        assert_eq!(number(b"4294967296"), None);
        assert_eq!(number(b"0000000000000000000000001"), Some(1));
        assert_eq!(number(b"-1"), None);
        assert_eq!(number(b""), None);
    }
}
