//! What needs the system: sockets, threads, the link. The main thread is the housekeeper.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`args`] | the command line |
//! | `error` | what can go wrong, each with its remedy |
//! | `ports` | which local ports are used, quarantined, busy; random choice |
//! | `limits` | the open-files limit and what it means |
//! | `threads` | worker threads and the rings to them |
//! | `link` | the control process: hello, lanes, its coming and going |
//! | `housekeeping` | the loop of the main thread |

pub(crate) mod args;
mod error;
mod housekeeping;
mod limits;
mod link;
mod ports;
mod threads;

use args::Args;
use error::HostError;
use housekeeping::Housekeeper;
use tandem_contract::hello::{PORT_SOCKET_MMSG, PORT_SOCKET_URING};
use tandem_hw::port::socket::Uring;

/// Which socket port the workers drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortKind {
    /// io_uring.
    Uring,
    /// recvmmsg and sendmmsg.
    Mmsg,
}

impl PortKind {
    /// `Hello::port`.
    const fn number(self) -> u32 {
        match self {
            Self::Uring => PORT_SOCKET_URING,
            Self::Mmsg => PORT_SOCKET_MMSG,
        }
    }

    fn choose(args: &Args) -> Result<Self, HostError> {
        match args.port_kind {
            args::PortChoice::Mmsg => Ok(Self::Mmsg),
            args::PortChoice::Uring => match Uring::is_available() {
                Ok(()) => Ok(Self::Uring),
                Err(why) => Err(HostError::NoUring(why.to_string())),
            },
            args::PortChoice::Auto => match Uring::is_available() {
                Ok(()) => Ok(Self::Uring),
                Err(why) => {
                    tracing::warn!(
                        "io_uring cannot be used here ({why}); going on with recvmmsg and \
                         sendmmsg, which cost more system calls"
                    );
                    Ok(Self::Mmsg)
                }
            },
        }
    }
}

/// Runs the engine until nobody needs it.
///
/// # Errors
/// What keeps it from starting, or a worker that stopped.
pub(crate) fn run(args: &Args) -> Result<(), HostError> {
    args.check()?;
    let limits = limits::raise(args)?;
    let kind = PortKind::choose(args)?;
    let mut housekeeper = Housekeeper::new(args, &limits, kind)?;
    housekeeper.run()
}
