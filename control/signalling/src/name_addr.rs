//! Addresses with a display name and parameters: From, To, Contact, Route and the like
//! (RFC 3261 §20.10, §25.1).

use std::borrow::Cow;
use std::fmt;

use crate::error::Malformed;
use crate::text::{self, Params, trim};
use crate::uri::Uri;

/// `"display" <uri>;params`, or `uri;params`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NameAddr<'a> {
    display: &'a [u8],
    uri: Uri<'a>,
    params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one address. Without angle brackets, what follows a semicolon belongs to the header and
    /// a URI with a question mark or a comma is refused (RFC 3261 §20.10).
    ///
    /// # Errors
    /// Malformed when the display name, the URI or a parameter is.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let value = trim(value);
        let display_len = match value.first() {
            Some(b'"') => text::quoted_len(value).ok_or(Malformed::NameAddr)?,
            _ => memchr::memchr(b'<', value).unwrap_or(0),
        };
        let (display, rest) = value.split_at(display_len);
        let rest = text::trim_start(rest);
        if let Some(inner) = rest.strip_prefix(b"<") {
            if display.first() != Some(&b'"') && !display.iter().all(|it| is_display_octet(*it)) {
                return Err(Malformed::NameAddr);
            }
            let end = memchr::memchr(b'>', inner).ok_or(Malformed::NameAddr)?;
            return Ok(Self {
                display: trim(display),
                uri: Uri::parse_bytes(&inner[..end])?,
                params: Params::parse(&inner[end + 1..])?,
            });
        }
        if display_len > 0 {
            return Err(Malformed::NameAddr);
        }
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let (uri, params) = rest.split_at(end);
        let uri = trim(uri);
        if memchr::memchr2(b'?', b',', uri).is_some() {
            return Err(Malformed::NameAddr);
        }
        Ok(Self { display: b"", uri: Uri::parse_bytes(uri)?, params: Params::parse(params)? })
    }

    /// The display name without quotes and escapes, `None` when there is none.
    #[must_use]
    pub fn display(&self) -> Option<Cow<'a, [u8]>> {
        (!self.display.is_empty()).then(|| text::unquote(self.display))
    }

    /// The display name as text; octets that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn display_text(&self) -> Option<String> {
        self.display().map(|it| String::from_utf8_lossy(&it).into_owned())
    }

    /// The display name as it was sent, with quotes.
    #[must_use]
    pub const fn display_raw(&self) -> &'a [u8] {
        self.display
    }

    /// The URI.
    #[must_use]
    pub const fn uri(&self) -> Uri<'a> {
        self.uri
    }

    /// The parameters of the header (not of the URI).
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        self.params.get("tag").filter(|it| !it.is_empty())
    }

    /// The value with angle brackets, without parameters: what to put `;tag=…` behind.
    #[must_use]
    pub fn without_params(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.display.len() + self.uri.as_str().len() + 3);
        out.extend_from_slice(self.display);
        if !self.display.is_empty() {
            out.push(b' ');
        }
        out.push(b'<');
        out.extend_from_slice(self.uri.as_str().as_bytes());
        out.push(b'>');
        out
    }
}

fn is_display_octet(octet: u8) -> bool {
    // Octets above 127 are not in the grammar without quotes, but phones send them.
    text::is_token_octet(octet) || text::is_space(octet) || octet >= 0x80
}

/// Writes `"display" <uri>`, quoting as needed; without a display name `<uri>`.
#[must_use]
pub fn format_name_addr(display: Option<&str>, uri: &str) -> String {
    let mut out = String::with_capacity(uri.len() + 16 + display.map_or(0, str::len));
    if let Some(display) = display {
        text::quote_into(&mut out, display);
        out.push(' ');
    }
    out.push('<');
    out.push_str(uri);
    out.push('>');
    out
}

/// One value of Contact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Contact<'a> {
    /// `*`: all bindings (RFC 3261 §10.2.2).
    Star,
    /// An address.
    Address(NameAddr<'a>),
}

impl<'a> Contact<'a> {
    /// Reads one value; `q` and `expires` are checked.
    ///
    /// # Errors
    /// Malformed when the address, `q` or `expires` is.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        if trim(value) == b"*" {
            return Ok(Self::Star);
        }
        let address = NameAddr::parse(value)?;
        if address.params.get_bytes("q").is_some_and(|it| Q::parse(it).is_none()) {
            return Err(Malformed::Params);
        }
        if address.params.get_bytes("expires").is_some_and(|it| delta_seconds(it).is_none()) {
            return Err(Malformed::Params);
        }
        Ok(Self::Address(address))
    }

    /// The address, `None` for `*`.
    #[must_use]
    pub const fn address(&self) -> Option<NameAddr<'a>> {
        match self {
            Self::Star => None,
            Self::Address(address) => Some(*address),
        }
    }

    fn param(&self, name: &str) -> Option<&'a [u8]> {
        self.address()?.params.get_bytes(name)
    }

    /// The preference, 1.000 when there is none.
    #[must_use]
    pub fn q(&self) -> Q {
        self.param("q").and_then(Q::parse).unwrap_or(Q::ONE)
    }

    /// For how long the binding is to hold, in seconds.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.param("expires").and_then(delta_seconds)
    }

    /// The instance of the user agent, without quotes (RFC 5626 §4.1).
    #[must_use]
    pub fn instance(&self) -> Option<Cow<'a, [u8]>> {
        self.param("+sip.instance").map(text::unquote)
    }

    /// The flow of that instance (RFC 5626 §4.2).
    #[must_use]
    pub fn reg_id(&self) -> Option<u32> {
        self.param("reg-id").and_then(text::number)
    }

    /// The methods it takes, as they were sent (RFC 3840 §10.3).
    #[must_use]
    pub fn methods(&self) -> Option<Cow<'a, [u8]>> {
        self.param("methods").map(text::unquote)
    }
}

/// A number of seconds. RFC 3261 §25.1 names no largest; RFC 3261 §20.19 says 2^32-1, and more is
/// malformed.
pub(crate) fn delta_seconds(octets: &[u8]) -> Option<u32> {
    text::number(octets)
}

/// A preference in thousandths, 0 to 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Q(u16);

impl Q {
    /// 1.000, the default.
    pub const ONE: Self = Self(1000);

    /// Reads `0.5`: at most three decimals, at most one.
    #[must_use]
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let (whole, decimals) = match memchr::memchr(b'.', octets) {
            Some(at) => (&octets[..at], &octets[at + 1..]),
            None => (octets, &b""[..]),
        };
        // A leading dot is not in the grammar; some send it and mean zero.
        let whole: u16 = match whole {
            b"0" | b"" if !octets.is_empty() => 0,
            b"1" => 1000,
            _ => return None,
        };
        if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let parts =
            decimals.iter().zip([100, 10, 1]).map(|(it, scale)| u16::from(it - b'0') * scale);
        let value = whole + parts.sum::<u16>();
        (value <= 1000).then_some(Self(value))
    }

    /// Thousandths.
    #[must_use]
    pub const fn thousandths(self) -> u16 {
        self.0
    }

    /// From thousandths; more than 1,000 count as 1,000.
    #[must_use]
    pub const fn from_thousandths(value: u16) -> Self {
        Self(if value > 1000 { 1000 } else { value })
    }
}

impl fmt::Display for Q {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> NameAddr<'_> {
        NameAddr::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_forms() {
        let it = parse(r#" "J Rosenberg \\\"" <sip:jdrosen@example.com;lr> ; tag = 98asjd8 "#);
        assert_eq!(it.display_text().as_deref(), Some(r#"J Rosenberg \""#));
        assert_eq!(it.uri().as_str(), "sip:jdrosen@example.com;lr");
        assert_eq!(it.tag(), Some("98asjd8"));

        let it = parse("caller<sip:caller@example.com>;tag=323");
        assert_eq!(it.display_text().as_deref(), Some("caller"));

        let it = parse("sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n");
        assert_eq!((it.display(), it.tag()), (None, Some("1918181833n")));
        assert!(it.uri().param("tag").is_none());

        let it = parse("\"a;b<c>\" <sip:x@y>");
        assert_eq!(it.display_text().as_deref(), Some("a;b<c>"));
        assert_eq!(it.without_params(), b"\"a;b<c>\" <sip:x@y>");
    }

    #[test]
    fn display_names_need_not_be_utf8() {
        let it = NameAddr::parse(b"\"caf\xe9\" <sip:x@y>").unwrap();
        assert_eq!(it.display().as_deref(), Some(&b"caf\xe9"[..]));
        assert_eq!(it.display_text().as_deref(), Some("caf\u{fffd}"));
    }

    #[test]
    fn broken_ones_are_refused() {
        for bad in [
            "",
            "<>",
            "Bell, Alexander <sip:a@b>",
            "\"Mr. J. User <sip:j@example.com>",
            "< sip:t@example.org >",
            "<sip:a@b",
            "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            "<sip:a@b> x",
            "<sip:a@b>;;",
            "\"x\" sip:a@b",
            "sip:a@b>",
            "x y",
        ] {
            assert!(NameAddr::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn contacts() {
        assert_eq!(Contact::parse(b" * ").unwrap(), Contact::Star);
        let it = Contact::parse(
            br#"<sip:a@b>;q=0.25;expires=3600;+sip.instance="<urn:uuid:1>";reg-id=1;methods="INVITE,BYE""#,
        )
        .unwrap();
        assert_eq!(it.q().thousandths(), 250);
        assert_eq!(it.expires(), Some(3600));
        assert_eq!(it.instance().as_deref(), Some(&b"<urn:uuid:1>"[..]));
        assert_eq!(it.reg_id(), Some(1));
        assert_eq!(it.methods().as_deref(), Some(&b"INVITE,BYE"[..]));
        for bad in ["<sip:a@b>;q=1.5", "<sip:a@b>;expires=280297596632815", "<sip:a@b>;q=x"] {
            assert!(Contact::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn preferences() {
        for (text, thousandths) in [
            ("1", 1000),
            ("1.000", 1000),
            ("0", 0),
            ("0.", 0),
            ("0.7", 700),
            (".25", 250),
            ("0.333", 333),
        ] {
            assert_eq!(Q::parse(text.as_bytes()).map(Q::thousandths), Some(thousandths), "{text}");
        }
        for bad in ["", "1.1", "2", "0.1234", "-1", "0.x"] {
            assert_eq!(Q::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Q::from_thousandths(250).to_string(), "0.250");
    }

    #[test]
    fn writing() {
        assert_eq!(format_name_addr(None, "sip:a@b"), "<sip:a@b>");
        assert_eq!(format_name_addr(Some("A \"x\""), "sip:a@b"), "\"A \\\"x\\\"\" <sip:a@b>");
    }
}
