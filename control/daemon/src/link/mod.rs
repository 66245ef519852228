//! The link to an engine: what should exist there, and what happened.
//!
//! Everything above this module speaks to [`EngineLink`]; whether the engine is another process on
//! this machine ([`local::LocalEngine`]), a machine elsewhere or a fake in a test does not matter.
//! The link owns the *desired state*: every termination that was [`EngineLink::put`] stays wanted
//! until it is [`EngineLink::subtract`]ed or ends. If the engine dies, the link starts it again
//! and installs all of it anew, with confirmed addresses and the sequence state seen last, and
//! keeps the figures of before, so that nobody above notices more than
//! [`LinkEvent::Lost`] and [`LinkEvent::Attached`].
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`desired`] | the wanted terminations, their leases and their figures over restarts |
//! | [`endpoints`] | free endpoints per worker and family |
//! | [`figures`] | what an earlier engine counted plus what the current one counts |
//! | [`local`] | an engine process on this machine: attach, start, bring back |
//! | [`process`] | its program, arguments, log |
//! | `session`, `run` | the attached engine: greeting, audit, installation, events, leases |
//! | `lanes` | the shared-memory lane of a worker |

pub mod desired;
pub mod endpoints;
#[cfg(test)]
pub(crate) mod fake;
pub mod figures;
mod lanes;
pub mod local;
pub mod process;
mod run;
mod session;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tandem_contract::command::TerminationSpec;
use tandem_contract::counters::{TerminationCounters, WorkerCounters};
use tandem_contract::event::{EndCause, Refusal};
use tandem_contract::handle::{ContextId, Handle};
use tandem_wire::addr::SockAddr;
use tandem_wire::time::Instant;

/// An IP version.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address, `None` if there is no address.
    #[must_use]
    pub fn of(addr: SockAddr) -> Option<Self> {
        addr.ip().map(|ip| if ip.is_ipv4() { Self::V4 } else { Self::V6 })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A local port pair that the engine has bound ahead of need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Names the endpoint and the termination that will use it.
    pub handle: Handle,
    /// Local RTP address as bound.
    pub rtp: SockAddr,
    /// Local RTCP address as bound.
    pub rtcp: SockAddr,
}

/// A termination that an engine held when control attached to it, and that nobody asked for since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Which.
    pub handle: Handle,
    /// Its context.
    pub context: ContextId,
    /// Local RTP address.
    pub local_rtp: SockAddr,
    /// Confirmed RTP source, none if not yet.
    pub latched_rtp: SockAddr,
    /// Confirmed RTCP source, none if not yet.
    pub latched_rtcp: SockAddr,
}

/// What an attached engine says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineInfo {
    /// Random number of the engine process.
    pub instance: u64,
    /// How often control attached to this engine process.
    pub epoch: u64,
    /// Process id.
    pub pid: u32,
    /// Number of workers.
    pub workers: u32,
    /// Kind of the port: `socket(io_uring)`, `socket(mmsg)`.
    pub port: &'static str,
    /// Endpoints that the open-files limit allows, all workers together.
    pub endpoint_limit: u64,
}

/// What happened on the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// An engine is attached and holds all that is wanted.
    Attached {
        /// The engine.
        info: EngineInfo,
        /// Terminations that were installed anew because the engine is a new one.
        reinstalled: usize,
        /// What it held already and nobody wants (yet): the calls of an earlier control. Their
        /// leases run out unless somebody subtracts them before. Of each, a [`LinkEvent::Ended`]
        /// follows, also if the engine is lost before.
        found: Vec<Installed>,
        /// From the loss of the previous engine until all was installed, zero at the first attach.
        outage: Duration,
    },
    /// The engine is gone; the link is bringing one back.
    Lost {
        /// Why, for people.
        reason: String,
    },
    /// No engine could be brought up; the link goes on trying.
    Failed(LinkError),
    /// A wanted termination was refused; it is no longer wanted.
    Refused {
        /// Which.
        handle: Handle,
        /// Its context.
        context: ContextId,
        /// Why.
        refusal: Refusal,
    },
    /// A source was confirmed or has moved.
    Latched {
        /// Which.
        handle: Handle,
        /// The address.
        source: SockAddr,
        /// Whether it is the RTCP source.
        rtcp: bool,
        /// Whether a confirmed source moved.
        moved: bool,
    },
    /// A telephone event ended (RFC 4733).
    Dtmf {
        /// Who sent it.
        handle: Handle,
        /// Event code, 0 to 15.
        code: u8,
        /// Duration, ms.
        duration_ms: u32,
    },
    /// Nothing was received for the media timeout.
    MediaTimeout {
        /// Who is silent.
        handle: Handle,
        /// For how long, ms.
        silent_ms: u32,
    },
    /// The SSRC of a confirmed source changed.
    SsrcChanged {
        /// Who.
        handle: Handle,
        /// From.
        old: u32,
        /// To.
        new: u32,
    },
    /// A termination ended; its last figures can be read until its index is used again.
    Ended {
        /// Which.
        handle: Handle,
        /// Its context.
        context: ContextId,
        /// Why.
        cause: EndCause,
    },
}

/// Why there is no engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The program is not where it should be.
    #[error(
        "the engine program {path} cannot be started: {error}; install tandem-engine beside \
         tandem, or set engine.program"
    )]
    CannotStart {
        /// Where it was looked for.
        path: String,
        /// What the system said.
        error: String,
    },
    /// It ended before it could be used.
    #[error("the engine ended at once ({status}){}", if .last_line.is_empty() { String::new() } else { format!(": {}", .last_line) })]
    EndedAtOnce {
        /// Its exit status.
        status: String,
        /// The last line of its log, empty if it has no log file.
        last_line: String,
    },
    /// Another control process holds the engine.
    #[error(
        "the engine is in the hands of another tandem (process {control_pid}); stop that one, or \
         use another data folder"
    )]
    Busy {
        /// Process id of the other control.
        control_pid: u32,
    },
    /// The two programs are of different versions.
    #[error(
        "the running engine (process {pid}) speaks version {engine} of the link, this tandem \
         version {control}: end it (kill {pid}; its calls end) or start the tandem that fits"
    )]
    Version {
        /// Version of the engine.
        engine: u32,
        /// Version of this program.
        control: u32,
        /// Process id of the engine.
        pid: u32,
    },
    /// What the engine sent makes no sense.
    #[error("the engine broke the protocol of the link: {0}")]
    Protocol(String),
    /// A system call failed.
    #[error("the link to the engine failed: {0}")]
    Io(String),
    /// No engine answered in time.
    #[error("the engine did not answer within {0:?}")]
    Timeout(Duration),
}

/// An engine, wherever it is. All calls return at once.
pub trait EngineLink: fmt::Debug + Send {
    /// Reads what the engine said, supervises it, sends what waits. Call it when
    /// [`EngineLink::wait_fd`] is readable and at [`EngineLink::next_timeout`].
    fn handle(&mut self, now: Instant);

    /// The next thing that happened, in order.
    fn poll_event(&mut self) -> Option<LinkEvent>;

    /// When [`EngineLink::handle`] is due at the latest, `None` for no timer.
    fn next_timeout(&self) -> Option<Instant>;

    /// A descriptor of the caller's own that is readable whenever [`EngineLink::handle`] has
    /// something to do; it stays the same over restarts of the engine. `None` for a link without
    /// one.
    ///
    /// # Errors
    /// The system's, if no further descriptor can be had.
    fn wait_fd(&self) -> std::io::Result<Option<OwnedFd>>;

    /// The attached engine, `None` while there is none.
    fn info(&self) -> Option<EngineInfo>;

    /// Families of which endpoints are at hand.
    fn families(&self) -> Vec<Family>;

    /// A worker for a new call: one that has endpoints free, the one with the fewest terminations.
    fn pick_worker(&self, family: Family) -> Option<u16>;

    /// Takes a random free endpoint of a worker; asks the engine for more when few are left.
    fn take_endpoint(&mut self, worker: u16, family: Family) -> Option<Endpoint>;

    /// Gives back an endpoint that nobody was told of.
    fn give_back(&mut self, now: Instant, endpoint: Endpoint);

    /// Wants a termination to be so. Repeating it changes nothing; changing it modifies.
    fn put(&mut self, now: Instant, handle: Handle, spec: TerminationSpec);

    /// Wants it no longer, or not longer what an earlier control left. An [`LinkEvent::Ended`]
    /// follows.
    fn subtract(&mut self, now: Instant, handle: Handle);

    /// Figures of a termination that exists or ended a short while ago, those from earlier engines
    /// included. `None` if nothing is known (yet).
    fn counters(&self, handle: Handle) -> Option<TerminationCounters>;

    /// Last figures of all terminations that have ended in the attached engine and whose place is
    /// not used again. It reads all tables: not for every call.
    fn remains(&self) -> Vec<TerminationCounters>;

    /// Figures of each worker of the attached engine.
    fn worker_counters(&self) -> Vec<WorkerCounters>;

    /// The figures of a termination that ended are not needed any more.
    fn forget(&mut self, handle: Handle);

    /// Ends the engine if `stop`, else leaves it running with its terminations.
    fn shutdown(&mut self, stop: bool);
}
