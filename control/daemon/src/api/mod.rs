//! The HTTP API: what the daemon does, for programs; on loopback unless configured otherwise.
//!
//! | path | what it gives |
//! | --- | --- |
//! | `GET /v1/calls`, `/v1/calls/{id}` | calls that exist now |
//! | `GET /v1/records`, `/v1/records/{id}` | ended calls, newest first, page by page |
//! | `GET /v1/registrations` | registered contacts |
//! | `GET /v1/trace/{id}`, `/v1/trace/{id}/pcap` | the SIP messages of a call, also of one that has ended |
//! | `GET /v1/bans`; `POST` `{"source", "seconds"}`; `DELETE /v1/bans/{address}` | who is not listened to |
//! | `GET /v1/trunks` | trunks and how they stand |
//! | `GET /v1/route?number=…&from=…` | where a call would go, step by step |
//! | `GET /v1/engine`, `/v1/stats` | figures of the media engine, and of everything |
//! | `GET /v1/events` | what happens, as server-sent events |
//! | `GET /metrics` | the same figures for Prometheus (OpenMetrics) |
//! | `GET /healthz` | 200 when engine and store work, else 503 with what is wrong |
//!
//! Errors are problem documents (RFC 9457).

mod bans;
pub mod events;
pub mod metrics;
pub mod problem;
mod records;
mod routing;
mod trace;

use crate::journal::Journal;
use crate::snapshot::Shared;
use crate::store::Store;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get};
use problem::Problem;
use serde_json::json;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

/// What the API reads from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The signalling thread.
    pub shared: Arc<Shared>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The journal.
    pub journal: Journal,
    /// Whether other host names than addresses and `localhost` are served.
    pub allow_remote: bool,
    /// Event streams that are open.
    streams: Arc<AtomicUsize>,
}

impl Sources {
    /// The sources of the API.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        store: Arc<dyn Store>,
        journal: Journal,
        allow_remote: bool,
    ) -> Self {
        Self { shared, store, journal, allow_remote, streams: Arc::new(AtomicUsize::new(0)) }
    }

    /// Runs a question to the store where it may wait.
    async fn ask_store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Store) -> Result<T, crate::store::StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || ask(store.as_ref())).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error)),
            Err(_) => {
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the store did not answer"))
            }
        }
    }
}

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "HTTP cannot listen on {address}: {source}. End what uses it (ss -tlpn shows it), or set http.listen to another address (port 0 takes a free one)"
)]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// The system's answer.
    pub source: io::Error,
}

/// Binds the address of the API.
///
/// # Errors
/// [`BindError`] if it is in use or not ours.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Serves the API until the future is dropped.
///
/// # Errors
/// The system's answer if the listener fails.
pub async fn serve(listener: TcpListener, sources: Sources) -> io::Result<()> {
    axum::serve(listener, router(sources)).await
}

/// The routes.
pub fn router(sources: Sources) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/v1/calls", get(calls))
        .route("/v1/calls/{id}", get(call))
        .route("/v1/records", get(records::list))
        .route("/v1/records/{id}", get(records::one))
        .route("/v1/registrations", get(registrations))
        .route("/v1/trace/{id}", get(trace::messages))
        .route("/v1/trace/{id}/pcap", get(trace::capture))
        .route("/v1/bans", get(bans::list).post(bans::add))
        .route("/v1/bans/{address}", delete(bans::remove))
        .route("/v1/trunks", get(routing::trunks))
        .route("/v1/route", get(routing::route))
        .route("/v1/engine", get(engine))
        .route("/v1/stats", get(stats))
        .route("/v1/events", get(events::stream))
        .route("/metrics", get(metrics::scrape))
        .route("/healthz", get(healthz))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(sources.clone(), guard_host))
        .with_state(sources)
}

/// Refuses requests that a browser was tricked into (DNS rebinding): their Host is a name that
/// somebody else owns.
async fn guard_host(State(sources): State<Sources>, request: Request, next: Next) -> Response {
    if sources.allow_remote || host_is_local(request.headers()) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "the Host header must be an address or localhost; set http.allow_remote = true for other names",
    )
    .into_response()
}

fn host_is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || name.parse::<IpAddr>().is_ok()
}

async fn index() -> Json<serde_json::Value> {
    Json(json!({
        "name": "tandem",
        "version": env!("CARGO_PKG_VERSION"),
        "paths": [
            "/v1/calls", "/v1/calls/{id}", "/v1/records", "/v1/records/{id}",
            "/v1/registrations", "/v1/trunks", "/v1/route", "/v1/bans", "/v1/bans/{address}", "/v1/trace/{id}", "/v1/trace/{id}/pcap",
            "/v1/engine", "/v1/stats", "/v1/events", "/metrics", "/healthz",
        ],
    }))
}

async fn not_found(request: Request) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("there is no {}; GET / lists the paths", request.uri().path()),
    )
}

async fn wrong_method(request: Request) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {}", request.uri().path(), request.method()),
    )
}

async fn calls(State(sources): State<Sources>) -> Result<Json<serde_json::Value>, Problem> {
    let calls = sources.shared.calls().await?;
    Ok(Json(json!({ "calls": calls })))
}

async fn call(State(sources): State<Sources>, Path(id): Path<String>) -> Result<Response, Problem> {
    match sources.shared.call(&id).await? {
        Some(call) => Ok(Json(call).into_response()),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no call of this id exists now; if it has ended, /v1/records/{id} has its record",
        )),
    }
}

async fn registrations(State(sources): State<Sources>) -> Result<Json<serde_json::Value>, Problem> {
    let registrations = sources.shared.registrations().await?;
    Ok(Json(json!({ "registrations": registrations })))
}

async fn engine(State(sources): State<Sources>) -> Response {
    Json(&sources.shared.stats().engine).into_response()
}

async fn stats(State(sources): State<Sources>) -> Response {
    Json(&*sources.shared.stats()).into_response()
}

async fn healthz(State(sources): State<Sources>) -> Response {
    let mut problems = Vec::new();
    let attached = sources.shared.stats().engine.attached;
    if !attached {
        problems.push("no media engine is attached: calls are refused with 503".to_owned());
    }
    let store = sources.ask_store(|store| store.users_version()).await;
    if let Err(problem) = &store {
        problems.push(problem.detail().to_owned());
    }
    let counters = sources.journal.counters();
    let unwritten = counters.unwritten.load(Ordering::Relaxed);
    if unwritten > 0 {
        problems.push(format!(
            "the journal cannot be written, {unwritten} entries wait in memory: free disk space in the data folder"
        ));
    }
    let ok = problems.is_empty();
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if ok { "ok" } else { "degraded" },
        "engine": attached,
        "store": store.is_ok(),
        "journal": unwritten == 0,
        "problems": problems,
    });
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests;
