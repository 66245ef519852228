//! Where requests go that no registration leads: the rules of RFC 3263 with a cache, a DNS thread
//! and a memory of who failed. The signalling thread never waits for DNS: what is not known yet is
//! [`Located::Pending`], and comes out of [`Locator::poll`] later.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `cache` | answers of DNS, as long as they hold |
//! | [`dns`] | the thread that asks the DNS servers |
//! | `penalty` | who failed is tried last |

mod cache;
pub mod dns;
#[cfg(test)]
pub(crate) mod fake;
mod penalty;

pub use cache::{FAILURE_HOLDS, MAX_CACHED, STALE_FOR};
pub use penalty::{MAX_PENALISED, Penalty};
pub use tandem_signalling::locate::LocateError;

use cache::Cache;
use core::fmt;
use core::time::Duration;
use dns::Dns;
use penalty::PenaltyBox;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use tandem_signalling::locate::{NoAnswer, Question, Random, Search, Support, Target};
use tandem_signalling::stack::Transport;
use tandem_signalling::uri::Uri;
use tandem_wire::time::Instant;

/// An address to try.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The transport.
    pub transport: Transport,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The domain that the peer's certificate has to name.
    pub name: Option<Arc<str>>,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport.via_name(), self.remote)
    }
}

impl From<&Target> for Hop {
    fn from(target: &Target) -> Self {
        let Target { transport, address, name } = target;
        Self { transport: *transport, remote: *address, name: name.clone() }
    }
}

/// Names a search that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What is known of a URI at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// The addresses in the order in which they are to be tried; at least one.
    Ready(Vec<Hop>),
    /// DNS is asked; [`Locator::poll`] will tell.
    Pending(Ticket),
    /// It leads nowhere.
    Failed(LocateError),
}

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct LocatorConfig {
    /// Questions to DNS at the same time.
    pub max_lookups: usize,
    /// The longest search.
    pub deadline: Duration,
    /// Answers are kept no longer.
    pub max_ttl: Duration,
    /// Answers without records are kept no longer.
    pub max_negative_ttl: Duration,
    /// Who failed is tried last for so long at first.
    pub penalty: Duration,
    /// Who failed often is tried last for so long at most.
    pub max_penalty: Duration,
}

impl Default for LocatorConfig {
    fn default() -> Self {
        Self {
            max_lookups: 1_000,
            deadline: Duration::from_secs(15),
            max_ttl: Duration::from_secs(86_400),
            max_negative_ttl: Duration::from_secs(300),
            penalty: Duration::from_secs(30),
            max_penalty: Duration::from_secs(600),
        }
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocatorCounters {
    /// Questions sent to DNS that had records for an answer.
    pub answered: u64,
    /// Questions without records for an answer.
    pub empty: u64,
    /// Questions that the servers refused.
    pub failed: u64,
    /// Questions that nobody answered.
    pub timed_out: u64,
    /// Questions that the cache answered.
    pub cached: u64,
    /// Searches refused because of too many look-ups.
    pub refused: u64,
    /// Failures of hops.
    pub hop_failures: u64,
}

#[derive(Debug)]
struct Pending {
    search: Search,
    until: Instant,
}

/// A question on its way.
#[derive(Debug)]
struct Asked {
    /// If nothing has come by then, it got lost.
    until: Instant,
    /// Who waits for the answer.
    waiting: Vec<Ticket>,
}

/// Finds the addresses of URIs.
#[derive(Debug)]
pub struct Locator {
    config: LocatorConfig,
    support: Support,
    dns: Box<dyn Dns>,
    cache: Cache,
    penalties: PenaltyBox,
    random: Random,
    next_ticket: u64,
    searches: HashMap<Ticket, Pending>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    /// Questions on their way.
    asked: HashMap<Question, Asked>,
    done: VecDeque<(Ticket, Result<Vec<Hop>, LocateError>)>,
    counters: LocatorCounters,
}

impl Locator {
    /// A locator that knows nothing yet. `seed` shares load among servers; it is no secret.
    #[must_use]
    pub fn new(config: LocatorConfig, support: Support, dns: Box<dyn Dns>, seed: u64) -> Self {
        Self {
            penalties: PenaltyBox::new(config.penalty, config.max_penalty),
            config,
            support,
            dns,
            cache: Cache::default(),
            random: Random::new(seed),
            next_ticket: 1,
            searches: HashMap::new(),
            deadlines: BTreeSet::new(),
            asked: HashMap::new(),
            done: VecDeque::new(),
            counters: LocatorCounters::default(),
        }
    }

    /// Goes on with other limits; what is known stays.
    pub fn reconfigure(&mut self, config: LocatorConfig) {
        self.penalties.set_times(config.penalty, config.max_penalty);
        self.config = config;
    }

    /// The addresses that a URI leads to.
    pub fn locate(&mut self, now: Instant, uri: &Uri<'_>) -> Located {
        let mut search = Search::new(uri, &self.support, self.random.next_u64());
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        match self.advance(now, ticket, &mut search) {
            Some(Ok(hops)) => Located::Ready(hops),
            Some(Err(error)) => Located::Failed(error),
            None => {
                let until = now + self.config.deadline;
                self.searches.insert(ticket, Pending { search, until });
                self.deadlines.insert((until, ticket));
                Located::Pending(ticket)
            }
        }
    }

    /// The next search that is over, until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<(Ticket, Result<Vec<Hop>, LocateError>)> {
        if self.done.is_empty() && !self.asked.is_empty() {
            self.take_answers(now);
        }
        self.done.pop_front()
    }

    /// Nobody waits for this search any more.
    pub fn cancel(&mut self, ticket: Ticket) {
        if let Some(pending) = self.searches.remove(&ticket) {
            self.deadlines.remove(&(pending.until, ticket));
        }
        self.done.retain(|(it, _)| *it != ticket);
    }

    /// When [`Locator::handle_timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Ends searches that took too long; [`Locator::poll`] has them.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, ticket)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, ticket));
            let Some(pending) = self.searches.remove(&ticket) else { continue };
            for question in pending.search.questions() {
                if self.asked.get(question).is_some_and(|it| it.until <= now) {
                    self.asked.remove(question);
                }
            }
            self.done.push_back((ticket, Err(LocateError::DnsTimeout)));
        }
    }

    /// A hop failed: transport error, no answer, or 503. It is tried last for a while.
    pub fn note_failure(&mut self, now: Instant, hop: &Hop) {
        self.note_busy(now, hop, Duration::ZERO);
    }

    /// As [`Locator::note_failure`], of a hop that asks for rest: `Retry-After` of a 503 (RFC 3261
    /// §21.5.4), as far as the longest penalty goes.
    pub fn note_busy(&mut self, now: Instant, hop: &Hop, wish: Duration) {
        self.counters.hop_failures += 1;
        let penalty = self.penalties.failed(now, hop, wish);
        let (seconds, failures) = (penalty.until.since(now).as_secs(), penalty.failures);
        tracing::warn!(%hop, seconds, failures, "a server failed and is tried last for a while");
    }

    /// A hop answered.
    pub fn note_success(&mut self, hop: &Hop) {
        if self.penalties.answered(hop) {
            tracing::info!(%hop, "a server that had failed answers again");
        }
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &LocatorCounters {
        &self.counters
    }

    /// Questions on their way, and answers that are kept.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.asked.len(), self.cache.len())
    }

    /// Hops that are tried last now.
    #[must_use]
    pub fn penalties(&self, now: Instant) -> Vec<(Transport, SocketAddr, Penalty)> {
        let mut active: Vec<_> = self.penalties.active(now).collect();
        active.sort_by_key(|(transport, remote, _)| (*remote, *transport));
        active
    }

    /// Goes on as far as the cache knows, and asks for the rest.
    fn advance(
        &mut self,
        now: Instant,
        ticket: Ticket,
        search: &mut Search,
    ) -> Option<Result<Vec<Hop>, LocateError>> {
        loop {
            if let Some(outcome) = search.outcome() {
                return Some(outcome.clone().map(|targets| self.hops(now, &targets)));
            }
            let known = search.questions().iter().find_map(|question| {
                Some((question.clone(), self.cache.get(now, question)?.clone()))
            });
            let Some((question, answer)) = known else { break };
            self.counters.cached += 1;
            search.answer(&question, &answer);
        }
        for question in search.questions() {
            let on_its_way = self.asked.get_mut(question).filter(|it| it.until > now);
            if let Some(asked) = on_its_way {
                if !asked.waiting.contains(&ticket) {
                    asked.waiting.push(ticket);
                }
            } else if self.asked.len() < self.config.max_lookups && self.dns.ask(question) {
                let until = now + self.config.deadline;
                let asked = Asked { until, waiting: vec![ticket] };
                self.asked.insert(question.clone(), asked);
            } else {
                self.counters.refused += 1;
                return Some(Err(LocateError::Busy));
            }
        }
        None
    }

    fn hops(&self, now: Instant, targets: &[Target]) -> Vec<Hop> {
        let mut hops: Vec<Hop> = targets.iter().map(Hop::from).collect();
        self.penalties.sort(now, &mut hops);
        hops
    }

    fn take_answers(&mut self, now: Instant) {
        while let Some(dns::DnsAnswer { question, answer, ttl }) = self.dns.poll() {
            let (count, longest) = match &answer {
                Ok(_) => (&mut self.counters.answered, self.config.max_ttl),
                Err(NoAnswer::NoRecords) => {
                    (&mut self.counters.empty, self.config.max_negative_ttl)
                }
                Err(NoAnswer::Failed) => (&mut self.counters.failed, Duration::ZERO),
                Err(NoAnswer::TimedOut) => (&mut self.counters.timed_out, Duration::ZERO),
            };
            *count += 1;
            let answer = self.cache.put(now, &question, answer, ttl.min(longest));
            let waiting = self.asked.remove(&question).map(|it| it.waiting).unwrap_or_default();
            for ticket in waiting {
                let Some(mut pending) = self.searches.remove(&ticket) else { continue };
                pending.search.answer(&question, &answer);
                match self.advance(now, ticket, &mut pending.search) {
                    Some(outcome) => {
                        self.deadlines.remove(&(pending.until, ticket));
                        self.done.push_back((ticket, outcome));
                    }
                    None => {
                        self.searches.insert(ticket, pending);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
