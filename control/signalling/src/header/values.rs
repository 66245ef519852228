//! Small typed header values.

use crate::error::{Malformed, ParseError};
use crate::method::Method;
use crate::text::{self, Params, is_space, trim};

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// The sequence number, below 2^31.
    pub number: u32,
    /// The method of the request.
    pub method: Method,
}

impl CSeq {
    /// Reads `number LWS method`.
    ///
    /// # Errors
    /// Malformed when the number is 2^31 or more (RFC 3261 §8.1.1.5) or something is missing.
    pub fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let value = trim(value);
        let split = value.iter().position(|it| is_space(*it)).ok_or(Malformed::CSeq)?;
        let number = text::number(&value[..split]).ok_or(Malformed::CSeq)?;
        if number >= 1 << 31 {
            return Err(Malformed::CSeq.into());
        }
        let method = Method::parse(trim(&value[split..])).map_err(|error| match error {
            ParseError::Malformed(_) => Malformed::CSeq.into(),
            other => other,
        })?;
        Ok(Self { number, method })
    }
}

impl core::fmt::Display for CSeq {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

/// RAck (RFC 3262 §7.2): the response that a PRACK acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RAck {
    /// RSeq of the response.
    pub rseq: u32,
    /// Sequence number of the request that it answers.
    pub cseq: u32,
    /// Method of that request.
    pub method: Method,
}

impl RAck {
    /// Reads `response-number LWS cseq-number LWS method`.
    ///
    /// # Errors
    /// Malformed when one of the three is missing or broken.
    pub fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let value = trim(value);
        let split = value.iter().position(|it| is_space(*it)).ok_or(Malformed::Number)?;
        let rseq = text::number(&value[..split]).ok_or(Malformed::Number)?;
        let CSeq { number: cseq, method } = CSeq::parse(&value[split..])?;
        Ok(Self { rseq, cseq, method })
    }
}

/// Content-Type and the like (RFC 3261 §20.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaType<'a> {
    /// The type, as in `application`.
    pub kind: &'a str,
    /// The subtype, as in `sdp`.
    pub subtype: &'a str,
    /// What follows, as `boundary`.
    pub params: Params<'a>,
}

impl<'a> MediaType<'a> {
    /// Reads `type/subtype;params`.
    ///
    /// # Errors
    /// Malformed when the slash or a token is missing.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let value = trim(value);
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let (head, params) = value.split_at(end);
        let slash = memchr::memchr(b'/', head).ok_or(Malformed::ContentType)?;
        let part = |octets| {
            let octets = trim(octets);
            if text::is_token(octets) { text::utf8(octets) } else { None }
        };
        Ok(Self {
            kind: part(&head[..slash]).ok_or(Malformed::ContentType)?,
            subtype: part(&head[slash + 1..]).ok_or(Malformed::ContentType)?,
            params: Params::parse(params).map_err(|_| Malformed::ContentType)?,
        })
    }

    /// Whether it is `kind/subtype`, in any case.
    #[must_use]
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }
}

/// One value of Reason (RFC 3326).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason<'a> {
    /// `SIP`, `Q.850`, or another protocol.
    pub protocol: &'a str,
    /// The cause, as a status code or a Q.850 cause.
    pub cause: Option<u32>,
    /// All parameters, `text` among them.
    pub params: Params<'a>,
}

impl<'a> Reason<'a> {
    /// Reads `protocol;cause=…;text="…"`.
    ///
    /// # Errors
    /// Malformed when the protocol is not a token or the cause not a number.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let (protocol, params) = token_and_params(value)?;
        let cause = match params.get_bytes("cause") {
            Some(it) => Some(text::number(it).ok_or(Malformed::Number)?),
            None => None,
        };
        Ok(Self { protocol, cause, params })
    }
}

/// Session-Expires (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires<'a> {
    /// The interval in seconds.
    pub seconds: u32,
    /// `uac` or `uas`, once it is known who refreshes.
    pub refresher: Option<&'a str>,
}

impl<'a> SessionExpires<'a> {
    /// Reads `seconds;refresher=…`.
    ///
    /// # Errors
    /// Malformed when the number does not fit.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let (seconds, params) = token_and_params(value)?;
        Ok(Self {
            seconds: text::number(seconds.as_bytes()).ok_or(Malformed::Number)?,
            refresher: params.get("refresher"),
        })
    }
}

/// Retry-After (RFC 3261 §20.33).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter {
    /// How long to wait, in seconds.
    pub seconds: u32,
    /// For how long the callee will then be reachable, in seconds.
    pub duration: Option<u32>,
}

impl RetryAfter {
    /// Reads `seconds (comment);duration=…`; the comment is passed over.
    ///
    /// # Errors
    /// Malformed when the number does not fit.
    pub fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let value = trim(value);
        let digits = value.iter().take_while(|it| it.is_ascii_digit()).count();
        let seconds = text::number(&value[..digits]).ok_or(Malformed::Number)?;
        let mut rest = text::trim_start(&value[digits..]);
        if rest.first() == Some(&b'(') {
            let end = memchr::memrchr(b')', rest).ok_or(Malformed::Params)?;
            rest = &rest[end + 1..];
        }
        let duration = Params::parse(rest)?.get_bytes("duration").and_then(text::number);
        Ok(Self { seconds, duration })
    }
}

/// Replaces (RFC 3891 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaces<'a> {
    /// The Call-ID of the dialog to replace.
    pub call_id: &'a str,
    /// Its local tag, seen from who receives this header.
    pub to_tag: &'a str,
    /// Its remote tag.
    pub from_tag: &'a str,
    /// Whether only an early dialog may be replaced.
    pub early_only: bool,
}

impl<'a> Replaces<'a> {
    /// Reads `call-id;to-tag=…;from-tag=…`.
    ///
    /// # Errors
    /// Malformed when a tag is missing.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let value = trim(value);
        let end = memchr::memchr(b';', value).ok_or(Malformed::Params)?;
        let params = Params::parse(&value[end..])?;
        let call_id = text::utf8(trim(&value[..end])).filter(|it| !it.is_empty());
        Ok(Self {
            call_id: call_id.ok_or(Malformed::CallId)?,
            to_tag: params.get("to-tag").ok_or(Malformed::Params)?,
            from_tag: params.get("from-tag").ok_or(Malformed::Params)?,
            early_only: params.has("early-only"),
        })
    }
}

fn token_and_params(value: &[u8]) -> Result<(&str, Params<'_>), Malformed> {
    let value = trim(value);
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let (head, params) = value.split_at(end);
    let head = trim(head);
    if !text::is_token(head) {
        return Err(Malformed::Token);
    }
    Ok((text::utf8(head).ok_or(Malformed::Token)?, Params::parse(params)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cseq() {
        let cseq = CSeq::parse(b" 0009  INVITE ").unwrap();
        assert_eq!((cseq.number, cseq.method), (9, Method::Invite));
        assert_eq!(cseq.to_string(), "9 INVITE");
        for bad in [
            &b"36893488147419103232 REGISTER"[..],
            b"2147483648 BYE",
            b"1",
            b"1 ",
            b"x A",
            b"1 A B",
        ] {
            assert!(CSeq::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn media_type() {
        let it = MediaType::parse(b"Application / SDP ; charset=utf-8").unwrap();
        assert!(it.is("application", "sdp"));
        assert_eq!(it.params.get("charset"), Some("utf-8"));
        assert!(MediaType::parse(b"application").is_err());
        assert!(MediaType::parse(b"/sdp").is_err());
    }

    #[test]
    fn reason_rack_session_expires_retry_after_replaces() {
        let it = Reason::parse(b"Q.850 ;cause=16 ;text=\"Terminated\"").unwrap();
        assert_eq!((it.protocol, it.cause), ("Q.850", Some(16)));
        assert!(Reason::parse(b"SIP;cause=x").is_err());

        let it = RAck::parse(b"776656 1 INVITE").unwrap();
        assert_eq!((it.rseq, it.cseq, it.method), (776_656, 1, Method::Invite));
        assert!(RAck::parse(b"1 INVITE").is_err() && RAck::parse(b"x 1 INVITE").is_err());

        let it = SessionExpires::parse(b"4000;refresher=uac").unwrap();
        assert_eq!((it.seconds, it.refresher), (4000, Some("uac")));

        let it = RetryAfter::parse(b"120 (I'm in a meeting) ;duration=3600").unwrap();
        assert_eq!((it.seconds, it.duration), (120, Some(3600)));
        assert!(RetryAfter::parse(b"soon").is_err());

        let it =
            Replaces::parse(b"98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff;early-only")
                .unwrap();
        assert_eq!(
            (it.call_id, it.from_tag, it.to_tag),
            ("98732@sip.example.com", "r33th4x0r", "ff87ff")
        );
        assert!(it.early_only);
        assert!(Replaces::parse(b"a@b;to-tag=1").is_err());
    }
}
