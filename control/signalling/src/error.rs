//! Who is to blame when a message cannot be used, and what RFC 3261 answers.
//!
//! [`ParseError`] is always about what a peer sent; [`BuildError`] is always our own misuse of the
//! builder. Every reason has a short key, so that it can be counted.

use thiserror::Error;

macro_rules! malformed {
    ($($variant:ident $key:literal $text:literal,)*) => {
        /// What about a message is not as RFC 3261 wants it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
        #[non_exhaustive]
        pub enum Malformed {
            $(#[doc = $text] #[error($text)] $variant,)*
        }

        impl Malformed {
            /// Every reason, in the order of its discriminant.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name under which this reason is counted.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$variant => $key,)* }
            }

            /// A sentence for a reason phrase or a log line.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The place of this reason in [`Self::ALL`], for an array of counters.
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

malformed! {
    Empty "empty" "Nothing but line ends",
    StartLine "start_line" "Malformed start line",
    StatusCode "status_code" "Status code out of range",
    Unterminated "unterminated" "No empty line after the headers",
    HeaderLine "header_line" "Malformed header line",
    ControlOctet "control_octet" "Stray control octet in a header",
    RequestUri "request_uri" "Malformed Request-URI",
    MissingVia "missing_via" "Missing Via header",
    MissingFrom "missing_from" "Missing From header",
    MissingTo "missing_to" "Missing To header",
    MissingCallId "missing_call_id" "Missing Call-ID header",
    MissingCSeq "missing_cseq" "Missing CSeq header",
    MissingContact "missing_contact" "Missing Contact header",
    MissingContentLength "missing_content_length" "Missing Content-Length on a stream",
    Repeated "repeated" "Repeated header that may appear once",
    Via "via" "Malformed Via header",
    From "from" "Malformed From header",
    To "to" "Malformed To header",
    CallId "call_id" "Malformed Call-ID header",
    CSeq "cseq" "Malformed CSeq header",
    CSeqMethod "cseq_method" "CSeq method does not match request method",
    MaxForwards "max_forwards" "Malformed Max-Forwards header",
    Contact "contact" "Malformed Contact header",
    Route "route" "Malformed Route or Record-Route header",
    Expires "expires" "Malformed Expires header",
    ContentLength "content_length" "Malformed Content-Length header",
    BodyShort "body_short" "Body shorter than Content-Length",
    ContentType "content_type" "Malformed or missing Content-Type header",
    Date "date" "Malformed Date header",
    Authorization "authorization" "Malformed credentials",
    Challenge "challenge" "Malformed challenge",
    Uri "uri" "Malformed URI",
    NameAddr "name_addr" "Malformed address",
    Params "params" "Malformed parameter",
    Number "number" "Malformed or overlarge number",
    Token "token" "Malformed token",
}

/// What of a message Tandem does not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// A protocol version other than SIP/2.0.
    #[error("Version Not Supported")]
    Version,
    /// A Request-URI whose scheme is not sip, sips or tel.
    #[error("Unsupported URI Scheme")]
    UriScheme,
    /// An option tag in Require or Proxy-Require.
    #[error("Bad Extension")]
    Extension,
    /// An authentication scheme other than Digest.
    #[error("Unsupported authentication scheme")]
    AuthScheme,
    /// A digest algorithm other than MD5 and SHA-256.
    #[error("Unsupported digest algorithm")]
    Algorithm,
    /// A quality of protection other than `auth`.
    #[error("Unsupported quality of protection")]
    Qop,
}

impl Unsupported {
    /// The name under which this reason is counted.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::UriScheme => "uri_scheme",
            Self::Extension => "extension",
            Self::AuthScheme => "auth_scheme",
            Self::Algorithm => "algorithm",
            Self::Qop => "qop",
        }
    }
}

/// Which named limit of [`crate::limits`] a message went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Limit {
    /// [`crate::limits::MAX_MESSAGE_OCTETS`].
    #[error("Message too large")]
    MessageOctets,
    /// [`crate::limits::MAX_HEADER_OCTETS`].
    #[error("Headers too large")]
    HeaderOctets,
    /// [`crate::limits::MAX_HEADER_ROWS`].
    #[error("Too many header rows")]
    HeaderRows,
    /// [`crate::limits::MAX_METHOD_OCTETS`].
    #[error("Method name too long")]
    MethodOctets,
    /// [`crate::limits::MAX_CHALLENGES`].
    #[error("Too many challenges")]
    Challenges,
}

impl Limit {
    /// The name under which this reason is counted.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::MessageOctets => "limit_message_octets",
            Self::HeaderOctets => "limit_header_octets",
            Self::HeaderRows => "limit_header_rows",
            Self::MethodOctets => "limit_method_octets",
            Self::Challenges => "limit_challenges",
        }
    }
}

/// Why what a peer sent cannot be read; the variant says who or what is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum ParseError {
    /// The peer did not keep to the grammar.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The peer asks for something that Tandem does not speak.
    #[error("{0}")]
    Unsupported(#[from] Unsupported),
    /// The peer sent more than Tandem takes.
    #[error("{0}")]
    LimitReached(#[from] Limit),
}

impl ParseError {
    /// The status code that answers a request with this fault (RFC 3261 §21).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Unsupported(Unsupported::Version) => 505,
            Self::Unsupported(Unsupported::UriScheme) => 416,
            Self::Unsupported(Unsupported::Extension) => 420,
            Self::Unsupported(
                Unsupported::AuthScheme | Unsupported::Algorithm | Unsupported::Qop,
            ) => 401,
            Self::LimitReached(_) => 513,
        }
    }

    /// The name under which this reason is counted.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Malformed(it) => it.key(),
            Self::Unsupported(it) => it.key(),
            Self::LimitReached(it) => it.key(),
        }
    }
}

/// How the builder was misused; nothing a peer sends can cause one, except that a value which was
/// taken from a peer and holds a line end is refused here and not sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A method name that is not a token.
    #[error("the method is not a token")]
    Method,
    /// A Request-URI with white space or control octets, or an empty one.
    #[error("the Request-URI is empty or holds white space or control octets")]
    RequestUri,
    /// A status code outside 100 to 699.
    #[error("the status code is not in 100 to 699")]
    Status,
    /// A reason phrase, header value or content type with CR, LF or NUL.
    #[error("a value holds CR, LF or NUL")]
    Value,
    /// A header name that is not a token, or Content-Length, which the builder writes itself.
    #[error("the header name is not a token, or is Content-Length")]
    Name,
    /// A tag or branch that is not a token.
    #[error("a tag or branch is not a token")]
    Token,
    /// The operation needs a request, or a response, or a header that is not there.
    #[error("the message has no such part")]
    NoSuchPart,
    /// The message goes over a limit of [`crate::limits`].
    #[error("the message goes over a limit")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_indexed() {
        let mut keys: Vec<_> = Malformed::ALL.iter().map(|it| it.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), Malformed::ALL.len());
        for (place, reason) in Malformed::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place);
        }
    }

    #[test]
    fn the_blame_decides_the_status() {
        assert_eq!(ParseError::from(Malformed::Via).status(), 400);
        assert_eq!(ParseError::from(Unsupported::Version).status(), 505);
        assert_eq!(ParseError::from(Unsupported::UriScheme).status(), 416);
        assert_eq!(ParseError::from(Limit::HeaderRows).status(), 513);
    }
}
