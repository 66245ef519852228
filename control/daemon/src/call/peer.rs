//! What a party said of itself by Allow and Supported.

use serde::{Deserialize, Serialize};
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;

/// What a party can do, as far as it said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Peer {
    /// Takes UPDATE (RFC 3311); `None` if it never listed what it takes.
    pub(super) update: Option<bool>,
    /// Takes INFO.
    pub(super) info: Option<bool>,
    /// Keeps session timers (RFC 4028).
    pub(super) timer: bool,
}

impl Peer {
    /// It has said nothing yet.
    pub(super) const NONE: Self = Self { update: None, info: None, timer: false };

    /// What the first message of a party says.
    pub(super) fn of(message: &Message) -> Self {
        let mut peer = Self::NONE;
        peer.learn(message);
        peer
    }

    /// Takes over what a message says; what it does not mention stays.
    pub(super) fn learn(&mut self, message: &Message) {
        if message.has(Header::Allow) {
            self.update = Some(message.lists(Header::Allow, "UPDATE"));
            self.info = Some(message.lists(Header::Allow, "INFO"));
        }
        if has_option(message, "timer") {
            self.timer = true;
        } else if message.has(Header::Supported) {
            self.timer = false;
        }
    }
}

/// Whether a party supports or requires an extension.
pub(super) fn has_option(message: &Message, option: &str) -> bool {
    message.lists(Header::Supported, option) || message.lists(Header::Require, option)
}
