//! The live line of each second.

use crate::cli::table::{decimals, figure};
use crate::snapshot::{CallView, LegView};

/// `  3 s  caller 50 pkt/s loss 0 jitter 0.2 ms MOS 4.4 | callee …`.
pub(super) fn line(second: u32, call: &CallView) -> String {
    let legs: Vec<String> = call.legs.iter().map(leg_text).collect();
    format!("{second:>3} s  {}", legs.join(" | "))
}

fn leg_text(leg: &LegView) -> String {
    let media = leg.media.first();
    format!(
        "{} {:>3} pkt/s  loss {}  jitter {} ms  MOS {}",
        leg.leg,
        figure(leg.rx_pps),
        figure(media.map(|media| media.lost)),
        decimals(media.and_then(|media| media.jitter_ms), 2),
        decimals(media.and_then(|media| media.mos), 2),
    )
}
