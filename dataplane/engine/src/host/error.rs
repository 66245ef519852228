//! What can go wrong at the edge, each with its remedy.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// Why the engine cannot start or go on.
#[derive(Debug)]
pub(crate) enum HostError {
    /// The command line contradicts itself.
    Usage(String),
    /// Another engine listens there.
    SocketInUse(PathBuf),
    /// The socket cannot be made.
    Socket(PathBuf, io::Error),
    /// The range holds no pair, or too few.
    RangeTooSmall { first: u16, last: u16, pairs: u32, wanted: u32 },
    /// No socket can be bound to an address at all.
    Address(IpAddr, String),
    /// Every port of the range is taken.
    RangeExhausted { first: u16, last: u16, address: IpAddr, busy: usize },
    /// The open-files limit leaves nothing.
    OpenFiles { limit: u64, needed: u64 },
    /// io_uring was asked for and cannot be had.
    NoUring(String),
    /// A worker did not start.
    Worker { worker: u16, error: String },
    /// A worker stopped.
    WorkerDied { worker: u16 },
    /// The system refused something else.
    System { what: &'static str, error: io::Error },
}

impl HostError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::SocketInUse(path) => write!(
                f,
                "another engine already listens on {}: attach to that one, end it, or choose \
                 another --socket",
                path.display()
            ),
            Self::Socket(path, error) => write!(
                f,
                "cannot listen on {}: {error}; the folder must exist, be writable, and the path \
                 be shorter than 108 octets",
                path.display()
            ),
            Self::RangeTooSmall { first, last, pairs, wanted } => write!(
                f,
                "the port range {first}-{last} has {pairs} pairs of ports, but {wanted} are \
                 wanted ahead: widen --ports or lower --endpoints-ahead"
            ),
            Self::Address(address, error) => write!(
                f,
                "cannot bind media ports to {address}: {error}; give an address of this machine \
                 with --address"
            ),
            Self::RangeExhausted { first, last, address, busy } => write!(
                f,
                "no port of {first}-{last} is left on {address} ({busy} are taken by other \
                 programs): widen --ports"
            ),
            Self::OpenFiles { limit, needed } => write!(
                f,
                "the open-files limit is {limit}, at least {needed} are needed: raise it with \
                 `ulimit -n` or LimitNOFILE= in the unit"
            ),
            Self::NoUring(why) => write!(
                f,
                "io_uring cannot be used here ({why}): allow it (sysctl kernel.io_uring_disabled, \
                 seccomp profile) or choose --port-kind auto"
            ),
            Self::Worker { worker, error } => write!(f, "worker {worker} did not start: {error}"),
            Self::WorkerDied { worker } => write!(f, "worker {worker} has stopped"),
            Self::System { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for HostError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Socket(_, error) | Self::System { error, .. } => Some(error),
            _ => None,
        }
    }
}
