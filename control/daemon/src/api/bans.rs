//! `/v1/bans`: who is banned, and the operator's hand in it.

use super::Sources;
use super::problem::Problem;
use crate::guard::{BanError, Source};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// Whom to ban.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    source: Source,
    /// For how long; guard.ban_max_s if it is not said.
    seconds: Option<u32>,
}

impl From<BanError> for Problem {
    fn from(error: BanError) -> Self {
        let status = match error {
            BanError::Trusted(_) => StatusCode::CONFLICT,
            BanError::NotBanned(_) => StatusCode::NOT_FOUND,
        };
        Self::new(status, error)
    }
}

pub(super) async fn list(
    State(sources): State<Sources>,
) -> Result<Json<serde_json::Value>, Problem> {
    let bans = sources.shared.bans().await?;
    Ok(Json(json!({ "bans": bans })))
}

// A page of somebody else cannot send JSON here without asking first, and nobody says yes.
pub(super) async fn add(
    State(sources): State<Sources>,
    wish: Result<Json<Wish>, JsonRejection>,
) -> Result<(StatusCode, Json<serde_json::Value>), Problem> {
    let Json(wish) = wish.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let length = wish.seconds.map(|s| Duration::from_secs(s.into()));
    sources.shared.ban(wish.source, length).await??;
    let bans = sources.shared.bans().await?;
    let ban = bans.into_iter().find(|ban| ban.source == wish.source);
    Ok((StatusCode::CREATED, Json(json!(ban))))
}

/// `address` is an IPv4 address, or an IPv6 address for its /64.
pub(super) async fn remove(
    State(sources): State<Sources>,
    Path(address): Path<String>,
) -> Result<StatusCode, Problem> {
    let source: Source =
        address.parse().map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error))?;
    sources.shared.forgive(source).await??;
    Ok(StatusCode::NO_CONTENT)
}
