//! Why an offer or an answer could not be used, and what SIP says then.

use crate::link::Family;
use tandem_signalling::sdp::SdpError;

/// Warning code: incompatible network address formats (RFC 3261 §20.43).
pub const WARN_ADDRESS_FORMAT: u16 = 301;
/// Warning code: incompatible transport protocol.
pub const WARN_TRANSPORT: u16 = 302;
/// Warning code: media type not available.
pub const WARN_MEDIA_TYPE: u16 = 304;
/// Warning code: incompatible media format.
pub const WARN_MEDIA_FORMAT: u16 = 305;
/// Warning code: miscellaneous.
pub const WARN_MISCELLANEOUS: u16 = 399;

/// Why an offer or an answer could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The body is not SDP (RFC 8866).
    #[error("the session description is malformed: {0}")]
    Malformed(#[from] SdpError),
    /// It asks for something that is not supported.
    #[error("{text}")]
    Unsupported {
        /// Warning code of RFC 3261 §20.43.
        warning: u16,
        /// A sentence for the Warning header and for people.
        text: String,
    },
    /// An answer without an offer, with another number of media lines, or with other transports.
    #[error("the answer does not fit the offer: {0}")]
    BadAnswer(&'static str),
    /// The call has as many legs or media lines as are allowed.
    #[error("the call has more {what} than the {limit} that are allowed")]
    TooMany {
        /// `legs` or `media lines`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// No free port is left (or the engine restarts just now).
    #[error("no free {family} media port: {hint}")]
    NoEndpoint {
        /// Of which family.
        family: Family,
        /// What to do.
        hint: &'static str,
    },
}

impl MediaError {
    /// The SIP status that tells the peer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Unsupported { .. } | Self::BadAnswer(_) => 488,
            Self::TooMany { .. } => 488,
            Self::NoEndpoint { .. } => 503,
        }
    }

    /// Code and text of the Warning header (RFC 3261 §20.43).
    #[must_use]
    pub fn warning(&self) -> (u16, String) {
        let code = match self {
            Self::Unsupported { warning, .. } => *warning,
            _ => WARN_MISCELLANEOUS,
        };
        (code, self.to_string())
    }
}
