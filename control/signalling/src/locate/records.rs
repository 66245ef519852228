//! What DNS is asked and what it answers.

use core::net::IpAddr;
use std::sync::Arc;

/// A type of DNS records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Services of a domain (RFC 3403).
    Naptr,
    /// Hosts of a service (RFC 2782).
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// A question to DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// The name, lower case, without the dot of the root.
    pub name: Arc<str>,
    /// The type.
    pub kind: Kind,
}

/// A NAPTR record (RFC 3403 §4.1), as far as SIP uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// The lower one comes first.
    pub order: u16,
    /// The lower one comes first within one order.
    pub preference: u16,
    /// `s`: the replacement is the name of SRV records.
    pub flags: String,
    /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T`.
    pub service: String,
    /// A rewriting rule, which SIP does not use (RFC 3263 §4.1).
    pub regexp: String,
    /// The name to go on with.
    pub replacement: String,
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// The lower one comes first.
    pub priority: u16,
    /// Share within one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; empty or `.` if the service is decidedly not there.
    pub target: Arc<str>,
}

/// Records of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Services.
    Naptr(Vec<Naptr>),
    /// Hosts.
    Srv(Vec<Srv>),
    /// Addresses.
    Addresses(Vec<IpAddr>),
}

impl Records {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        match self {
            Self::Naptr(records) => records.is_empty(),
            Self::Srv(records) => records.is_empty(),
            Self::Addresses(records) => records.is_empty(),
        }
    }
}

/// Why a question has no records for an answer; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NoAnswer {
    /// The name does not exist, or has no such records.
    NoRecords,
    /// The servers refused or failed.
    Failed,
    /// Nobody answered in time.
    TimedOut,
}

/// The answer to a question.
pub type Answer = Result<Records, NoAnswer>;
