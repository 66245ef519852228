//! The live line of each second.

use crate::cli::table::{decimals, figure};
use crate::snapshot::{CallView, LegView};

/// `  3 s  caller  50 pkt/s  loss 0  jitter 0.20 ms  MOS 4.40 | callee …`.
pub(super) fn line(second: u32, call: &CallView) -> String {
    let legs: Vec<String> = call.legs.iter().map(leg_text).collect();
    format!("{second:>3} s  {}", legs.join(" | "))
}

fn leg_text(leg: &LegView) -> String {
    // Before the engine's first figures of a leg nothing is known, not even a rate.
    let media = leg.media.first().filter(|media| media.rx_packets > 0);
    format!(
        "{} {:>3} pkt/s  loss {}  jitter {} ms  MOS {}",
        leg.leg,
        figure(media.and(leg.rx_pps)),
        figure(media.map(|media| media.lost)),
        decimals(media.and_then(|media| media.jitter_ms), 2),
        decimals(media.and_then(|media| media.mos), 2),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::LegReport;
    use crate::snapshot::CallState;

    #[test]
    fn a_line_has_both_legs_and_dashes_for_the_unknown() {
        let leg = |name: &str, media| LegView {
            leg: name.into(),
            call_id: String::new(),
            transport: "udp".into(),
            remote: None,
            target: None,
            state: CallState::Answered,
            media,
            rx_pps: Some(50),
            tx_pps: None,
        };
        let heard =
            LegReport { jitter_ms: Some(0.25), lost: 2, rx_packets: 350, ..LegReport::default() };
        let call = CallView {
            id: "1".into(),
            from: String::new(),
            to: String::new(),
            state: CallState::Answered,
            started_at: jiff::Timestamp::UNIX_EPOCH,
            ringing_at: None,
            answered_at: None,
            duration_ms: None,
            legs: vec![leg("caller", vec![heard]), leg("callee", vec![])],
        };
        assert_eq!(
            line(7, &call),
            "  7 s  caller  50 pkt/s  loss 2  jitter 0.25 ms  MOS - | callee   - pkt/s  loss -  jitter - ms  MOS -"
        );
    }
}
