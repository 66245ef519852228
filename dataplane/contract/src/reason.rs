//! The doors of a packet: why it was absorbed, punted or dropped.
//!
//! Each reason has a counter, a severity and a sentence for people.

/// How bad a reason is when its counter grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Normal operation.
    Info,
    /// A peer or the network misbehaves.
    Warning,
    /// Tandem itself lacks something.
    Error,
}

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident, $key:literal, $severity:ident, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $(#[doc = $text] $(#[$vmeta])* $variant,)*
        }

        impl $name {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Name in metrics and JSON.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$variant => $key,)* }
            }

            /// A sentence for people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// How bad it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }
        }
    };
}

reasons! {
    /// Why a packet was dropped.
    DropReason {
        NoTermination, "no_termination", Info, "No call uses the local port (yet, or any more).";
        UnknownSource, "unknown_source", Warning, "The sender is not the confirmed party of the call.";
        NotLearnt, "not_learnt", Info, "The sender is a candidate that is not confirmed yet.";
        NotRtp, "not_rtp", Warning, "The bytes on an RTP port are neither RTP, RTCP, STUN nor DTLS.";
        BadRtp, "bad_rtp", Warning, "The RTP header is malformed (RFC 3550 §5.1).";
        BadRtcp, "bad_rtcp", Warning, "The RTCP packet is malformed (RFC 3550 §6, A.2).";
        TooLong, "too_long", Warning, "The packet is longer than the engine relays.";
        NoDestination, "no_destination", Info, "The other side's address is not known yet.";
        NoEdge, "no_edge", Info, "Nobody listens: the call is on hold or still ringing.";
        Blocked, "blocked", Info, "Control blocks what this party sends.";
        Dtls, "dtls", Warning, "A DTLS handshake on a call that is not keyed by DTLS.";
        Stun, "stun", Info, "A STUN message on a call without ICE.";
        SendFailed, "send_failed", Error, "The port did not take the packet (full queue or unreachable).";
    }
}

reasons! {
    /// Why a packet was absorbed.
    AbsorbReason {
        Mixed, "mixed", Info, "Its payload went into a mix.";
        Answered, "answered", Info, "The engine answered it itself.";
        Terminated, "terminated", Info, "The engine consumed it (RTCP on a leg whose reports are our own).";
    }
}

reasons! {
    /// Why a packet went up to control.
    PuntReason {
        Handshake, "handshake", Info, "A handshake that control conducts.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_documented_and_unique() {
        let mut keys: Vec<_> = DropReason::ALL.iter().map(|r| r.key()).collect();
        for reason in DropReason::ALL {
            assert!(reason.sentence().ends_with('.'));
            assert_eq!(DropReason::ALL[*reason as usize], *reason);
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), DropReason::COUNT);
    }
}
