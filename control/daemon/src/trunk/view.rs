//! Trunks as the API, the metrics and listings show them.

use serde::{Deserialize, Serialize};

/// How a trunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrunkState {
    /// It takes calls.
    Up,
    /// We want to be registered there and are not.
    Unregistered,
    /// It does not answer.
    Down,
    /// It failed lately, and is tried after others.
    Failing,
}

impl TrunkState {
    /// The name in JSON.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unregistered => "unregistered",
            Self::Down => "down",
            Self::Failing => "failing",
        }
    }
}

/// A trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkView {
    /// Name.
    pub name: String,
    /// Where calls go.
    pub peer: String,
    /// How it stands.
    pub state: TrunkState,
    /// Why, in words; `None` if it is up.
    pub why: Option<String>,
    /// Whether it registers.
    pub registers: bool,
    /// Time until the registration ends, s.
    pub registered_for_s: Option<u64>,
    /// Failed registrations in a row.
    pub registration_failures: u32,
    /// Way of requests to the provider, as it said.
    pub service_route: Vec<String>,
    /// Calls over it now.
    pub calls: u32,
    /// Most calls at the same time; `None` for any number.
    pub max_calls: Option<u32>,
    /// Figures since the daemon began.
    #[serde(flatten)]
    pub counters: TrunkCounters,
}

/// What was counted of a trunk since the daemon began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkCounters {
    /// Calls that it was tried for.
    pub calls_out: u64,
    /// Of these, those that it answered.
    pub answered_out: u64,
    /// Of these, those that went on to the next trunk.
    pub failed_over: u64,
    /// Calls that came from it.
    pub calls_in: u64,
    /// Calls that its limit stopped.
    pub limited: u64,
    /// Challenges that our credentials did not answer.
    pub credentials_refused: u64,
}
