//! The figures that the signalling thread publishes.

use super::switch::Switch;
use crate::locate::Penalty;
use crate::net::Net;
use crate::snapshot::{LocateStats, PenaltyView, SipStats, Stats};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tandem_signalling::stack::Transport;

/// Servers in the penalty box that the figures name at most.
const PENALTIES_SHOWN: usize = 100;

impl Switch {
    /// The figures as they are now.
    #[must_use]
    pub fn stats(&self, net: Option<&Net>) -> Stats {
        let (calls_ringing, calls_answered) = self.calls.gauges();
        let totals = self.calls.totals();
        Stats {
            calls_ringing,
            calls_answered,
            calls_total: totals.started,
            calls_ended: totals.ended.clone(),
            calls_refused: totals.refused,
            registrations: self.world.registrar.len() as u64,
            users_version: self.world.registrar.users_version(),
            sip: self.sip_stats(net),
            locate: self.locate_stats(),
            guard: self.world.guard.stats(self.world.now),
            engine: self.world.media.engine_view(),
            trunks: self.world.trunks.views(self.world.now),
        }
    }

    fn locate_stats(&self) -> LocateStats {
        let locator = &self.world.locator;
        let counters = locator.counters();
        let (pending, entries) = locator.sizes();
        let lookups = [
            ("answered", counters.answered),
            ("empty", counters.empty),
            ("failed", counters.failed),
            ("timed_out", counters.timed_out),
        ];
        let now = self.world.now;
        let penalties = locator.penalties(now);
        let view = |(transport, remote, penalty): &(Transport, SocketAddr, Penalty)| PenaltyView {
            transport: transport.via_name().to_ascii_lowercase(),
            remote: *remote,
            failures: penalty.failures,
            seconds: penalty.until.since(now).as_secs(),
        };
        LocateStats {
            lookups: lookups.map(|(name, count)| (name.to_owned(), count)).into(),
            cached: counters.cached,
            refused: counters.refused,
            pending: pending as u64,
            entries: entries as u64,
            hop_failures: counters.hop_failures,
            penalties: penalties.iter().take(PENALTIES_SHOWN).map(view).collect(),
        }
    }

    fn sip_stats(&self, net: Option<&Net>) -> SipStats {
        let stack = self.world.stack.counters();
        let auth = self.world.registrar.counters();
        let methods = |counts: &tandem_signalling::stack::MethodCounts| -> BTreeMap<String, u64> {
            let named = counts.iter().filter(|(_, count)| *count > 0);
            named
                .map(|(name, count)| {
                    (if name == "other" { "OTHER" } else { name }.to_owned(), count)
                })
                .collect()
        };
        let mut malformed: BTreeMap<String, u64> =
            stack.malformed.iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
        for (reason, count) in [
            ("stray_response", stack.stray_responses),
            ("stray_ack", stack.stray_acks),
            ("merged", stack.merged),
            ("full", stack.refused_full),
        ] {
            if count > 0 {
                malformed.insert(reason.to_owned(), count);
            }
        }
        let sockets = net.map(Net::counters);
        let mut connections_closed = BTreeMap::new();
        if let Some(sockets) = sockets {
            for (reason, count) in &sockets.closed {
                connections_closed.insert((*reason).to_owned(), *count);
                if matches!(*reason, "slow_sender" | "slow_receiver" | "framing") {
                    malformed.insert(format!("connection_{reason}"), *count);
                }
            }
        }
        SipStats {
            requests_received: methods(&stack.requests_in),
            requests_sent: methods(&stack.requests_out),
            responses_received: stack.responses_in.iter().collect(),
            responses_sent: stack.responses_out.iter().collect(),
            malformed,
            retransmissions_received: stack.retransmissions_in,
            retransmissions_sent: stack.retransmissions_out,
            timeouts: stack.timeouts,
            transport_errors: stack.transport_errors,
            transactions: (stack.client_transactions + stack.server_transactions) as u64,
            dialogs: stack.dialogs as u64,
            connections: net.map_or(0, |net| net.connections() as u64),
            connections_closed,
            connections_refused: sockets.map_or(0, |it| it.connections_refused),
            keepalives: stack.keepalives_in + sockets.map_or(0, |it| it.keepalives),
            udp_dropped: sockets.map_or(0, |it| it.udp_dropped),
            auth_challenges: auth.challenges,
            auth_failures: auth.failures,
        }
    }
}
