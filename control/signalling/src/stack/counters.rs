//! What a stack counts.

use crate::error::{Malformed, ParseError};
use crate::method::Method;

/// Counts by method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodCounts([u64; Method::KNOWN.len() + 1]);

impl Default for MethodCounts {
    fn default() -> Self {
        Self([0; Method::KNOWN.len() + 1])
    }
}

impl MethodCounts {
    pub(crate) fn add(&mut self, method: Method) {
        let index = Method::KNOWN.iter().position(|known| *known == method);
        self.0[index.unwrap_or(Method::KNOWN.len())] += 1;
    }

    /// Name and count of every method; those without a name of their own together as `other`.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let names = Method::KNOWN.iter().map(Method::as_str).chain(core::iter::once("other"));
        names.zip(self.0.iter().copied())
    }

    /// The sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Counts by response code, 100 to 699.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusCounts(Box<[u64; 600]>);

impl Default for StatusCounts {
    fn default() -> Self {
        Self(Box::new([0; 600]))
    }
}

impl StatusCounts {
    pub(crate) fn add(&mut self, status: u16) {
        if let Some(count) = self.0.get_mut(usize::from(status.wrapping_sub(100))) {
            *count += 1;
        }
    }

    /// Response codes that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        (100..700).zip(self.0.iter().copied()).filter(|(_, count)| *count > 0)
    }

    /// How often `status` occurred.
    #[must_use]
    pub fn get(&self, status: u16) -> u64 {
        self.0.get(usize::from(status.wrapping_sub(100))).copied().unwrap_or(0)
    }

    /// The sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Counts of what could not be used, by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedCounts {
    malformed: [u64; Malformed::ALL.len()],
    unsupported: u64,
    limits: u64,
}

impl Default for MalformedCounts {
    fn default() -> Self {
        Self { malformed: [0; Malformed::ALL.len()], unsupported: 0, limits: 0 }
    }
}

impl MalformedCounts {
    pub(crate) fn add(&mut self, error: ParseError) {
        match error {
            ParseError::Malformed(reason) => self.malformed[reason.index()] += 1,
            ParseError::Unsupported(_) => self.unsupported += 1,
            ParseError::LimitReached(_) => self.limits += 1,
        }
    }

    /// Reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let named =
            Malformed::ALL.iter().map(|reason| (reason.key(), self.malformed[reason.index()]));
        let rest = [("unsupported", self.unsupported), ("limit", self.limits)];
        named.chain(rest).filter(|(_, count)| *count > 0)
    }

    /// The sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.malformed.iter().sum::<u64>() + self.unsupported + self.limits
    }
}

/// Counters and gauges of one [`Stack`](super::Stack); they only grow, except the last four.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackCounters {
    /// Requests received, retransmissions included.
    pub requests_in: MethodCounts,
    /// Requests sent, retransmissions not included.
    pub requests_out: MethodCounts,
    /// Responses received, retransmissions included.
    pub responses_in: StatusCounts,
    /// Responses sent, retransmissions not included.
    pub responses_out: StatusCounts,
    /// Requests and final responses received again and absorbed.
    pub retransmissions_in: u64,
    /// Requests, responses and ACKs sent again.
    pub retransmissions_out: u64,
    /// Messages that could not be used, by reason.
    pub malformed: MalformedCounts,
    /// CR LF and the like that keeps a NAT binding open.
    pub keepalives_in: u64,
    /// Responses to no transaction, dropped.
    pub stray_responses: u64,
    /// ACKs to nothing, dropped.
    pub stray_acks: u64,
    /// ACKs of answers of which nothing was kept, dropped as they should be.
    pub stateless_acks: u64,
    /// Requests that came by two ways, answered 482 (RFC 3261 §8.2.2.2).
    pub merged: u64,
    /// Requests answered 503 because a limit was reached.
    pub refused_full: u64,
    /// Transactions whose peer never answered, or never acknowledged.
    pub timeouts: u64,
    /// Transactions that the transport failed.
    pub transport_errors: u64,
    /// Client transactions alive.
    pub client_transactions: usize,
    /// Server transactions alive.
    pub server_transactions: usize,
    /// Dialogs alive.
    pub dialogs: usize,
    /// Timers running.
    pub timers: usize,
}
