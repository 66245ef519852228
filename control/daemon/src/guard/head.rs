//! A first look at a message: what is needed to tell whether it is worth reading. Nothing is
//! copied, and nothing behind the header is looked at.

use super::admission::Rank;

/// What the first line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstLine<'a> {
    /// A response.
    Response,
    /// A request.
    Request {
        /// The method.
        method: &'a [u8],
        /// The Request-URI.
        target: &'a [u8],
    },
    /// Neither: the parser says what is wrong.
    Other,
}

/// Reads the first line.
#[must_use]
pub fn first_line(message: &[u8]) -> FirstLine<'_> {
    if message.starts_with(b"SIP/2.0 ") {
        return FirstLine::Response;
    }
    let end = message.iter().position(|octet| *octet == b'\n').unwrap_or(message.len());
    let mut words = message[..end].split(|octet| *octet == b' ');
    match (words.next(), words.next()) {
        (Some(method), Some(target)) if !method.is_empty() => FirstLine::Request { method, target },
        _ => FirstLine::Other,
    }
}

/// What the header rows of a request say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows<'a> {
    /// It is in a dialog, or says so: To has a tag.
    pub in_dialog: bool,
    /// It has credentials.
    pub credentials: bool,
    /// User-Agent.
    pub user_agent: &'a [u8],
}

impl<'a> Rows<'a> {
    /// Looks at each row once.
    #[must_use]
    pub fn of(message: &'a [u8]) -> Self {
        let mut found = Self::default();
        for (name, value) in rows(message) {
            match name.len() {
                1 | 2 if name.eq_ignore_ascii_case(b"t") || name.eq_ignore_ascii_case(b"to") => {
                    found.in_dialog = has_tag(value);
                }
                10 if name.eq_ignore_ascii_case(b"User-Agent") => found.user_agent = value,
                13 if name.eq_ignore_ascii_case(b"Authorization") => found.credentials = true,
                19 if name.eq_ignore_ascii_case(b"Proxy-Authorization") => {
                    found.credentials = true;
                }
                _ => {}
            }
        }
        found
    }
}

/// The header rows, without the first line; a row that goes on in the next line ends at its first.
pub(super) fn rows(message: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = message;
    let mut next_line = move || {
        let end = memchr::memchr(b'\n', rest)?;
        let (line, behind) = rest.split_at(end);
        rest = behind.get(1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    };
    next_line();
    core::iter::from_fn(move || next_line().filter(|line| !line.is_empty())).filter_map(|line| {
        let colon = line.iter().position(|octet| *octet == b':')?;
        Some((line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii()))
    })
}

/// Whether a To value has a tag, behind the address.
pub(super) fn has_tag(value: &[u8]) -> bool {
    let params = value.iter().rposition(|octet| *octet == b'>').map_or(value, |at| &value[at..]);
    params
        .split(|octet| *octet == b';')
        .skip(1)
        .any(|param| param.trim_ascii().get(..4).is_some_and(|it| it.eq_ignore_ascii_case(b"tag=")))
}

/// The user part of a Request-URI, as it is written.
#[must_use]
pub fn user_of(target: &[u8]) -> &[u8] {
    let at = target.iter().position(|octet| *octet == b'@');
    let colon = target.iter().position(|octet| *octet == b':');
    let (Some(at), Some(colon)) = (at, colon) else { return b"" };
    let user = target.get(colon + 1..at).unwrap_or_default();
    user.split(|octet| matches!(octet, b';' | b':')).next().unwrap_or_default()
}

/// Whether a Request-URI asks for help: the service URN (RFC 5031), or one of `numbers`.
#[must_use]
pub fn is_emergency(target: &[u8], numbers: &[String]) -> bool {
    let urn = b"urn:service:sos";
    target.get(..urn.len()).is_some_and(|start| start.eq_ignore_ascii_case(urn))
        || numbers.iter().any(|number| number.as_bytes() == user_of(target))
}

/// How much a request weighs, before anything is known of its sender.
#[must_use]
pub fn rank(method: &[u8], rows: &Rows<'_>) -> Rank {
    match method {
        b"ACK" | b"BYE" | b"CANCEL" | b"PRACK" => Rank::Always,
        _ if rows.in_dialog && method != b"REGISTER" => Rank::Always,
        _ if rows.credentials => Rank::Begun,
        _ => Rank::Stranger,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] = b"INVITE sip:bob@192.0.2.1;x=y SIP/2.0\r\n\
        Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\nTo: \"a;tag=x\" <sip:bob@tandem;tag=1>\r\n\
        User-Agent : friendly-scanner\r\nFrom: <sip:a@b>;tag=2\r\n\r\nProxy-Authorization: x\r\n";

    #[test]
    fn the_first_line_of_requests_and_responses() {
        let FirstLine::Request { method, target } = first_line(INVITE) else { panic!() };
        assert_eq!((method, target), (&b"INVITE"[..], &b"sip:bob@192.0.2.1;x=y"[..]));
        assert_eq!(first_line(b"SIP/2.0 200 OK\r\n"), FirstLine::Response);
        for other in [&b""[..], b"\r\n", b" x y", b"INVITE"] {
            assert_eq!(first_line(other), FirstLine::Other);
        }
    }

    #[test]
    fn rows_are_read_up_to_the_empty_line() {
        let rows = Rows::of(INVITE);
        assert_eq!(rows.user_agent, b"friendly-scanner");
        assert!(!rows.in_dialog && !rows.credentials);
        let rows = Rows::of(b"BYE x SIP/2.0\nt:<sip:a@b> ; TAG=1\nAUTHORIZATION: Digest\n");
        assert!(rows.in_dialog && rows.credentials);
        let rows = Rows::of(b"BYE x SIP/2.0\r\nTo: sip:a@b;tag=1\r\nX\r\n: \r\n");
        assert!(rows.in_dialog && !rows.credentials);
        assert_eq!(Rows::of(b"BYE x SIP/2.0\r\nTo: <sip:a@b>;ta"), Rows::default());
    }

    #[test]
    fn emergency_calls_are_known() {
        let numbers = ["112".to_owned(), "911".to_owned()];
        for target in ["sip:112@tandem", "sip:911;phone-context=+1@x", "URN:service:sos.fire"] {
            assert!(is_emergency(target.as_bytes(), &numbers), "{target}");
        }
        for target in ["sip:1123@tandem", "sip:tandem", "sip:bob@112", "urn:service:so", ""] {
            assert!(!is_emergency(target.as_bytes(), &numbers), "{target}");
        }
    }

    #[test]
    fn what_is_under_way_goes_first() {
        let rows = |text: &'static [u8]| Rows::of(text);
        let none = Rows::default();
        assert_eq!(rank(b"BYE", &none), Rank::Always);
        assert_eq!(rank(b"INVITE", &none), Rank::Stranger);
        let in_dialog = rows(b"x\nTo: <a>;tag=1\n\n");
        assert_eq!(rank(b"INVITE", &in_dialog), Rank::Always);
        assert_eq!(rank(b"REGISTER", &in_dialog), Rank::Stranger);
        let credentials = rows(b"x\nAuthorization: Digest\n\n");
        assert_eq!(rank(b"REGISTER", &credentials), Rank::Begun);
    }
}
