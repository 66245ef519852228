//! `/v1/trace/{id}`: the SIP messages of a call.

use super::Sources;
use super::problem::Problem;
use crate::trace::{TracedCall, pcap};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};

/// Searches where it may take a few milliseconds.
async fn find(sources: &Sources, id: String) -> Result<TracedCall, Problem> {
    let shared = sources.shared.clone();
    let found = tokio::task::spawn_blocking(move || shared.trace().find(&id)).await;
    match found {
        Ok(Some(call)) => Ok(call),
        Ok(None) => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no message of this call is kept: `id` is the id of a call or record, or a Call-ID; trace.memory_mib says how much is kept (0 for nothing)",
        )),
        Err(_) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the search failed")),
    }
}

/// The messages.
pub(super) async fn messages(
    State(sources): State<Sources>,
    Path(id): Path<String>,
) -> Result<Json<TracedCall>, Problem> {
    find(&sources, id).await.map(Json)
}

/// The same as a capture file.
pub(super) async fn capture(
    State(sources): State<Sources>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let call = find(&sources, id).await?;
    let file = pcap::file(&call)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    Ok(([(header::CONTENT_TYPE, "application/vnd.tcpdump.pcap")], file).into_response())
}
