//! How long packets stay in Tandem: from arrival to the end of the send call.

use hdrhistogram::Histogram;
use tandem_contract::counters::WorkerCounters;

/// Times above this count as this, ns.
const MAX_NS: u64 = 10_000_000_000;

/// A histogram of fixed size with two significant digits.
#[derive(Debug)]
pub(crate) struct Residence {
    histogram: Histogram<u64>,
}

impl Residence {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, MAX_NS, 2);
        Self { histogram: histogram.expect("constant bounds that the histogram documents") }
    }

    #[inline]
    pub(crate) fn record(&mut self, ns: u64, count: u32) {
        // Never fails: the value is clamped into the bounds.
        let _ = self.histogram.record_n(ns.clamp(1, MAX_NS), u64::from(count));
    }

    /// Percentiles for the counters table.
    pub(crate) fn fill(&self, counters: &mut WorkerCounters) {
        if self.histogram.is_empty() {
            return;
        }
        counters.residence_p50_ns = self.histogram.value_at_quantile(0.5);
        counters.residence_p99_ns = self.histogram.value_at_quantile(0.99);
        counters.residence_p999_ns = self.histogram.value_at_quantile(0.999);
        counters.residence_max_ns = self.histogram.max();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_within_two_digits() {
        let mut residence = Residence::new();
        residence.record(10_000, 990);
        residence.record(200_000, 9);
        residence.record(u64::MAX, 1);
        let mut counters = WorkerCounters::default();
        residence.fill(&mut counters);
        assert!((9_900..=10_100).contains(&counters.residence_p50_ns));
        assert!((198_000..=202_000).contains(&counters.residence_p999_ns));
        assert!(counters.residence_max_ns >= 9_900_000_000);
    }
}
