//! `/v1/trunks` and `/v1/route`.

use super::Sources;
use super::problem::Problem;
use crate::route::RouteView;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde_json::json;

/// Longest number and caller, octets.
const MAX_TEXT: usize = 255;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    number: String,
    from: Option<String>,
}

pub(super) async fn trunks(
    State(sources): State<Sources>,
) -> Result<Json<serde_json::Value>, Problem> {
    let trunks = sources.shared.trunks().await?;
    Ok(Json(json!({ "trunks": trunks })))
}

pub(super) async fn route(
    State(sources): State<Sources>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<RouteView>, Problem> {
    let Query(asked) = asked.map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("{error}: ask /v1/route?number=NUMBER, and &from=USER or &from=trunk:NAME"),
        )
    })?;
    let texts = [Some(&asked.number), asked.from.as_ref()];
    if texts.into_iter().flatten().any(|text| text.is_empty() || text.len() > MAX_TEXT) {
        let text = format!("number and from have 1 to {MAX_TEXT} octets");
        return Err(Problem::new(StatusCode::BAD_REQUEST, text));
    }
    Ok(Json(sources.shared.route(&asked.number, asked.from.as_deref()).await?))
}
