//! What can go wrong in the softphone, each with its remedy and exit code.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A failure of the softphone.
#[derive(Debug, thiserror::Error)]
pub enum UaError {
    /// A local address could not be bound.
    #[error(
        "cannot bind {address}: {source}; choose another with --bind ADDRESS:PORT (port 0 takes any free one)"
    )]
    Bind {
        /// What was tried.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The server did not answer or could not be reached.
    #[error(
        "no answer from {server}: {detail}; is it running, and are --server and --transport right?"
    )]
    Unreachable {
        /// Where the request went.
        server: String,
        /// Time-out or the error of the transport.
        detail: String,
    },
    /// The server refused user name or password.
    #[error("the server refused user '{user}' ({status} {reason}); check --user and --password")]
    Unauthorized {
        /// The user that was tried.
        user: String,
        /// SIP status.
        status: u16,
        /// Its reason phrase.
        reason: String,
    },
    /// A password was asked for and none is configured.
    #[error("the server asks for a password for user '{user}'; give one with --password")]
    PasswordNeeded {
        /// The user that was tried.
        user: String,
    },
    /// A request was answered with a failure.
    #[error("{method} was refused: {status} {reason}")]
    Refused {
        /// The method of the request.
        method: &'static str,
        /// SIP status.
        status: u16,
        /// Its reason phrase.
        reason: String,
    },
    /// Nobody called in time.
    #[error("nobody called within {seconds} s; give more time with --wait")]
    NobodyCalled {
        /// How long was waited.
        seconds: u64,
    },
    /// The phone rang and nobody took it.
    #[error("nobody answered within {seconds} s; give more time with --ring-timeout")]
    NobodyAnswered {
        /// How long it was tried.
        seconds: u64,
    },
    /// An address or URI could not be understood or resolved.
    #[error("'{input}' is not usable: {detail}")]
    Address {
        /// What was given.
        input: String,
        /// Why it does not do.
        detail: String,
    },
    /// The two sides have no codec or transport in common, or the session description is broken.
    #[error("no common media: {0}; try --codec PCMU,PCMA")]
    Media(String),
    /// A file could not be read or written.
    #[error("file {path}: {detail}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A line of a script could not be understood.
    #[error("script line {line}: {detail}")]
    Script {
        /// Line number from 1.
        line: usize,
        /// What is wrong.
        detail: String,
    },
    /// The softphone is being stopped.
    #[error("stopped")]
    Stopped,
    /// Something of the machine failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl UaError {
    /// Exit code of the program: 3 refused, nobody called or answered, 4 wrong credentials, 5 unreachable,
    /// 6 something local (address, port, file, script), 130 stopped.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. }
            | Self::Media(_)
            | Self::NobodyCalled { .. }
            | Self::NobodyAnswered { .. } => 3,
            Self::Unauthorized { .. } | Self::PasswordNeeded { .. } => 4,
            Self::Unreachable { .. } => 5,
            Self::Bind { .. }
            | Self::Address { .. }
            | Self::File { .. }
            | Self::Script { .. }
            | Self::Io { .. } => 6,
            Self::Stopped => 130,
        }
    }

    /// The SIP status that was answered, if one was.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::Unauthorized { status, .. } => Some(*status),
            _ => None,
        }
    }
}
