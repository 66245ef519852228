//! Header names: which one a row is, its compact form, whether it is a list.

mod values;

pub use values::{CSeq, MediaType, RAck, Reason, Replaces, RetryAfter, SessionExpires};

macro_rules! headers {
    ($($variant:ident $name:literal $compact:literal $kind:ident,)*) => {
        /// A header that Tandem knows by name, or [`Header::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Header {
            $(#[doc = $name] $variant,)*
            /// Any other; read it with [`Message::value_named`](crate::message::Message::value_named).
            Other,
        }

        /// Every known header.
        const ALL: &[Header] = &[$(Header::$variant),*];

        impl Header {
            /// How many values [`Self::index`] can have.
            pub(crate) const COUNT: usize = ALL.len() + 1;

            /// The name as Tandem writes it, empty for [`Header::Other`].
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Other => "" }
            }

            const fn compact(self) -> u8 {
                match self { $(Self::$variant => $compact,)* Self::Other => 0 }
            }

            /// Whether the value is a comma-separated list (RFC 3261 §7.3.1).
            #[must_use]
            pub const fn is_list(self) -> bool {
                match self { $(Self::$variant => headers!(@list $kind),)* Self::Other => false }
            }
        }
    };
    (@list list) => { true };
    (@list one) => { false };
}

headers! {
    Accept "Accept" 0 list,
    AcceptContact "Accept-Contact" b'a' list,
    AcceptEncoding "Accept-Encoding" 0 list,
    AcceptLanguage "Accept-Language" 0 list,
    AlertInfo "Alert-Info" 0 list,
    Allow "Allow" 0 list,
    AllowEvents "Allow-Events" b'u' list,
    AuthenticationInfo "Authentication-Info" 0 one,
    Authorization "Authorization" 0 one,
    CallId "Call-ID" b'i' one,
    CallInfo "Call-Info" 0 list,
    Contact "Contact" b'm' list,
    ContentDisposition "Content-Disposition" 0 one,
    ContentEncoding "Content-Encoding" b'e' list,
    ContentLanguage "Content-Language" 0 list,
    ContentLength "Content-Length" b'l' one,
    ContentType "Content-Type" b'c' one,
    CSeq "CSeq" 0 one,
    Date "Date" 0 one,
    Diversion "Diversion" 0 list,
    ErrorInfo "Error-Info" 0 list,
    Event "Event" b'o' one,
    Expires "Expires" 0 one,
    From "From" b'f' one,
    HistoryInfo "History-Info" 0 list,
    Identity "Identity" b'y' one,
    InReplyTo "In-Reply-To" 0 list,
    Join "Join" 0 one,
    MaxForwards "Max-Forwards" 0 one,
    MimeVersion "MIME-Version" 0 one,
    MinExpires "Min-Expires" 0 one,
    MinSe "Min-SE" 0 one,
    Organization "Organization" 0 one,
    PAssertedIdentity "P-Asserted-Identity" 0 list,
    PPreferredIdentity "P-Preferred-Identity" 0 list,
    Path "Path" 0 list,
    Priority "Priority" 0 one,
    Privacy "Privacy" 0 one,
    ProxyAuthenticate "Proxy-Authenticate" 0 one,
    ProxyAuthorization "Proxy-Authorization" 0 one,
    ProxyRequire "Proxy-Require" 0 list,
    RAck "RAck" 0 one,
    Reason "Reason" 0 list,
    RecordRoute "Record-Route" 0 list,
    ReferTo "Refer-To" b'r' one,
    ReferredBy "Referred-By" b'b' one,
    RejectContact "Reject-Contact" b'j' list,
    Replaces "Replaces" 0 one,
    ReplyTo "Reply-To" 0 one,
    RequestDisposition "Request-Disposition" b'd' list,
    Require "Require" 0 list,
    RetryAfter "Retry-After" 0 one,
    Route "Route" 0 list,
    RSeq "RSeq" 0 one,
    Server "Server" 0 one,
    ServiceRoute "Service-Route" 0 list,
    SessionExpires "Session-Expires" b'x' one,
    SipETag "SIP-ETag" 0 one,
    SipIfMatch "SIP-If-Match" 0 one,
    Subject "Subject" b's' one,
    SubscriptionState "Subscription-State" 0 one,
    Supported "Supported" b'k' list,
    Timestamp "Timestamp" 0 one,
    To "To" b't' one,
    Unsupported "Unsupported" 0 list,
    UserAgent "User-Agent" 0 one,
    Via "Via" b'v' list,
    Warning "Warning" 0 list,
    WwwAuthenticate "WWW-Authenticate" 0 one,
}

const SLOTS: usize = 256;

const fn slot_of(name: &[u8]) -> usize {
    // Octets 0, middle and last, and the length, tell almost all names apart; `| 0x20` folds case.
    let len = name.len();
    let first = (name[0] | 0x20) as usize;
    let middle = (name[len / 2] | 0x20) as usize;
    let last = (name[len - 1] | 0x20) as usize;
    (first.wrapping_mul(7)
        ^ middle.wrapping_mul(31)
        ^ last.wrapping_mul(113)
        ^ len.wrapping_mul(61))
        % SLOTS
}

/// Open addressing; filled at compile time.
static TABLE: [Header; SLOTS] = {
    let mut table = [Header::Other; SLOTS];
    let mut at = 0;
    while at < ALL.len() {
        let mut slot = slot_of(ALL[at].name().as_bytes());
        while !matches!(table[slot], Header::Other) {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = ALL[at];
        at += 1;
    }
    table
};

static COMPACT: [Header; 256] = {
    let mut table = [Header::Other; 256];
    let mut at = 0;
    while at < ALL.len() {
        let letter = ALL[at].compact();
        if letter != 0 {
            table[letter as usize] = ALL[at];
            table[letter.to_ascii_uppercase() as usize] = ALL[at];
        }
        at += 1;
    }
    table
};

impl Header {
    /// Which header a name is, in any case, long or compact (RFC 3261 §7.3.3).
    #[must_use]
    pub fn from_name(name: &[u8]) -> Self {
        match name {
            [] => return Self::Other,
            [letter] => return COMPACT[usize::from(*letter)],
            _ => {}
        }
        let mut slot = slot_of(name);
        loop {
            let candidate = TABLE[slot];
            if candidate == Self::Other {
                return Self::Other;
            }
            let known = candidate.name().as_bytes();
            if known.len() == name.len() && (known == name || known.eq_ignore_ascii_case(name)) {
                return candidate;
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// Whether a second row is a fault that changes what the message means (RFC 3261 §7.3.1);
    /// Content-Length is compared instead, because equal ones do no harm.
    pub(crate) const fn is_once(self) -> bool {
        matches!(
            self,
            Self::From
                | Self::To
                | Self::CallId
                | Self::CSeq
                | Self::MaxForwards
                | Self::ContentType
                | Self::Expires
                | Self::SessionExpires
                | Self::Date
        )
    }

    /// The place of this header in an array of [`Self::COUNT`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// What can name a header in the builder: a [`Header`], or text.
pub trait HeaderName {
    /// The known header, or [`Header::Other`].
    fn header(&self) -> Header;
    /// The name to write.
    fn text(&self) -> &str;
}

impl HeaderName for Header {
    fn header(&self) -> Header {
        *self
    }

    fn text(&self) -> &str {
        self.name()
    }
}

impl HeaderName for &str {
    fn header(&self) -> Header {
        Header::from_name(self.as_bytes())
    }

    fn text(&self) -> &str {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_compact() {
        for header in ALL {
            assert_eq!(Header::from_name(header.name().as_bytes()), *header);
            assert_eq!(Header::from_name(header.name().to_ascii_uppercase().as_bytes()), *header);
            assert_eq!(Header::from_name(header.name().to_ascii_lowercase().as_bytes()), *header);
            if header.compact() != 0 {
                assert_eq!(Header::from_name(&[header.compact()]), *header);
            }
        }
        assert_eq!(Header::from_name(b"X-Unknown"), Header::Other);
        assert_eq!(Header::from_name(b"z"), Header::Other);
        assert_eq!(Header::from_name(b""), Header::Other);
        // `-` and CR differ in the bit that folds case: still not equal.
        assert_eq!(Header::from_name(b"Call\rID"), Header::Other);
    }

    #[test]
    fn the_places_are_dense() {
        for (place, header) in ALL.iter().enumerate() {
            assert_eq!(header.index(), place);
        }
        assert_eq!(Header::Other.index() + 1, Header::COUNT);
    }
}
