//! An order-preserving editor for session descriptions (RFC 8866).
//!
//! A back-to-back user agent must pass on what it does not understand, and where it was. So a
//! [`SessionDescription`] is the list of lines as they came; reading asks it, editing replaces,
//! inserts or removes single lines, and [`SessionDescription::emit`] writes the rest unchanged.
//! Line ends may be CRLF or a bare LF (RFC 8866 §5); they are written as CRLF.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`limits`] | how large a description may be |
//! | [`session`] | lines and sections: parse, find, replace, insert, remove, emit |
//! | [`address`] | `o=`, `c=` and `a=rtcp` |
//! | [`media`] | `m=`, direction, `a=rtpmap`, `a=fmtp`, `a=ptime` |
//! | [`security`] | `a=crypto`, `a=fingerprint`, `a=setup`, ICE attributes |
//! | [`payload`] | static payload types (RFC 3551) |

pub mod address;
pub mod limits;
pub mod media;
pub mod payload;
pub mod security;
pub mod session;
#[cfg(test)]
mod tests;

pub use address::{Connection, Host, Origin, RtcpAddress};
pub use media::{Direction, MediaLine, RtpMap};
pub use payload::{StaticPayload, static_payload};
pub use security::Crypto;
pub use session::{Line, Section, SessionDescription};

/// Why bytes are not a session description that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// More octets than [`limits::MAX_OCTETS`].
    #[error("it is longer than {} octets", limits::MAX_OCTETS)]
    TooLong,
    /// More lines than [`limits::MAX_LINES`].
    #[error("it has more than {} lines", limits::MAX_LINES)]
    TooManyLines,
    /// More media lines than [`limits::MAX_MEDIA`].
    #[error("it has more than {} media lines", limits::MAX_MEDIA)]
    TooManyMedia,
    /// It does not begin with `v=0` (RFC 8866 §5.1).
    #[error("it does not begin with v=0")]
    Version,
    /// A line is not a lower-case letter, `=` and a value (RFC 8866 §5).
    #[error("line {line} is not of the form letter=value")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// The `o=` line is missing or broken (RFC 8866 §5.2).
    #[error("the o= line is missing or malformed")]
    Origin,
    /// A `c=` line is broken (RFC 8866 §5.7).
    #[error("line {line}: the connection (c=) is malformed")]
    Connection {
        /// Its number, from 1.
        line: usize,
    },
    /// A used media line has no `c=` of its own and the session has none (RFC 8866 §5.7).
    #[error("media line {media} has no connection address (c=)")]
    NoConnection {
        /// Its number, from 1.
        media: usize,
    },
    /// An `m=` line is broken (RFC 8866 §5.14).
    #[error("line {line}: the media line (m=) is malformed")]
    Media {
        /// Its number, from 1.
        line: usize,
    },
}
