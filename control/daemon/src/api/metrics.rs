//! `/metrics`: figures for Prometheus, in OpenMetrics text.

mod trunks;

use super::Sources;
use super::problem::Problem;
use crate::guard::GuardStats;
use crate::journal::JournalCounters;
use crate::snapshot::{EngineView, LocateStats, SipStats, Stats};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt::{Display, Error, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tandem_contract::reason::DropReason;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn scrape(State(sources): State<Sources>) -> Result<Response, Problem> {
    let journal = Figures::journal(sources.journal.counters());
    let text = encode(sources.shared.stats(), journal)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// The figures as OpenMetrics text.
fn encode(stats: Arc<Stats>, journal: Figures) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("tandem");
    registry.register_collector(Box::new(Collector { stats, journal }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Counters of the journal at one moment: name, help, value, whether it is a gauge.
#[derive(Debug)]
struct Figures(Vec<(&'static str, &'static str, u64, MetricType)>);

impl Figures {
    fn journal(counters: &JournalCounters) -> Self {
        let counter = |name, help, value: &std::sync::atomic::AtomicU64| {
            (name, help, value.load(Ordering::Relaxed), MetricType::Counter)
        };
        let gauge = |name, help, value: &std::sync::atomic::AtomicU64| {
            (name, help, value.load(Ordering::Relaxed), MetricType::Gauge)
        };
        Self(vec![
            counter("journal_entries", "Entries appended to the journal", &counters.entries),
            counter("journal_octets", "Octets written to the journal", &counters.octets),
            counter("journal_syncs", "Group commits of the journal", &counters.syncs),
            counter(
                "journal_write_errors",
                "Writes that the disk refused: free disk space in the data folder",
                &counters.write_errors,
            ),
            counter(
                "journal_store_errors",
                "Batches that the store refused and that are tried again",
                &counters.store_errors,
            ),
            counter(
                "journal_entries_lost",
                "Entries given up because the disk refused them for too long",
                &counters.entries_lost,
            ),
            gauge(
                "journal_unwritten_entries",
                "Entries in memory that the disk has not taken",
                &counters.unwritten,
            ),
            gauge(
                "journal_unmoved_entries",
                "Entries that are not in the store yet",
                &counters.unmoved,
            ),
            gauge(
                "journal_sync_max_microseconds",
                "Longest time from an entry to the sync of its group",
                &counters.sync_max_us,
            ),
        ])
    }
}

#[derive(Debug)]
struct Collector {
    stats: Arc<Stats>,
    journal: Figures,
}

impl prometheus_client::collector::Collector for Collector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut out = Out(encoder);
        out.calls(&self.stats)?;
        out.sip(&self.stats.sip)?;
        out.locate(&self.stats.locate)?;
        out.guard(&self.stats.guard)?;
        out.engine(&self.stats.engine)?;
        out.residence(&self.stats.engine)?;
        out.trunks(&self.stats.trunks)?;
        for (name, help, value, kind) in &self.journal.0 {
            match kind {
                MetricType::Gauge => out.gauge(name, help, *value)?,
                _ => out.counter(name, help, *value)?,
            }
        }
        Ok(())
    }
}

struct Out<'e>(DescriptorEncoder<'e>);

impl Out<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// A counter for each value of a label.
    fn counters<K: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &BTreeMap<K, u64>,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (key, value) in values {
            metric
                .encode_family(&[(label, key.to_string())])?
                .encode_counter::<NoLabelSet, _, u64>(value, None)?;
        }
        Ok(())
    }

    fn calls(&mut self, stats: &Stats) -> Result<(), Error> {
        let mut metric =
            self.0.encode_descriptor("calls", "Calls that exist", None, MetricType::Gauge)?;
        for (state, value) in [("ringing", stats.calls_ringing), ("answered", stats.calls_answered)]
        {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            metric.encode_family(&[("state", state)])?.encode_gauge(&value)?;
        }
        self.counter("calls_started", "Calls since the start", stats.calls_total)?;
        self.counters(
            "calls_ended",
            "Ended calls by final SIP status",
            "status",
            &stats.calls_ended,
        )?;
        self.counter("calls_refused", "Calls that a limit refused", stats.calls_refused)?;
        self.gauge("registrations", "Contacts that are registered", stats.registrations)
    }

    fn locate(&mut self, locate: &LocateStats) -> Result<(), Error> {
        self.counters("dns_lookups", "Questions to DNS, by outcome", "outcome", &locate.lookups)?;
        for (name, help, value) in [
            ("dns_cached", "Questions that the cache answered", locate.cached),
            ("dns_refused", "Searches refused: dns.max_lookups is reached", locate.refused),
            (
                "sip_server_failures",
                "Servers of other domains that could not be reached, were silent or sent 503",
                locate.hop_failures,
            ),
        ] {
            self.counter(name, help, value)?;
        }
        self.gauge("dns_pending", "Questions to DNS on their way", locate.pending)?;
        self.gauge("dns_entries", "Answers of DNS that are kept", locate.entries)?;
        let help = "How long a server that failed is still tried last, in seconds";
        let mut metric =
            self.0.encode_descriptor("sip_server_penalty", help, None, MetricType::Gauge)?;
        for it in &locate.penalties {
            let remote = it.remote.to_string();
            let labels = [("transport", it.transport.as_str()), ("server", remote.as_str())];
            let seconds = i64::try_from(it.seconds).unwrap_or(i64::MAX);
            metric.encode_family(&labels)?.encode_gauge(&seconds)?;
        }
        Ok(())
    }

    fn sip(&mut self, sip: &SipStats) -> Result<(), Error> {
        for (name, help, label, values) in [
            ("sip_requests_received", "SIP requests received", "method", &sip.requests_received),
            ("sip_requests_sent", "SIP requests sent", "method", &sip.requests_sent),
            (
                "sip_malformed",
                "SIP messages that were unreadable or not allowed, by reason",
                "reason",
                &sip.malformed,
            ),
            (
                "sip_connections_closed",
                "TCP connections that are over, by reason",
                "reason",
                &sip.connections_closed,
            ),
        ] {
            self.counters(name, help, label, values)?;
        }
        for (name, help, values) in [
            ("sip_responses_received", "SIP responses received", &sip.responses_received),
            ("sip_responses_sent", "SIP responses sent", &sip.responses_sent),
        ] {
            self.counters(name, help, "status", values)?;
        }
        for (name, help, value) in [
            (
                "sip_retransmissions_received",
                "Requests received again",
                sip.retransmissions_received,
            ),
            ("sip_retransmissions_sent", "Messages sent again", sip.retransmissions_sent),
            ("sip_timeouts", "Transactions that ended without an answer", sip.timeouts),
            ("sip_transport_errors", "Sends that the transport refused", sip.transport_errors),
            ("sip_auth_challenges", "Requests that were challenged", sip.auth_challenges),
            ("sip_auth_failures", "Credentials that were wrong", sip.auth_failures),
            (
                "sip_connections_refused",
                "TCP connections refused because a table was full",
                sip.connections_refused,
            ),
            (
                "sip_keepalives",
                "Empty lines and datagrams that keep the way through a NAT open",
                sip.keepalives,
            ),
            (
                "sip_udp_dropped",
                "Messages that the kernel had no room for when they were sent",
                sip.udp_dropped,
            ),
        ] {
            self.counter(name, help, value)?;
        }
        for (name, help, value) in [
            ("sip_transactions", "Transactions that exist", sip.transactions),
            ("sip_dialogs", "Dialogs that exist", sip.dialogs),
            ("sip_connections", "TCP connections that exist", sip.connections),
        ] {
            self.gauge(name, help, value)?;
        }
        Ok(())
    }

    fn guard(&mut self, guard: &GuardStats) -> Result<(), Error> {
        for (name, help, value) in [
            ("guard_bans", "Sources that are banned now", guard.bans),
            (
                "guard_admitted_permille",
                "Thousandths of strangers' new requests that are let in",
                guard.share_milli.into(),
            ),
            (
                "guard_delay_microseconds",
                "Longest time that a message waited lately to be read, at most",
                guard.delay_us,
            ),
            (
                "guard_busy_percent",
                "Time in which the signalling thread did not wait for messages",
                guard.busy_percent.into(),
            ),
        ] {
            self.gauge(name, help, value)?;
        }
        for (name, help, values) in [
            ("guard_banned", "Bans since the start, by reason", &guard.banned),
            ("guard_dropped", "Messages thrown away unread, by reason", &guard.dropped),
            ("guard_refused", "Requests answered with 503 unread, by reason", &guard.refused),
        ] {
            self.counters(name, help, "reason", values)?;
        }
        Ok(())
    }

    fn engine(&mut self, engine: &EngineView) -> Result<(), Error> {
        self.gauge(
            "engine_attached",
            "1 while a living media engine is attached",
            u64::from(engine.attached),
        )?;
        for (name, help, value) in [
            ("engine_restarts", "Engines started or attached after the first", engine.restarts),
            ("engine_received_packets", "Packets received", engine.received),
            ("engine_forwarded_packets", "Packets passed on", engine.forwarded),
            ("engine_absorbed_packets", "Packets that the engine consumed", engine.absorbed),
            ("engine_punted_packets", "Packets handed to control", engine.punted),
            ("engine_sent_packets", "Packets sent", engine.sent),
            ("engine_copied_packets", "Second and further copies", engine.copies),
            ("engine_originated_packets", "Packets of the engine itself", engine.originated),
            ("engine_received_octets", "UDP payload octets received", engine.received_octets),
            ("engine_sent_octets", "UDP payload octets sent", engine.sent_octets),
            ("engine_turns", "Turns of all workers", engine.turns),
            ("engine_busy_turns", "Turns that had packets", engine.busy_turns),
            ("engine_events_lost", "Events that control read too late", engine.events_lost),
        ] {
            self.counter(name, help, value)?;
        }
        for (name, help, value) in [
            ("engine_terminations", "Call legs in the engine", engine.terminations),
            ("engine_endpoints_free", "Media port pairs bound and free", engine.endpoints_free),
            (
                "engine_endpoint_limit",
                "Media port pairs that the open-files limit allows",
                engine.endpoint_limit,
            ),
        ] {
            self.gauge(name, help, value)?;
        }
        let mut help = "What the socket port lost or could not do, by kind:".to_owned();
        let mut losses = BTreeMap::new();
        for (kind, sentence, count) in engine.port_losses.figures() {
            let _ = write!(help, " {kind}: {sentence}.");
            losses.insert(kind, count);
        }
        self.counters("engine_port_losses", help.trim_end_matches('.'), "kind", &losses)?;
        let mut help = "Packets dropped, by reason:".to_owned();
        let mut dropped = BTreeMap::new();
        for reason in DropReason::ALL {
            let _ = write!(help, " {}: {}", reason.key(), reason.sentence());
            let count = engine.dropped.get(reason.key()).copied().unwrap_or_default();
            dropped.insert(reason.key(), count);
        }
        self.counters("engine_dropped_packets", help.trim_end_matches('.'), "reason", &dropped)
    }

    fn residence(&mut self, engine: &EngineView) -> Result<(), Error> {
        let residence = &engine.residence;
        let mut metric = self.0.encode_descriptor(
            "engine_residence",
            "Time that packets stay in Tandem, by percentile, the worst worker's",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for (quantile, ns) in [
            ("0.5", residence.p50_ns),
            ("0.99", residence.p99_ns),
            ("0.999", residence.p999_ns),
            ("1", residence.max_ns),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "times below 2^53 ns")]
            let seconds = ns as f64 / 1e9;
            metric.encode_family(&[("quantile", quantile)])?.encode_gauge(&seconds)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::PenaltyView;

    #[test]
    fn figures_and_reasons_are_there() {
        let mut stats = Stats { calls_answered: 3, ..Stats::default() };
        stats.sip.requests_received.insert("INVITE".into(), 7);
        stats.sip.responses_sent.insert(486, 2);
        stats.sip.connections_closed.insert("idle".into(), 3);
        stats.sip.connections_refused = 4;
        stats.sip.keepalives = 5;
        stats.sip.udp_dropped = 6;
        stats.locate.lookups.insert("timed_out".into(), 8);
        stats.locate.penalties.push(PenaltyView {
            transport: "udp".into(),
            remote: "192.0.2.1:5060".parse().unwrap(),
            failures: 1,
            seconds: 30,
        });
        stats.guard.bans = 2;
        stats.guard.banned.insert("scanner".into(), 8);
        stats.guard.refused.insert("overload".into(), 9);
        stats.engine.dropped.insert("not_rtp".into(), 5);
        stats.engine.port_losses.overflowed = 11;
        stats.engine.residence.p99_ns = 12_000;
        let journal = Figures::journal(&JournalCounters::default());
        let text = encode(Arc::new(stats), journal).unwrap();
        for line in [
            "tandem_calls{state=\"answered\"} 3",
            "tandem_sip_requests_received_total{method=\"INVITE\"} 7",
            "tandem_sip_responses_sent_total{status=\"486\"} 2",
            "tandem_sip_connections_closed_total{reason=\"idle\"} 3",
            "tandem_sip_connections_refused_total 4",
            "tandem_sip_keepalives_total 5",
            "tandem_sip_udp_dropped_total 6",
            "tandem_dns_lookups_total{outcome=\"timed_out\"} 8",
            "tandem_sip_server_penalty{transport=\"udp\",server=\"192.0.2.1:5060\"} 30",
            "tandem_guard_bans 2",
            "tandem_guard_banned_total{reason=\"scanner\"} 8",
            "tandem_guard_refused_total{reason=\"overload\"} 9",
            "tandem_engine_dropped_packets_total{reason=\"not_rtp\"} 5",
            "tandem_engine_dropped_packets_total{reason=\"unknown_source\"} 0",
            "tandem_engine_port_losses_total{kind=\"overflowed\"} 11",
            "tandem_engine_port_losses_total{kind=\"starved\"} 0",
            "tandem_engine_residence_seconds{quantile=\"0.99\"} 0.000012",
            "tandem_journal_write_errors_total 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        for reason in DropReason::ALL {
            assert!(text.contains(reason.sentence().trim_end_matches('.')), "{}", reason.key());
        }
    }
}
