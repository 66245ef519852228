//! What the API, the metrics and the screens see of a running daemon.
//!
//! The signalling thread owns all state; it publishes [`Stats`] about four times a second, answers
//! a [`Query`] when somebody asks, and tells every [`ControlEvent`] at once. Nobody else takes a
//! lock that it could wait for.

use crate::guard::{BanError, BanView, GuardStats, Source};
use crate::record::{CallRecord, LegReport, Registration};
use crate::route::RouteView;
use crate::trace::Trace;
use crate::trunk::{TrunkState, TrunkView};
use arc_swap::ArcSwap;
use core::time::Duration;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Events that a slow reader may lag behind before it is told that it lost some.
pub const EVENT_BACKLOG: usize = 4_096;
/// Questions that may wait for the signalling thread.
pub const QUERY_BACKLOG: usize = 64;

/// Where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// The INVITE is on its way.
    Trying,
    /// A phone rings.
    Ringing,
    /// The parties talk.
    Answered,
    /// It is answered and at least one party holds it.
    Held,
    /// It is being ended.
    Ending,
}

impl CallState {
    /// The name in JSON.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Ringing => "ringing",
            Self::Answered => "answered",
            Self::Held => "held",
            Self::Ending => "ending",
        }
    }
}

/// A call that exists now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallView {
    /// Tandem's id of the call: the id of its record later.
    pub id: String,
    /// Address of record of the caller.
    pub from: String,
    /// Address of record that was called.
    pub to: String,
    /// Where it is.
    pub state: CallState,
    /// When the INVITE came.
    pub started_at: Timestamp,
    /// When the first phone rang.
    pub ringing_at: Option<Timestamp>,
    /// When it was answered.
    pub answered_at: Option<Timestamp>,
    /// Time since the answer, ms; `None` before it.
    pub duration_ms: Option<u64>,
    /// Its legs: the caller first, then each branch that still exists.
    pub legs: Vec<LegView>,
}

/// One leg of a call that exists now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegView {
    /// `caller`, `callee`, `callee#2`, …
    pub leg: String,
    /// Call-ID of its dialog.
    pub call_id: String,
    /// SIP transport: `udp`, `tcp`; empty while the server is looked for.
    pub transport: String,
    /// SIP address of the party.
    pub remote: Option<SocketAddr>,
    /// Contact or request URI that was called.
    pub target: Option<String>,
    /// `trying`, `ringing`, `answered`, `held`, `ended`.
    pub state: CallState,
    /// Its media, one per media line; the totals since the call began.
    pub media: Vec<LegReport>,
    /// RTP packets per second received from the party, if whoever made the view had two looks.
    pub rx_pps: Option<u64>,
    /// RTP packets per second sent to the party, likewise.
    pub tx_pps: Option<u64>,
}

/// A registration as listings show it.
pub type RegistrationView = Registration;

/// Percentiles of the time that a packet stays in Tandem, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residence {
    /// Median.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile.
    pub p999_ns: u64,
    /// Maximum.
    pub max_ns: u64,
}

/// What the port lost or could not do: sums over the workers. None of it is among the drops, which
/// are packets that a worker had in its hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortLossesView {
    /// Packets that the kernel threw away because nobody read the socket in time.
    pub overflowed: u64,
    /// Times that a socket had to wait for a free packet buffer.
    pub starved: u64,
    /// Receives that failed.
    pub receive_errors: u64,
    /// Sockets that the kernel refused to receive on any more.
    pub dead_slots: u64,
    /// Packets thrown away because their socket was closed meanwhile.
    pub stale: u64,
    /// Packets that the kernel refused to send.
    pub send_failed: u64,
}

impl PortLossesView {
    /// Each figure with its name and a sentence about it.
    #[must_use]
    pub const fn figures(&self) -> [(&'static str, &'static str, u64); 6] {
        [
            (
                "overflowed",
                "packets that the kernel threw away because nobody read the socket in time",
                self.overflowed,
            ),
            ("starved", "times that a socket had to wait for a packet buffer", self.starved),
            ("receive_errors", "receives that failed", self.receive_errors),
            ("dead_slots", "sockets that the kernel receives on no more", self.dead_slots),
            ("stale", "packets whose socket was closed meanwhile", self.stale),
            ("send_failed", "packets that the kernel refused to send", self.send_failed),
        ]
    }
}

/// The engine: sums over its workers since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineView {
    /// Whether control is attached to a living engine.
    pub attached: bool,
    /// Kind of the port: `socket(io_uring)`, `socket(mmsg)`.
    pub port: Option<String>,
    /// Process id.
    pub pid: Option<u32>,
    /// Random number of the engine process; a new one means a new engine. Hexadecimal, because
    /// JSON readers round 64-bit integers.
    pub instance: Option<String>,
    /// How often control attached to this engine process.
    pub epoch: u64,
    /// Workers.
    pub workers: u32,
    /// When the figures were published, engine clock, ns; the mean of the workers. Rates are
    /// differences of totals over differences of this.
    #[serde(default)]
    pub published_ns: Option<u64>,
    /// Engines started or attached since this daemon began, less the first one.
    pub restarts: u64,
    /// Packets received.
    pub received: u64,
    /// Packets passed on.
    pub forwarded: u64,
    /// Packets that the engine consumed.
    pub absorbed: u64,
    /// Packets handed to control.
    pub punted: u64,
    /// Packets dropped, by reason; reasons that never occurred are left out.
    pub dropped: BTreeMap<String, u64>,
    /// What the port lost or could not do.
    #[serde(default)]
    pub port_losses: PortLossesView,
    /// Packets sent.
    pub sent: u64,
    /// Second and further copies.
    pub copies: u64,
    /// Packets that the engine made itself.
    pub originated: u64,
    /// Octets of UDP payload received.
    pub received_octets: u64,
    /// Octets of UDP payload sent.
    pub sent_octets: u64,
    /// Terminations that exist.
    pub terminations: u64,
    /// Endpoints bound and free.
    pub endpoints_free: u64,
    /// Endpoints that the open-files limit allows, all workers.
    pub endpoint_limit: u64,
    /// Turns of all workers.
    pub turns: u64,
    /// Turns that had packets.
    pub busy_turns: u64,
    /// Events that were lost because control did not read them in time.
    pub events_lost: u64,
    /// Time that packets stay in Tandem; the worst worker's.
    pub residence: Residence,
}

impl EngineView {
    /// Sum over the drop reasons.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// Counters of the SIP stack since the daemon began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipStats {
    /// Requests received, by method (unknown methods under `OTHER`).
    pub requests_received: BTreeMap<String, u64>,
    /// Requests sent, by method.
    pub requests_sent: BTreeMap<String, u64>,
    /// Responses received, by status.
    pub responses_received: BTreeMap<u16, u64>,
    /// Responses sent, by status.
    pub responses_sent: BTreeMap<u16, u64>,
    /// Messages that could not be read or were not allowed, by reason.
    pub malformed: BTreeMap<String, u64>,
    /// Requests received again and absorbed by their transaction.
    pub retransmissions_received: u64,
    /// Messages sent again.
    pub retransmissions_sent: u64,
    /// Transactions that ended without an answer.
    pub timeouts: u64,
    /// Sends that the transport refused.
    pub transport_errors: u64,
    /// Transactions that exist.
    pub transactions: u64,
    /// Dialogs that exist.
    pub dialogs: u64,
    /// TCP connections that exist.
    pub connections: u64,
    /// TCP connections that are over, by reason.
    #[serde(default)]
    pub connections_closed: BTreeMap<String, u64>,
    /// TCP connections that were refused because a table was full.
    #[serde(default)]
    pub connections_refused: u64,
    /// Empty lines and datagrams that keep the way through a NAT open.
    #[serde(default)]
    pub keepalives: u64,
    /// Messages that the kernel had no room for when they were sent; they are sent again.
    #[serde(default)]
    pub udp_dropped: u64,
    /// Requests that were challenged.
    pub auth_challenges: u64,
    /// Credentials that were wrong.
    pub auth_failures: u64,
}

/// A server that failed and is tried last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PenaltyView {
    /// SIP transport: `udp`, `tcp`, `tls`.
    pub transport: String,
    /// Its address.
    pub remote: SocketAddr,
    /// Failures in a row.
    pub failures: u32,
    /// For how long it is still tried last, s.
    pub seconds: u64,
}

/// How servers of other domains are found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocateStats {
    /// Questions to DNS by outcome: `answered`, `empty`, `failed`, `timed_out`.
    pub lookups: BTreeMap<String, u64>,
    /// Questions that the cache answered.
    pub cached: u64,
    /// Searches that a limit refused.
    pub refused: u64,
    /// Questions on their way.
    pub pending: u64,
    /// Answers that are kept.
    pub entries: u64,
    /// Failures of servers.
    pub hop_failures: u64,
    /// Servers that are tried last now.
    pub penalties: Vec<PenaltyView>,
}

/// The published figures: small, complete, never more than about a quarter of a second old.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Calls that exist and are not answered yet.
    pub calls_ringing: u64,
    /// Calls that exist and are answered.
    pub calls_answered: u64,
    /// Calls since the daemon began.
    pub calls_total: u64,
    /// Ended calls by final SIP status.
    pub calls_ended: BTreeMap<u16, u64>,
    /// Calls that a limit refused.
    pub calls_refused: u64,
    /// Contacts that are registered.
    pub registrations: u64,
    /// Version of the store's users that is in force.
    #[serde(default)]
    pub users_version: i64,
    /// The SIP stack.
    pub sip: SipStats,
    /// How other servers are found.
    #[serde(default)]
    pub locate: LocateStats,
    /// The guard.
    #[serde(default)]
    pub guard: GuardStats,
    /// The engine.
    pub engine: EngineView,
    /// The trunks.
    #[serde(default)]
    pub trunks: Vec<TrunkView>,
}

/// What happened, told as it happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ControlEvent {
    /// An INVITE was accepted for processing.
    CallStarted {
        /// The call.
        call: String,
        /// Caller.
        from: String,
        /// Called.
        to: String,
    },
    /// The first phone rings.
    CallRinging {
        /// The call.
        call: String,
    },
    /// It was answered.
    CallAnswered {
        /// The call.
        call: String,
    },
    /// A party holds or resumes.
    CallHeld {
        /// The call.
        call: String,
        /// Which leg.
        leg: String,
        /// Whether it now holds.
        held: bool,
    },
    /// It ended.
    CallEnded {
        /// Its record.
        record: Box<CallRecord>,
    },
    /// A contact was registered or refreshed.
    Registered {
        /// Address of record.
        aor: String,
        /// Contact URI.
        contact: String,
        /// Until when.
        expires_at: Timestamp,
    },
    /// A contact is gone.
    Unregistered {
        /// Address of record.
        aor: String,
        /// Contact URI.
        contact: String,
        /// Whether it ran out rather than was removed.
        expired: bool,
    },
    /// A party sends nothing.
    MediaTimeout {
        /// The call.
        call: String,
        /// Which leg.
        leg: String,
        /// For how long, ms.
        silent_ms: u32,
    },
    /// A digit was pressed (RFC 4733).
    Dtmf {
        /// The call.
        call: String,
        /// Which leg.
        leg: String,
        /// `0`–`9`, `*`, `#`, `A`–`D`.
        digit: char,
        /// For how long, ms.
        duration_ms: u32,
    },
    /// The address of a party's media is confirmed, or has moved.
    Latched {
        /// The call.
        call: String,
        /// Which leg.
        leg: String,
        /// The address.
        source: SocketAddr,
        /// Whether a confirmed one moved.
        moved: bool,
    },
    /// A trunk stands otherwise than before.
    Trunk {
        /// Its name.
        trunk: String,
        /// How it stands now.
        state: TrunkState,
        /// Why, if it is not up.
        why: String,
    },
    /// The engine came or went.
    Engine {
        /// Whether control is attached now.
        attached: bool,
        /// What happened.
        text: String,
    },
}

impl ControlEvent {
    /// Name of its type: the `event:` field of the stream.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::CallStarted { .. } => "call_started",
            Self::CallRinging { .. } => "call_ringing",
            Self::CallAnswered { .. } => "call_answered",
            Self::CallHeld { .. } => "call_held",
            Self::CallEnded { .. } => "call_ended",
            Self::Registered { .. } => "registered",
            Self::Unregistered { .. } => "unregistered",
            Self::MediaTimeout { .. } => "media_timeout",
            Self::Dtmf { .. } => "dtmf",
            Self::Latched { .. } => "latched",
            Self::Trunk { .. } => "trunk",
            Self::Engine { .. } => "engine",
        }
    }
}

/// An event with its number and time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NumberedEvent {
    /// Counts up from 1 with the daemon's start; a gap means lost events.
    pub id: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: ControlEvent,
}

/// A question to the signalling thread; it answers by the sender, at once.
#[derive(Debug)]
pub enum Query {
    /// All calls that exist.
    Calls(oneshot::Sender<Vec<CallView>>),
    /// One call by its id.
    Call(String, oneshot::Sender<Option<CallView>>),
    /// Bans in force.
    Bans(oneshot::Sender<Vec<BanView>>),
    /// Ban a source by hand.
    Ban {
        /// Whom.
        source: Source,
        /// For how long; `None` for the longest ban.
        length: Option<Duration>,
        /// Whether it was done.
        reply: oneshot::Sender<Result<(), BanError>>,
    },
    /// End the ban of a source.
    Forgive(Source, oneshot::Sender<Result<(), BanError>>),
    /// All trunks.
    Trunks(oneshot::Sender<Vec<TrunkView>>),
    /// Where a call would go.
    Route {
        /// What is dialled.
        number: String,
        /// Who dials: a user, or `trunk:NAME`.
        from: Option<String>,
        /// For the answer.
        reply: oneshot::Sender<RouteView>,
    },
    /// All contacts.
    Registrations(oneshot::Sender<Vec<RegistrationView>>),
}

/// Why a question got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too many questions wait.
    #[error("the signalling thread is busy, ask again in a moment")]
    Busy,
    /// The signalling thread has ended.
    #[error("the signalling thread is not running")]
    Gone,
}

/// What the signalling thread shares with the rest of the daemon.
pub struct Shared {
    stats: ArcSwap<Stats>,
    events: broadcast::Sender<Arc<NumberedEvent>>,
    next_event: AtomicU64,
    queries: mpsc::Sender<Query>,
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
    trace: Trace,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl Shared {
    /// The shared part without a trace, and the signalling thread's end of the questions.
    #[must_use]
    pub fn new() -> (Arc<Self>, mpsc::Receiver<Query>) {
        Self::with_trace(Trace::new(0, None))
    }

    /// As [`Shared::new`], with a trace.
    #[must_use]
    pub fn with_trace(trace: Trace) -> (Arc<Self>, mpsc::Receiver<Query>) {
        let (queries, receiver) = mpsc::channel(QUERY_BACKLOG);
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let shared = Self {
            stats: ArcSwap::default(),
            events,
            next_event: AtomicU64::new(1),
            queries,
            waker: OnceLock::new(),
            trace,
        };
        (Arc::new(shared), receiver)
    }

    /// The messages of the last minutes.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Sets what wakes the signalling thread when a question waits for it. Only the first call has
    /// an effect.
    pub fn wake_with(&self, waker: impl Fn() + Send + Sync + 'static) {
        let _ = self.waker.set(Box::new(waker));
    }

    /// Publishes new figures (signalling thread, about four times a second).
    pub fn publish(&self, stats: Stats) {
        self.stats.store(Arc::new(stats));
    }

    /// The figures published last.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.load_full()
    }

    /// Tells an event to all who listen; never blocks. The closure runs only if somebody does.
    pub fn tell(&self, event: impl FnOnce() -> ControlEvent) {
        let id = self.next_event.fetch_add(1, Ordering::Relaxed);
        if self.events.receiver_count() > 0 {
            let event = NumberedEvent { id, at: Timestamp::now(), event: event() };
            // Fails only if the last listener left meanwhile.
            let _ = self.events.send(Arc::new(event));
        }
    }

    /// Listens to events from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Arc<NumberedEvent>> {
        self.events.subscribe()
    }

    /// All calls that exist now.
    ///
    /// # Errors
    /// [`AskError`] if the signalling thread is overloaded or has ended.
    pub async fn calls(&self) -> Result<Vec<CallView>, AskError> {
        self.ask(Query::Calls).await
    }

    /// One call, `None` if it does not exist (any more).
    ///
    /// # Errors
    /// [`AskError`] if the signalling thread is overloaded or has ended.
    pub async fn call(&self, id: &str) -> Result<Option<CallView>, AskError> {
        self.ask(|reply| Query::Call(id.to_owned(), reply)).await
    }

    /// All trunks and how they stand.
    ///
    /// # Errors
    /// [`AskError`] if the signalling thread is overloaded or has ended.
    pub async fn trunks(&self) -> Result<Vec<TrunkView>, AskError> {
        self.ask(Query::Trunks).await
    }

    /// Where a call of `from` to a number would go now, and why.
    ///
    /// # Errors
    /// [`AskError`] if the signalling thread is overloaded or has ended.
    pub async fn route(&self, number: &str, from: Option<&str>) -> Result<RouteView, AskError> {
        let (number, from) = (number.to_owned(), from.map(str::to_owned));
        self.ask(|reply| Query::Route { number, from, reply }).await
    }

    /// All registered contacts.
    ///
    /// # Errors
    /// [`AskError`] if the signalling thread is overloaded or has ended.
    pub async fn registrations(&self) -> Result<Vec<RegistrationView>, AskError> {
        self.ask(Query::Registrations).await
    }

    /// Bans in force.
    ///
    /// # Errors
    /// [`AskError`] if the signalling thread is overloaded or has ended.
    pub async fn bans(&self) -> Result<Vec<BanView>, AskError> {
        self.ask(Query::Bans).await
    }

    /// Bans a source, for the longest time if none is given.
    ///
    /// # Errors
    /// [`AskError`] if the signalling thread is overloaded or has ended; inside, why it was not
    /// done.
    pub async fn ban(
        &self,
        source: Source,
        length: Option<Duration>,
    ) -> Result<Result<(), BanError>, AskError> {
        self.ask(|reply| Query::Ban { source, length, reply }).await
    }

    /// Ends the ban of a source.
    ///
    /// # Errors
    /// [`AskError`] if the signalling thread is overloaded or has ended; inside, why it was not
    /// done.
    pub async fn forgive(&self, source: Source) -> Result<Result<(), BanError>, AskError> {
        self.ask(|reply| Query::Forgive(source, reply)).await
    }

    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, AskError> {
        let (reply, answer) = oneshot::channel();
        self.queries.try_send(query(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskError::Busy,
            mpsc::error::TrySendError::Closed(_) => AskError::Gone,
        })?;
        if let Some(wake) = self.waker.get() {
            wake();
        }
        answer.await.map_err(|_| AskError::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn questions_reach_the_signalling_thread() {
        let (shared, mut queries) = Shared::new();
        let core = tokio::spawn(async move {
            while let Some(query) = queries.recv().await {
                match query {
                    Query::Calls(reply) => drop(reply.send(Vec::new())),
                    Query::Call(_, reply) => drop(reply.send(None)),
                    _ => {}
                }
            }
        });
        assert_eq!(shared.calls().await, Ok(Vec::new()));
        assert_eq!(shared.call("7").await, Ok(None));
        assert_eq!(shared.registrations().await, Err(AskError::Gone));
        core.abort();
        let _ = core.await;
        assert_eq!(shared.calls().await, Err(AskError::Gone));
    }

    #[tokio::test]
    async fn a_busy_signalling_thread_is_said() {
        let (shared, _queries) = Shared::new();
        let mut waiting = Vec::new();
        for _ in 0..QUERY_BACKLOG {
            let shared = shared.clone();
            waiting.push(tokio::spawn(async move { shared.calls().await }));
        }
        tokio::task::yield_now().await;
        while shared.queries.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(shared.calls().await, Err(AskError::Busy));
        for task in waiting {
            task.abort();
        }
    }

    #[test]
    fn events_are_numbered_even_if_nobody_listens() {
        let (shared, _queries) = Shared::new();
        shared.tell(|| unreachable!("nobody listens"));
        let mut listener = shared.listen();
        shared.tell(|| ControlEvent::CallRinging { call: "1".into() });
        let event = listener.try_recv().unwrap();
        assert_eq!(event.id, 2);
        let json = serde_json::to_value(&*event).unwrap();
        assert_eq!(json["type"], event.event.kind());
        assert_eq!(json["call"], "1");
    }
}
