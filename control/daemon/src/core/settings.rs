//! The part of the configuration that registrar and calls read, ready for use.

use crate::call::session_timer::Policy;
use crate::config::Config;
use crate::config::types::{Advertised, Algorithm, Ring};
use crate::guard;
use crate::locate::LocatorConfig;
use crate::locate::dns::DnsConfig;
use crate::net::Addresses;
use crate::trunk::Routing;
use core::time::Duration;
use std::net::IpAddr;
use tandem_signalling::locate::{Family, Support};
use tandem_signalling::stack::{self, Flow, StackConfig, Timing, Transport};
use tandem_signalling::uri::{Host, Scheme, UriBuilder};

/// Settings of registrar and calls.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Realm of users, challenges and addresses of record.
    pub realm: String,
    /// Domain names that are ours, lower case.
    pub domains: Vec<String>,
    /// Addresses that are ours, as bound and as advertised.
    pub addresses: Vec<IpAddr>,
    /// Whether any address may be ours: we listen on all.
    pub any_address: bool,
    /// Where the sockets listen, as named in flows.
    pub local: Addresses,
    /// Settings of the stack.
    pub stack: StackConfig,
    /// Largest message, octets.
    pub max_message: usize,
    /// What the guard goes by.
    pub guard: guard::Policy,
    /// How often contacts are asked for a sign of life.
    pub ping: Option<Duration>,
    /// Shortest registration, s.
    pub min_expires_s: u32,
    /// Longest registration, s.
    pub max_expires_s: u32,
    /// Registration without a wish, s.
    pub default_expires_s: u32,
    /// Contacts per user.
    pub max_contacts: usize,
    /// How often phones that keep their flow alive are told to show it.
    pub flow_timer: Option<Duration>,
    /// Lifetime of nonces.
    pub nonce_lifetime: Duration,
    /// Digest algorithms offered, the best first.
    pub algorithms: Vec<Algorithm>,
    /// Longest ringing.
    pub no_answer: Duration,
    /// Session timers.
    pub session: Policy,
    /// Whether telephone-events become INFO for who takes that alone.
    pub dtmf_info: bool,
    /// Whether provisional responses are sent reliably to callers that support it.
    pub reliable_provisional: bool,
    /// Longest call.
    pub max_duration: Option<Duration>,
    /// Calls at the same time.
    pub max_calls: usize,
    /// How contacts ring.
    pub ring: Ring,
    /// When the next group rings.
    pub ring_next: Duration,
    /// Branches of one call.
    pub max_branches: usize,
    /// Max-Forwards of requests that come without.
    pub max_forwards: u8,
    /// Requests outside of calls that are passed on at the same time.
    pub max_relayed: usize,
    /// Subscriptions that are carried at the same time.
    pub max_subscriptions: usize,
    /// Redirections that a call follows in a row.
    pub max_redirects: usize,
    /// Addresses of peers whose word on identities counts, and who may know them.
    pub trusted: Vec<IpAddr>,
    /// Whether everybody may know who calls, unless that is asked to be private.
    pub show_identity: bool,
    /// Whether callers must prove who they are.
    pub authenticate: bool,
    /// Whether a silent party ends the call.
    pub end_on_media_timeout: bool,
    /// Lines about calls in a second.
    pub call_lines_per_s: u32,
    /// A server that gives no sign for so long is given up for the next one.
    pub next_hop: Duration,
    /// Whether users may call other domains.
    pub foreign_domains: bool,
    /// Calls of one user; 0 for any number.
    pub max_calls_per_user: usize,
    /// Numbers, trunks and routes.
    pub routing: Routing,
    /// How other servers are found.
    pub locator: LocatorConfig,
}

impl Settings {
    /// Settings out of the configuration and the sockets that were opened.
    #[must_use]
    pub fn new(config: &Config, local: &Addresses) -> Self {
        let (sip, registrar, call) = (&config.sip, &config.registrar, &config.call);
        let mut addresses: Vec<IpAddr> = local.iter().map(|(_, at)| at.ip()).collect();
        addresses.extend(sip.advertised.iter().map(|it| it.announced));
        let mut domains: Vec<String> = sip.domains.iter().map(|it| it.to_lowercase()).collect();
        domains.push(sip.realm.to_lowercase());
        if addresses.iter().any(IpAddr::is_loopback) {
            domains.push("localhost".to_owned());
        }
        let seconds = |s: u32| Duration::from_secs(s.into());
        let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            realm: sip.realm.clone(),
            domains,
            addresses,
            any_address: sip.listen.iter().any(|it| it.ip().is_unspecified()),
            local: local.clone(),
            stack: stack_config(config, local),
            max_message: count(sip.max_message),
            guard: guard::Policy::new(config),
            ping: (registrar.ping_s > 0).then(|| seconds(registrar.ping_s)),
            min_expires_s: registrar.min_expires_s,
            max_expires_s: registrar.max_expires_s,
            default_expires_s: registrar.default_expires_s,
            max_contacts: count(registrar.max_contacts),
            flow_timer: (registrar.flow_timer_s > 0).then(|| seconds(registrar.flow_timer_s)),
            nonce_lifetime: seconds(registrar.nonce_lifetime_s),
            algorithms: registrar.algorithms.clone(),
            no_answer: seconds(call.no_answer_s),
            max_duration: (call.max_duration_s > 0).then(|| seconds(call.max_duration_s)),
            session: Policy { expires_s: call.session_expires_s, min_se_s: call.min_se_s },
            reliable_provisional: call.reliable_provisional,
            dtmf_info: call.dtmf_info,
            max_calls: count(call.max_calls),
            ring: call.ring,
            ring_next: seconds(call.ring_next_s),
            max_branches: count(call.max_branches),
            max_forwards: call.max_forwards,
            max_relayed: count(sip.max_relayed),
            max_subscriptions: count(sip.max_subscriptions),
            max_redirects: count(call.max_redirects),
            trusted: sip.trusted.clone(),
            show_identity: call.show_identity,
            authenticate: call.authenticate,
            end_on_media_timeout: call.end_on_media_timeout,
            call_lines_per_s: config.log.call_lines_per_s,
            next_hop: Duration::from_millis(config.dns.next_hop_ms.into()),
            foreign_domains: call.foreign_domains,
            max_calls_per_user: count(call.max_calls_per_user),
            routing: Routing::new(config),
            locator: locator_config(config),
        }
    }

    /// Address of record of a user: `sip:user@realm`.
    #[must_use]
    pub fn aor(&self, user: &str) -> String {
        UriBuilder::new(Scheme::Sip, Some(user), Host::Name(&self.realm)).finish()
    }

    /// What requests to other servers can be sent over: transports and IP versions that we listen
    /// on, in the order of the configuration; and TLS, which needs no listener of ours.
    #[must_use]
    pub fn support(&self) -> Support {
        let listens = |it: &Transport| match it {
            Transport::Tls => true,
            it => !it.is_websocket() && !self.local.of(*it).is_empty(),
        };
        let mut families = Vec::new();
        for (_, address) in self.local.iter() {
            let family = Family::of(&address.ip());
            if !families.contains(&family) {
                families.push(family);
            }
        }
        Support { transports: Transport::ALL.into_iter().filter(listens).collect(), families }
    }

    /// Whether a host of a URI means this Tandem.
    #[must_use]
    pub fn is_own_host(&self, host: &Host<'_>, flow: &Flow) -> bool {
        match host {
            Host::Ip(ip) => {
                self.any_address || *ip == flow.local.ip() || self.addresses.contains(ip)
            }
            Host::Name(name) => self.domains.iter().any(|it| it.eq_ignore_ascii_case(name)),
        }
    }

    /// Whether who is behind a flow is in the trust domain of RFC 3325 §2.
    #[must_use]
    pub fn trusts(&self, flow: &Flow) -> bool {
        self.trusted.contains(&flow.remote.ip().to_canonical())
    }
}

fn locator_config(config: &Config) -> LocatorConfig {
    let dns = &config.dns;
    let seconds = |s: u32| Duration::from_secs(s.into());
    let lookup = Duration::from_millis(dns.timeout_ms.into()) * (dns.retries + 1);
    LocatorConfig {
        max_lookups: usize::try_from(dns.max_lookups).unwrap_or(usize::MAX),
        // NAPTR, SRV and addresses, each of which takes a look-up.
        deadline: lookup * 3 + Duration::from_secs(1),
        max_ttl: seconds(dns.max_ttl_s),
        max_negative_ttl: seconds(dns.max_negative_ttl_s),
        penalty: seconds(dns.penalty_s),
        max_penalty: seconds(dns.max_penalty_s),
    }
}

/// How the DNS thread asks.
pub(super) fn dns_config(config: &Config) -> DnsConfig {
    let dns = &config.dns;
    DnsConfig {
        servers: dns.servers.iter().map(|it| it.0).collect(),
        timeout: Duration::from_millis(dns.timeout_ms.into()),
        retries: dns.retries,
        max_lookups: usize::try_from(dns.max_lookups).unwrap_or(usize::MAX),
    }
}

fn stack_config(config: &Config, local: &Addresses) -> StackConfig {
    let sip = &config.sip;
    let ms = |ms: u32| Duration::from_millis(ms.into());
    let defaults = StackConfig::default();
    let advertised = local.iter().filter_map(|(transport, local)| {
        let announced = Advertised::of(&sip.advertised, local.ip())?;
        let host = match announced {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Some(stack::Advertised { transport, local, host, port: local.port() })
    });
    let timing = Timing {
        t1: ms(sip.t1_ms),
        t2: ms(sip.t2_ms),
        t4: ms(sip.t4_ms),
        timer_d: ms(sip.t1_ms) * 64,
        ..defaults.timing
    };
    StackConfig {
        shard: 0,
        timing,
        limits: stack::Limits {
            max_client_transactions: sip.max_transactions,
            max_server_transactions: sip.max_transactions,
            ..defaults.limits
        },
        advertised: advertised.collect(),
        product: sip.software.clone(),
        udp_limit: usize::try_from(sip.udp_limit).unwrap_or(usize::MAX),
        tcp: local.of(Transport::Tcp).to_vec(),
        has_certificate: sip.tls_files().certificate.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        let config = Config::parse(text).unwrap();
        Settings::new(&config, &Addresses::plain(&config.sip.listen, &config.sip.listen))
    }

    #[test]
    fn our_hosts_are_addresses_realm_and_domains() {
        let settings = settings(
            "[sip]\nlisten = [\"192.0.2.1:5060\"]\nadvertised = [\"203.0.113.1\"]\nrealm = \"Tandem\"\ndomains = [\"example.com\"]\n",
        );
        let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.9:1".parse().unwrap());
        for (host, ours) in [
            (Host::Name("EXAMPLE.com"), true),
            (Host::Name("tandem"), true),
            (Host::Name("example.org"), false),
            (Host::Ip("192.0.2.1".parse().unwrap()), true),
            (Host::Ip("203.0.113.1".parse().unwrap()), true),
            (Host::Ip("203.0.113.2".parse().unwrap()), false),
        ] {
            assert_eq!(settings.is_own_host(&host, &flow), ours, "{host:?}");
        }
        assert_eq!(settings.stack.advertised[0].host, "203.0.113.1");
    }

    #[test]
    fn addresses_of_record_escape_what_they_must() {
        let settings = settings("");
        assert_eq!(settings.aor("alice"), "sip:alice@tandem");
        assert_eq!(settings.aor("a b"), "sip:a%20b@tandem");
    }
}
