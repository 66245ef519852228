//! Request methods.

use core::fmt;

use crate::error::{Limit, Malformed, ParseError};
use crate::limits::MAX_METHOD_OCTETS;
use crate::text;

/// A method that has no variant of its own, held inline so that [`Method`] stays `Copy`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OtherMethod {
    octets: [u8; MAX_METHOD_OCTETS],
    len: u8,
}

impl OtherMethod {
    /// The name as it was sent; method names are case-sensitive (RFC 3261 §7.1).
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only tokens get in, and tokens are ASCII.
        core::str::from_utf8(&self.octets[..usize::from(self.len)]).unwrap_or("")
    }
}

impl fmt::Debug for OtherMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! methods {
    ($($variant:ident $name:literal,)*) => {
        /// A SIP method (RFC 3261 §7.1 and its extensions).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {
            $(#[doc = $name] $variant,)*
            /// Any other token.
            Other(OtherMethod),
        }

        impl Method {
            /// The methods that have a variant of their own.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),*];

            /// The name as it goes on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(other) => other.as_str(),
                }
            }

            fn known(name: &[u8]) -> Option<Self> {
                $(if name == $name.as_bytes() { return Some(Self::$variant); })*
                None
            }
        }
    };
}

methods! {
    Invite "INVITE",
    Ack "ACK",
    Bye "BYE",
    Cancel "CANCEL",
    Options "OPTIONS",
    Register "REGISTER",
    Info "INFO",
    Prack "PRACK",
    Update "UPDATE",
    Subscribe "SUBSCRIBE",
    Notify "NOTIFY",
    Refer "REFER",
    Message "MESSAGE",
    Publish "PUBLISH",
}

impl Method {
    /// Reads a method name.
    ///
    /// # Errors
    /// Malformed when it is not a token, a limit when it is longer than
    /// [`MAX_METHOD_OCTETS`].
    pub fn parse(name: &[u8]) -> Result<Self, ParseError> {
        if let Some(known) = Self::known(name) {
            return Ok(known);
        }
        if !text::is_token(name) {
            return Err(Malformed::Token.into());
        }
        let mut octets = [0; MAX_METHOD_OCTETS];
        let slot = octets.get_mut(..name.len()).ok_or(Limit::MethodOctets)?;
        slot.copy_from_slice(name);
        let len = u8::try_from(name.len()).map_err(|_| Limit::MethodOctets)?;
        Ok(Self::Other(OtherMethod { octets, len }))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_names_come_back_as_they_were() {
        for name in ["INVITE", "PUBLISH", "invite", "!interesting-Method0123456789_*+`.%indeed'~"] {
            assert_eq!(Method::parse(name.as_bytes()).unwrap().as_str(), name);
        }
        assert_eq!(Method::parse(b"ACK").unwrap(), Method::Ack);
        assert_ne!(Method::parse(b"ack").unwrap(), Method::Ack);
    }

    #[test]
    fn names_that_are_no_tokens_or_too_long_are_refused() {
        assert_eq!(Method::parse(b""), Err(Malformed::Token.into()));
        assert_eq!(Method::parse(b"IN VITE"), Err(Malformed::Token.into()));
        assert_eq!(Method::parse(&[b'A'; 49]), Err(Limit::MethodOctets.into()));
    }
}
