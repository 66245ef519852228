//! Figures as JSON and as tables.

use super::SipArgs;
use super::generator::Done;
use super::sipp::Outcome;
use super::usage::Split;
use serde::Serialize;
use std::fmt;

/// What the goals of the project say.
const GOAL_RATIO: f64 = 4.0;
const GOAL_CALL_BYTES: f64 = 6.0 * 1024.0;
const GOAL_REGISTRATION_BYTES: f64 = 1024.0;

/// What was measured of one contender, over all its runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) completed: u64,
    failed: u64,
    retransmissions: u64,
    control_s: f64,
    media_s: f64,
    delays_ns: Vec<u64>,
    held: Option<Split>,
    registration: Option<f64>,
}

impl Figures {
    /// One run: usage before and after, what sipp and the generator counted.
    pub(super) fn of(before: &Split, after: &Split, outcome: &Outcome, probed: Done) -> Self {
        Self {
            completed: outcome.completed + probed.completed,
            failed: outcome.failed + probed.failed,
            retransmissions: outcome.retransmissions + probed.retransmissions,
            control_s: after.control.cpu_s - before.control.cpu_s,
            media_s: after.media.cpu_s - before.media.cpu_s,
            delays_ns: probed.delays_ns,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, run: Self) {
        self.completed += run.completed;
        self.failed += run.failed;
        self.retransmissions += run.retransmissions;
        self.control_s += run.control_s;
        self.media_s += run.media_s;
        self.delays_ns.extend(run.delays_ns);
    }

    pub(super) fn hold(&mut self, each: &Split) {
        self.held = Some(*each);
    }

    pub(super) fn register(&mut self, memory: f64) {
        self.registration = Some(memory);
    }

    /// Processor time per completed call, µs.
    pub(super) fn cpu_us_per_call(&self) -> f64 {
        (self.control_s + self.media_s) * 1e6 / self.completed.max(1) as f64
    }
}

/// One contender in the report.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Side {
    /// Calls per CPU-second.
    cps_per_core: f64,
    cpu_us_per_call: f64,
    /// The part of the processes that carry media.
    media_cpu_us_per_call: f64,
    pdd_median_ms: f64,
    pdd_p99_ms: f64,
    /// Signalling's memory per established call.
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_per_call_bytes: Option<f64>,
    /// The media processes' memory per established call.
    #[serde(skip_serializing_if = "Option::is_none")]
    media_rss_per_call_bytes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_per_registration_bytes: Option<f64>,
    completed: u64,
    failed: u64,
    retransmissions: u64,
}

impl Side {
    pub(super) fn of(figures: &Figures) -> Self {
        let cpu_us_per_call = figures.cpu_us_per_call();
        let mut delays = figures.delays_ns.clone();
        delays.sort_unstable();
        let delay_ms = |share: f64| {
            let place = share * delays.len().saturating_sub(1) as f64;
            #[expect(clippy::cast_possible_truncation, reason = "below the length")]
            #[expect(clippy::cast_sign_loss, reason = "not negative")]
            let place = place.round() as usize;
            round(delays.get(place).copied().unwrap_or(0) as f64 / 1e6, 3)
        };
        Self {
            cps_per_core: round(1e6 / cpu_us_per_call, 0),
            cpu_us_per_call: round(cpu_us_per_call, 1),
            media_cpu_us_per_call: round(
                figures.media_s * 1e6 / figures.completed.max(1) as f64,
                1,
            ),
            pdd_median_ms: delay_ms(0.5),
            pdd_p99_ms: delay_ms(0.99),
            rss_per_call_bytes: figures.held.map(|it| it.control.memory.round()),
            media_rss_per_call_bytes: figures.held.map(|it| it.media.memory.round()),
            rss_per_registration_bytes: figures.registration.map(f64::round),
            completed: figures.completed,
            failed: figures.failed,
            retransmissions: figures.retransmissions,
        }
    }

    const fn is_clean(&self) -> bool {
        self.failed == 0 && self.retransmissions == 0 && self.completed > 0
    }
}

/// Signalling without media.
#[derive(Clone, Debug, Default, Serialize)]
struct Alone {
    tandem: Side,
    kamailio: Side,
    ratio_cps_per_core: f64,
}

/// The whole comparison.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    tandem: Side,
    kamailio_rtpengine: Side,
    ratio_cps_per_core: f64,
    signalling_alone: Alone,
    rate_cps: u32,
    rounds: u32,
    goal_ratio: f64,
    goal_rss_per_call_bytes: f64,
    goal_rss_per_registration_bytes: f64,
}

impl Report {
    pub(super) fn new(args: &SipArgs, tandem: Side, peer: Side) -> Self {
        Self {
            ratio_cps_per_core: ratio(&tandem, &peer),
            tandem,
            kamailio_rtpengine: peer,
            signalling_alone: Alone::default(),
            rate_cps: args.rate,
            rounds: args.rounds,
            goal_ratio: GOAL_RATIO,
            goal_rss_per_call_bytes: GOAL_CALL_BYTES,
            goal_rss_per_registration_bytes: GOAL_REGISTRATION_BYTES,
        }
    }

    pub(super) fn with_alone(mut self, tandem: Side, kamailio: Side) -> Self {
        let ratio_cps_per_core = ratio(&tandem, &kamailio);
        self.signalling_alone = Alone { tandem, kamailio, ratio_cps_per_core };
        self
    }

    /// Whether no call failed and nothing was sent again.
    pub(super) const fn is_clean(&self) -> bool {
        let alone = &self.signalling_alone;
        self.tandem.is_clean()
            && self.kamailio_rtpengine.is_clean()
            && alone.tandem.is_clean()
            && alone.kamailio.is_clean()
    }
}

fn ratio(tandem: &Side, peer: &Side) -> f64 {
    round(tandem.cps_per_core / peer.cps_per_core, 2)
}

/// Rounded for people, and kept a number of JSON.
fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    if value.is_finite() { (value * scale).round() / scale } else { 0.0 }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alone = &self.signalling_alone;
        let columns = [&self.tandem, &self.kamailio_rtpengine, &alone.tandem, &alone.kamailio];
        let heads = ["tandem", "kamailio+rtpengine", "tandem, no media", "kamailio alone"];
        writeln!(f, "{:<30}{}", "", heads.map(|head| format!("{head:>20}")).concat())?;
        type Get = fn(&Side) -> Option<f64>;
        let rows: [(&str, Get); 10] = [
            ("calls per CPU-second", |s| Some(s.cps_per_core)),
            ("CPU per call, µs", |s| Some(s.cpu_us_per_call)),
            ("  of it media, µs", |s| Some(s.media_cpu_us_per_call)),
            ("post-dial delay, median, ms", |s| Some(s.pdd_median_ms)),
            ("post-dial delay, p99, ms", |s| Some(s.pdd_p99_ms)),
            ("octets per call", |s| s.rss_per_call_bytes),
            ("octets per call, media", |s| s.media_rss_per_call_bytes),
            ("octets per registration", |s| s.rss_per_registration_bytes),
            ("calls", |s| Some(s.completed as f64)),
            ("failed + sent again", |s| Some((s.failed + s.retransmissions) as f64)),
        ];
        for (name, get) in rows {
            let cells = columns.map(|side| match get(side) {
                Some(value) => format!("{value:>20}"),
                None => format!("{:>20}", "–"),
            });
            writeln!(f, "{name:<30}{}", cells.concat())?;
        }
        writeln!(
            f,
            "calls per CPU-second: {} times the peer with media, {} times signalling alone \
             (goal {}), at {} calls per second",
            self.ratio_cps_per_core, alone.ratio_cps_per_core, self.goal_ratio, self.rate_cps
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(completed: u64, cpu_s: f64) -> Figures {
        Figures {
            completed,
            control_s: cpu_s,
            delays_ns: vec![3_000_000, 1_000_000],
            ..Default::default()
        }
    }

    #[test]
    fn the_ratio_is_of_calls_per_cpu_second() {
        let (ours, theirs) = (Side::of(&figures(1_000, 0.1)), Side::of(&figures(1_000, 0.5)));
        assert_eq!((ours.cps_per_core, theirs.cps_per_core), (10_000.0, 2_000.0));
        assert_eq!(ratio(&ours, &theirs), 5.0);
        assert_eq!((ours.pdd_median_ms, ours.pdd_p99_ms), (3.0, 3.0));
    }

    #[test]
    fn runs_add_up_and_failures_are_not_clean() {
        let mut sum = figures(1, 1.0);
        sum.add(figures(2, 0.5));
        assert_eq!((sum.completed, sum.control_s, sum.delays_ns.len()), (3, 1.5, 4));
        assert!(Side::of(&sum).is_clean());
        sum.add(Figures { retransmissions: 1, ..Figures::default() });
        assert!(!Side::of(&sum).is_clean());
        assert!(!Side::of(&Figures::default()).is_clean());
    }
}
