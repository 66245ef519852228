//! Digits from leg to leg: a telephone-event (RFC 4733) becomes an INFO for a party that takes no
//! telephone-events. INFO itself is passed as it came.

use super::model::{Call, Cx, Side};
use tandem_signalling::method::Method;
use tandem_signalling::stack::Fields;

/// The body that phones and gateways understand most widely.
const DTMF_RELAY: &str = "application/dtmf-relay";

impl Call {
    /// Telephone-events are taken in place of a party that takes INFO alone, if the operator wants
    /// it: then the other one may send them.
    pub(super) fn take_digits_for(&self, cx: &mut Cx<'_>, leg: u8, info: Option<bool>) {
        if cx.world.settings.dtmf_info && info == Some(true) {
            cx.world.media.take_digits_for(self.key(), leg);
        }
    }

    /// A party pressed a key, which the engine saw in its media.
    pub(super) fn pass_digit(&self, cx: &mut Cx<'_>, leg: u8, digit: char, duration_ms: u32) {
        if self.winner.is_none() || !cx.world.settings.dtmf_info {
            return;
        }
        let to = if leg == self.leg(Side::Caller) { Side::Callee } else { Side::Caller };
        let reaches = cx.world.media.takes_digits(self.key(), self.leg(to));
        let Some(dialog) = self.dialog(to).filter(|_| !reaches) else { return };
        if self.peer(to).info != Some(true) {
            return;
        }
        let body = format!("Signal={digit}\r\nDuration={duration_ms}\r\n");
        let fields = Fields::new().body(DTMF_RELAY, body);
        let sent = cx.world.request_in_dialog(dialog, Method::Info, fields);
        if let Err(error) = sent {
            tracing::debug!(call = %self.id, %error, "a digit was not passed on");
        }
    }
}
