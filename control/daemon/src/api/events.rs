//! `/v1/events`: what happens, as server-sent events.
//!
//! Each event has the number of [`NumberedEvent`] as its `id`, its type as `event`, and JSON as
//! `data`. A reader that is too slow gets a `lagged` event with how many it lost, and goes on from
//! there; so does one that comes back with `Last-Event-ID`. `?types=call_ended,engine` asks for
//! some types alone.

use super::Sources;
use super::problem::Problem;
use crate::snapshot::NumberedEvent;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_core::Stream;
use serde::Deserialize;
use serde_json::json;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Streams that may be open at the same time.
pub const MAX_STREAMS: usize = 64;
/// A comment is sent after this time without events, so that proxies keep the stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Types of events that `?types=` knows.
pub const TYPES: &[&str] = &[
    "call_started",
    "call_ringing",
    "call_answered",
    "call_held",
    "call_ended",
    "registered",
    "unregistered",
    "media_timeout",
    "dtmf",
    "latched",
    "engine",
];

/// Parameters of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Parameters {
    types: Option<String>,
}

type Received = (Result<Arc<NumberedEvent>, RecvError>, Receiver<Arc<NumberedEvent>>);

/// One open stream.
struct Events {
    /// Number seen last by the reader, if it came back.
    seen: Option<u64>,
    types: Option<Vec<String>>,
    waiting: Pin<Box<dyn Future<Output = Received> + Send>>,
    _slot: Slot,
}

/// A place among [`MAX_STREAMS`].
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < MAX_STREAMS).then_some(open + 1)
        })
        .ok()?;
        Some(Self(open.clone()))
    }
}

fn receive(
    mut receiver: Receiver<Arc<NumberedEvent>>,
) -> Pin<Box<dyn Future<Output = Received> + Send>> {
    Box::pin(async move {
        let result = receiver.recv().await;
        (result, receiver)
    })
}

fn lagged(lost: Option<u64>) -> Event {
    Event::default().event("lagged").data(json!({ "type": "lagged", "lost": lost }).to_string())
}

impl Events {
    /// What an arrived event means for this reader.
    fn take(&self, event: &NumberedEvent) -> Option<Event> {
        let kind = event.event.kind();
        if self.types.as_ref().is_some_and(|types| !types.iter().any(|wanted| wanted == kind)) {
            return None;
        }
        let data = serde_json::to_string(event).unwrap_or_default();
        Some(Event::default().id(event.id.to_string()).event(kind).data(data))
    }
}

impl Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.seen.take().is_some() {
            // What happened between the two streams is not kept.
            return Poll::Ready(Some(Ok(lagged(None))));
        }
        loop {
            let (result, receiver) = match self.waiting.as_mut().poll(context) {
                Poll::Ready(received) => received,
                Poll::Pending => return Poll::Pending,
            };
            self.waiting = receive(receiver);
            match result {
                Ok(event) => {
                    if let Some(event) = self.take(&event) {
                        return Poll::Ready(Some(Ok(event)));
                    }
                }
                Err(RecvError::Lagged(lost)) => return Poll::Ready(Some(Ok(lagged(Some(lost))))),
                Err(RecvError::Closed) => return Poll::Ready(None),
            }
        }
    }
}

/// The stream of one reader.
pub(super) async fn stream(
    State(sources): State<Sources>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let Query(parameters) = parameters
        .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    let types = parameters.types.map(|types| -> Result<Vec<String>, Problem> {
        let types: Vec<String> = types.split(',').map(|kind| kind.trim().to_owned()).collect();
        match types.iter().find(|kind| !TYPES.contains(&kind.as_str())) {
            Some(unknown) => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                format!("types: `{unknown}` is unknown; there are {}", TYPES.join(", ")),
            )),
            None => Ok(types),
        }
    });
    let slot = Slot::take(&sources.streams).ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{MAX_STREAMS} event streams are open already: close one"),
        )
    })?;
    let seen = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(|id| id.parse::<u64>().ok());
    let events = Events {
        seen,
        types: types.transpose()?,
        waiting: receive(sources.shared.listen()),
        _slot: slot,
    };
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
