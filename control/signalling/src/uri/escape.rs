//! What may stand unescaped in each part of a URI, and `%HH` for the rest.

use std::borrow::Cow;

/// Sets of characters that may stand unescaped in a part of a URI (RFC 3261 §25.1), as bits.
pub(super) mod part {
    pub(crate) const USER: u8 = 1;
    pub(crate) const PASSWORD: u8 = 2;
    pub(crate) const PARAM: u8 = 4;
    pub(crate) const HEADER: u8 = 8;
    pub(crate) const HOST: u8 = 16;
    const ALL: u8 = 31;

    const fn add(table: &mut [u8; 256], octets: &[u8], parts: u8) {
        let mut at = 0;
        while at < octets.len() {
            table[octets[at] as usize] |= parts;
            at += 1;
        }
    }

    pub(crate) static OF: [u8; 256] = {
        let mut table = [0; 256];
        add(&mut table, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", ALL);
        add(&mut table, b"-.", ALL);
        add(&mut table, b"_!~*'()", ALL & !HOST);
        add(&mut table, b"&=+$,;?/", USER);
        // Not in the grammar; phones send it in numbers like *69#.
        add(&mut table, b"#", USER);
        add(&mut table, b"&=+$,", PASSWORD);
        add(&mut table, b"[]/:&+$", PARAM);
        add(&mut table, b"[]/?:+$", HEADER);
        // Not in the grammar; in the names of many Windows and Docker hosts.
        add(&mut table, b"_", HOST);
        table
    };
}

/// Whether `text` is characters of this part, and escapes.
pub(super) fn is_escaped_text(text: &str, part: u8) -> bool {
    escaped_end(text.as_bytes(), 0, part) == text.len()
}

/// The first octet from `at` on that is neither of this part nor of an escape.
#[inline]
pub(super) fn escaped_end(octets: &[u8], mut at: usize, part: u8) -> usize {
    while let Some(octet) = octets.get(at) {
        if part::OF[usize::from(*octet)] & part != 0 {
            at += 1;
        } else {
            let hex = |offset| octets.get(at + offset).is_some_and(u8::is_ascii_hexdigit);
            if *octet != b'%' || !hex(1) || !hex(2) {
                return at;
            }
            at += 3;
        }
    }
    at
}

struct Unescaped<'a>(&'a [u8]);

impl Iterator for Unescaped<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let hex = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
        match self.0 {
            [b'%', high, low, rest @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    self.0 = rest;
                    Some(high << 4 | low)
                }
                _ => {
                    self.0 = &self.0[1..];
                    Some(b'%')
                }
            },
            [first, rest @ ..] => {
                self.0 = rest;
                Some(*first)
            }
            [] => None,
        }
    }
}

/// Resolves `%HH`; what is not an escape stays.
#[must_use]
pub fn unescape(text: &str) -> Cow<'_, [u8]> {
    if text.contains('%') {
        Cow::Owned(Unescaped(text.as_bytes()).collect())
    } else {
        Cow::Borrowed(text.as_bytes())
    }
}

/// Writes `text` so that it can be the user of a URI.
pub fn escape_user_into(out: &mut String, text: &str) {
    escape_into(out, text, part::USER);
}

/// Writes `text` so that it can be the value of a header in a URI, as in Refer-To with Replaces.
pub fn escape_header_into(out: &mut String, text: &str) {
    escape_into(out, text, part::HEADER);
}

pub(super) fn escape_into(out: &mut String, text: &str, part: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for octet in text.bytes() {
        // The number sign is only tolerated: what we write has it escaped.
        if part::OF[usize::from(octet)] & part != 0 && octet != b'#' {
            out.push(char::from(octet));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(octet >> 4)]));
            out.push(char::from(HEX[usize::from(octet & 15)]));
        }
    }
}

pub(super) fn eq_both_unescaped(a: &str, b: &str, ignore_case: bool) -> bool {
    let fold = move |it: u8| if ignore_case { it.to_ascii_lowercase() } else { it };
    Unescaped(a.as_bytes()).map(fold).eq(Unescaped(b.as_bytes()).map(fold))
}

pub(super) fn eq_unescaped(escaped: &str, plain: &str, ignore_case: bool) -> bool {
    let fold = move |it: u8| if ignore_case { it.to_ascii_lowercase() } else { it };
    Unescaped(escaped.as_bytes()).map(fold).eq(plain.bytes().map(fold))
}
