//! Values that have the right type and still make no sense together.

use super::settings::Config;
use crate::call::fork::MAX_BRANCHES;
use crate::guard::limits::{MAX_SCANNERS, MAX_TRUSTED};
use crate::net::limits::MAX_CONNECTIONS;
use std::net::SocketAddr;
use tandem_contract::limits;

/// What is wrong with a key: `section.key` and a sentence with the remedy.
pub(super) type Finding = (&'static str, String);

/// All findings.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    sip(config, &mut findings);
    findings.extend(super::sockets::check(config));
    registrar(config, &mut findings);
    call(config, &mut findings);
    dns(config, &mut findings);
    guard(config, &mut findings);
    media(config, &mut findings);
    trace(config, &mut findings);
    rest(config, &mut findings);
    findings
}

fn within<T: PartialOrd + std::fmt::Display>(
    findings: &mut Vec<Finding>,
    key: &'static str,
    value: T,
    low: T,
    high: T,
) {
    if value < low || value > high {
        findings.push((key, format!("{value} is out of range: {low} to {high}")));
    }
}

fn sip(config: &Config, findings: &mut Vec<Finding>) {
    let sip = &config.sip;
    if sip.listen.is_empty() {
        findings.push(("sip.listen", "at least one address is needed".into()));
    }
    if sip.transports.is_empty() {
        findings.push(("sip.transports", "at least one of \"udp\" and \"tcp\" is needed".into()));
    }
    if sip.realm.is_empty() || sip.realm.contains(['"', '\\', ':', '\r', '\n']) {
        findings.push((
            "sip.realm",
            "a realm has at least one character, and no quote, colon or line break".into(),
        ));
    }
    if let Some(domain) = sip.domains.iter().find(|domain| {
        domain.is_empty() || domain.contains(|c: char| c.is_whitespace() || "@;<>\"".contains(c))
    }) {
        findings.push(("sip.domains", format!("`{domain}` is not a domain")));
    }
    if sip.software.contains(['\r', '\n']) {
        findings.push(("sip.software", "a line break is not allowed in a header".into()));
    }
    within(findings, "sip.t1_ms", sip.t1_ms, 10, 10_000);
    within(findings, "sip.t4_ms", sip.t4_ms, 0, 60_000);
    if sip.t2_ms < sip.t1_ms {
        findings.push(("sip.t2_ms", format!("must not be below sip.t1_ms ({})", sip.t1_ms)));
    }
    within(findings, "sip.max_message", sip.max_message, 1_500, 1 << 20);
    within(findings, "sip.max_relayed", sip.max_relayed, 1, 1_000_000);
    within(findings, "sip.max_subscriptions", sip.max_subscriptions, 1, 1_000_000);
    within(findings, "sip.max_transactions", sip.max_transactions, 100, 10_000_000);
    within(
        findings,
        "sip.max_connections",
        sip.max_connections,
        1,
        u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX),
    );
    within(findings, "sip.connection_idle_s", sip.connection_idle_s, 10, 86_400);
}

fn registrar(config: &Config, findings: &mut Vec<Finding>) {
    let registrar = &config.registrar;
    within(findings, "registrar.min_expires_s", registrar.min_expires_s, 1, 86_400);
    within(
        findings,
        "registrar.max_expires_s",
        registrar.max_expires_s,
        registrar.min_expires_s,
        30 * 86_400,
    );
    within(
        findings,
        "registrar.default_expires_s",
        registrar.default_expires_s,
        registrar.min_expires_s,
        registrar.max_expires_s,
    );
    within(findings, "registrar.max_contacts", registrar.max_contacts, 1, 100);
    within(findings, "registrar.nonce_lifetime_s", registrar.nonce_lifetime_s, 5, 86_400);
    if registrar.algorithms.is_empty() {
        findings.push((
            "registrar.algorithms",
            "at least one of \"SHA-256\" and \"MD5\" is needed".into(),
        ));
    }
}

fn trace(config: &Config, findings: &mut Vec<Finding>) {
    let trace = &config.trace;
    within(findings, "trace.memory_mib", trace.memory_mib, 0, 65_536);
    let server = &trace.hep_server;
    if !server.is_empty() && server.parse::<std::net::SocketAddr>().is_err() {
        findings.push((
            "trace.hep_server",
            format!("\"{server}\" is not an address with a port, such as \"192.0.2.9:9060\""),
        ));
    }
}

fn call(config: &Config, findings: &mut Vec<Finding>) {
    let call = &config.call;
    within(findings, "call.no_answer_s", call.no_answer_s, 1, 3_600);
    within(findings, "call.min_se_s", call.min_se_s, 2, 86_400);
    if call.session_expires_s > 0 {
        within(
            findings,
            "call.session_expires_s",
            call.session_expires_s,
            call.min_se_s,
            7 * 86_400,
        );
    }
    within(findings, "call.max_calls", call.max_calls, 1, 1_000_000);
    within(findings, "call.drain_s", call.drain_s, 0, 86_400);
    within(findings, "call.ring_next_s", call.ring_next_s, 1, 600);
    within(
        findings,
        "call.max_branches",
        call.max_branches,
        1,
        u32::try_from(MAX_BRANCHES).unwrap_or(u32::MAX),
    );
    within(findings, "call.max_forwards", call.max_forwards, 1, 255);
    if call.foreign_domains && !call.authenticate {
        findings.push((
            "call.foreign_domains",
            "with call.authenticate = false anybody could call anywhere through this server: set \
             call.authenticate = true"
                .into(),
        ));
    }
}

fn dns(config: &Config, findings: &mut Vec<Finding>) {
    let dns = &config.dns;
    within(findings, "dns.timeout_ms", dns.timeout_ms, 50, 30_000);
    within(findings, "dns.retries", dns.retries, 0, 10);
    within(findings, "dns.max_lookups", dns.max_lookups, 1, 100_000);
    within(findings, "dns.max_ttl_s", dns.max_ttl_s, 0, 604_800);
    within(findings, "dns.max_negative_ttl_s", dns.max_negative_ttl_s, 0, 86_400);
    within(findings, "dns.next_hop_ms", dns.next_hop_ms, 100, 60_000);
    within(findings, "dns.penalty_s", dns.penalty_s, 1, 86_400);
    within(findings, "dns.max_penalty_s", dns.max_penalty_s, dns.penalty_s, 86_400);
}

fn guard(config: &Config, findings: &mut Vec<Finding>) {
    let guard = &config.guard;
    if guard.trusted.len() > MAX_TRUSTED {
        findings.push(("guard.trusted", format!("at most {MAX_TRUSTED}: name larger networks")));
    }
    let short = guard.scanners.iter().any(|word| word.len() < 4);
    if short || guard.scanners.len() > MAX_SCANNERS {
        let text = "at most {} words of 4 or more letters, or phones would be taken for scanners";
        findings.push(("guard.scanners", text.replace("{}", &MAX_SCANNERS.to_string())));
    }
    within(findings, "guard.source_rate", guard.source_rate, 0, 1_000_000);
    within(findings, "guard.source_burst", guard.source_burst, 1, 1_000_000);
    within(findings, "guard.failures", guard.failures, 0, 10_000);
    within(findings, "guard.forgiven_every_s", guard.forgiven_every_s, 1, 3_600);
    within(findings, "guard.ban_s", guard.ban_s, 1, 86_400);
    within(findings, "guard.ban_max_s", guard.ban_max_s, guard.ban_s, 30 * 86_400);
    if guard.max_delay_ms > 0 {
        // Above T1 the phones repeat what waits, which makes the queue longer.
        within(findings, "guard.max_delay_ms", guard.max_delay_ms, 5, config.sip.t1_ms.max(5));
    }
    within(findings, "guard.retry_after_s", guard.retry_after_s, 1, 3_600);
}

fn media(config: &Config, findings: &mut Vec<Finding>) {
    let media = &config.media;
    for (v4, name) in [(true, "IPv4"), (false, "IPv6")] {
        if media.addresses.iter().filter(|address| address.is_ipv4() == v4).count() > 1 {
            findings.push(("media.addresses", format!("only one {name} address is possible")));
        }
    }
    let both = media.codecs.iter().find(|it| media.codecs_refused.contains(it));
    if let Some(codec) = both {
        let message = format!("{codec} is in media.codecs too: take it out of one of them");
        findings.push(("media.codecs_refused", message));
    }
    within(findings, "media.port_min", media.port_min, 1_024, 65_534);
    if media.port_max <= media.port_min {
        findings
            .push(("media.port_max", format!("must be above media.port_min ({})", media.port_min)));
    }
    // Every address family has the whole range for itself.
    let pairs = limits::port_pairs(media.port_min, media.port_max);
    if pairs < 8 {
        findings.push((
            "media.port_max",
            format!("the range has {pairs} port pairs; 4 calls need 8: widen it"),
        ));
    }
    let workers = u32::try_from(limits::MAX_WORKERS).unwrap_or(u32::MAX);
    within(findings, "media.workers", media.workers, 0, workers);
    within(findings, "media.endpoints_ahead", media.endpoints_ahead, 1, 65_536);
    within(findings, "media.max_terminations", media.max_terminations, 2, limits::MAX_TERMINATIONS);
    within(findings, "media.quarantine_ms", media.quarantine_ms, 0, 3_600_000);
    within(findings, "media.relearn_silence_ms", media.relearn_silence_ms, 0, 3_600_000);
    within(findings, "media.timeout_ms", media.timeout_ms, 0, 86_400_000);
    within(findings, "media.lease_ms", media.lease_ms, 3_000, 86_400_000);
    within(findings, "media.dscp", media.dscp, 0, 63);
}

fn rest(config: &Config, findings: &mut Vec<Finding>) {
    within(findings, "engine.frames", config.engine.frames, 1_024, 1 << 20);
    within(findings, "engine.linger_s", config.engine.linger_s, 0, 86_400);
    if !config.http.listen.ip().is_loopback() && !config.http.allow_remote {
        let local = SocketAddr::from(([127, 0, 0, 1], config.http.listen.port()));
        findings.push((
            "http.listen",
            format!(
                "{} can be reached from the network, and the API asks for no password: use \"{local}\", or set http.allow_remote = true behind a firewall or a proxy that does",
                config.http.listen
            ),
        ));
    }
    if config.store.file.is_empty() {
        findings.push(("store.file", "a file name is needed".into()));
    }
    let level = &config.log.level;
    if let Err(error) = level.parse::<tracing_subscriber::filter::Targets>() {
        findings.push(("log.level", format!("{error}: use \"info\" or \"info,tandem=debug\"")));
    } else if let Err(sentence) = crate::logging::check_levels(level) {
        findings.push(("log.level", sentence));
    }
}
