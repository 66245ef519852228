//! The figures of trunks.

use super::Out;
use crate::trunk::{TrunkState, TrunkView};
use prometheus_client::metrics::MetricType;
use std::fmt::Error;

/// A figure of a trunk.
type Figure = fn(&TrunkView) -> u64;

const GAUGES: [(&str, &str, Figure); 2] = [
    ("trunk_up", "1 while a trunk takes calls", |it| {
        u64::from(matches!(it.state, TrunkState::Up | TrunkState::Failing))
    }),
    ("trunk_calls", "Calls over a trunk", |it| it.calls.into()),
];

const COUNTERS: [(&str, &str, Figure); 6] = [
    ("trunk_calls_out", "Calls that a trunk was tried for", |it| it.counters.calls_out),
    ("trunk_answered_out", "Calls out that a trunk answered", |it| it.counters.answered_out),
    ("trunk_failed_over", "Calls that went on to the next trunk", |it| it.counters.failed_over),
    ("trunk_calls_in", "Calls that came from a trunk", |it| it.counters.calls_in),
    ("trunk_limited", "Calls that max_calls of a trunk stopped", |it| it.counters.limited),
    ("trunk_credentials_refused", "Challenges that our credentials did not answer", |it| {
        it.counters.credentials_refused
    }),
];

impl Out<'_> {
    /// Of each trunk: whether it takes calls, its calls, and what was counted.
    pub(super) fn trunks(&mut self, trunks: &[TrunkView]) -> Result<(), Error> {
        for (name, help, figure) in GAUGES {
            let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for trunk in trunks {
                let value = i64::try_from(figure(trunk)).unwrap_or(i64::MAX);
                metric.encode_family(&[("trunk", trunk.name.as_str())])?.encode_gauge(&value)?;
            }
        }
        for (name, help, figure) in COUNTERS {
            let values = trunks.iter().map(|it| (it.name.clone(), figure(it))).collect();
            self.counters(name, help, "trunk", &values)?;
        }
        Ok(())
    }
}
