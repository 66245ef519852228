//! `/v1/records`: ended calls.

use super::Sources;
use super::problem::Problem;
use crate::record::CallRecord;
use crate::store::{Cursor, MAX_PAGE, RecordQuery};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

/// Parameters of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Parameters {
    limit: Option<usize>,
    before: Option<String>,
    party: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    status: Option<u16>,
}

impl TryFrom<Parameters> for RecordQuery {
    type Error = Problem;

    fn try_from(parameters: Parameters) -> Result<Self, Problem> {
        let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
        if parameters.limit.is_some_and(|limit| limit == 0 || limit > MAX_PAGE) {
            return Err(bad(format!("limit: 1 to {MAX_PAGE}")));
        }
        let before = match parameters.before {
            Some(text) => {
                Some(text.parse::<Cursor>().map_err(|error| bad(format!("before: {error}")))?)
            }
            None => None,
        };
        Ok(Self {
            limit: parameters.limit.unwrap_or_default(),
            before,
            party: parameters.party.filter(|party| !party.is_empty()),
            since: parameters.since,
            until: parameters.until,
            status: parameters.status,
        })
    }
}

/// A page of records.
pub(super) async fn list(
    State(sources): State<Sources>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<serde_json::Value>, Problem> {
    let Query(parameters) = parameters
        .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    let query = RecordQuery::try_from(parameters)?;
    let page = sources.ask_store(move |store| store.records(&query)).await?;
    let next = page.next.map(|cursor| cursor.to_string());
    Ok(Json(json!({ "records": page.records, "next": next })))
}

/// One record.
pub(super) async fn one(
    State(sources): State<Sources>,
    Path(id): Path<String>,
) -> Result<Json<CallRecord>, Problem> {
    let record = sources.ask_store(move |store| store.record(&id)).await?;
    record.map(Json).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no record of this id; a call that still exists is under /v1/calls/{id}",
        )
    })
}
