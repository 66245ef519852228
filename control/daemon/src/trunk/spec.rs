//! Trunks and routes out of the configuration, ready for use.

use super::credentials::Account;
use crate::config::settings::{self, Config};
use crate::config::trunk::{CallerId, Network};
use crate::route::decide::{Rule, Target, TrunkHead, Who};
use crate::route::failover::Failover;
use crate::route::number::{NumberFormat, NumberPlan};
use crate::route::order::Rank;
use core::time::Duration;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use tandem_signalling::uri::{Host, Scheme, Uri, UriBuilder};

/// What the operator said of one trunk.
#[derive(Clone, Debug, PartialEq)]
pub struct TrunkSpec {
    /// Name.
    pub name: String,
    /// Where calls go: a SIP URI.
    pub peer: String,
    /// Address of the peer, if its URI has one.
    pub peer_ip: Option<IpAddr>,
    /// Where its calls come from; empty for where it is.
    pub sources: Vec<Network>,
    /// Host of addresses of record there.
    pub domain: String,
    /// Port of Request-URIs there.
    pub port: Option<u16>,
    /// Whether to register.
    pub register: bool,
    /// Where: a SIP URI.
    pub registrar: String,
    /// For how long, s.
    pub expires_s: u32,
    /// User part of the Contact that is registered there. Nobody else can know it, so a call that
    /// names it comes from there.
    pub line: String,
    /// Our user name there.
    pub username: String,
    /// Our main number there.
    pub number: String,
    /// Which number is shown there.
    pub caller_id: CallerId,
    /// Whether its word on identities counts, and it may know them.
    pub trusted: bool,
    /// How it wants numbers.
    pub format: NumberFormat,
    /// Calls over it; `None` for any number.
    pub max_calls: Option<u32>,
    /// The first answer to an INVITE must come in this time.
    pub answer_within: Duration,
    /// On which answers the next trunk is tried.
    pub failover: Failover,
    /// How often it is asked whether it is there.
    pub options: Option<Duration>,
    auth_username: String,
    password: crate::config::trunk::Secret,
}

impl TrunkSpec {
    fn new(trunk: &settings::Trunk) -> Self {
        let peer = Uri::parse(&trunk.peer).ok();
        let host = peer.as_ref().map_or_else(String::new, |uri| uri.host().to_string());
        let domain = if trunk.domain.is_empty() { host.clone() } else { trunk.domain.clone() };
        let port = peer.as_ref().and_then(Uri::port).filter(|_| trunk.domain.is_empty());
        let registrar = if trunk.registrar.is_empty() { &trunk.peer } else { &trunk.registrar };
        let auth = Some(&trunk.auth_username).filter(|name| !name.is_empty());
        Self {
            name: trunk.name.clone(),
            peer_ip: peer.as_ref().and_then(|uri| uri.host().ip()),
            peer: trunk.peer.clone(),
            sources: trunk.sources.clone(),
            port,
            domain,
            register: trunk.register,
            registrar: registrar.clone(),
            expires_s: trunk.expires_s,
            line: line(trunk),
            username: trunk.username.clone(),
            number: trunk.number.clone(),
            caller_id: trunk.caller_id,
            trusted: trunk.trusted,
            format: trunk.number_format,
            max_calls: (trunk.max_calls > 0).then_some(trunk.max_calls),
            answer_within: Duration::from_secs(trunk.answer_within_s.into()),
            failover: Failover::new(&trunk.failover),
            options: (trunk.options_s > 0).then(|| Duration::from_secs(trunk.options_s.into())),
            auth_username: auth.unwrap_or(&trunk.username).clone(),
            password: trunk.password.clone(),
        }
    }

    /// User name and password for the digest.
    #[must_use]
    pub fn account(&self) -> Account<'_> {
        Account { username: &self.auth_username, password: self.password.expose() }
    }

    /// Whether challenges can be answered.
    #[must_use]
    pub fn has_account(&self) -> bool {
        !self.auth_username.is_empty()
    }

    /// The address of record of a user or number there.
    #[must_use]
    pub fn aor(&self, user: &str) -> String {
        UriBuilder::new(Scheme::Sip, Some(user), host_of(&self.domain)).finish()
    }

    /// The Request-URI for a number there.
    #[must_use]
    pub fn target(&self, number: &str) -> String {
        let uri = UriBuilder::new(Scheme::Sip, Some(number), host_of(&self.domain));
        self.port.into_iter().fold(uri, UriBuilder::port).finish()
    }
}

/// A host out of its text.
fn host_of(text: &str) -> Host<'_> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().map_or(Host::Name(text), Host::Ip)
}

/// The same after each start, so that calls of a registration that is older than this process are
/// known.
fn line(trunk: &settings::Trunk) -> String {
    let mut hash = Sha256::new();
    for part in ["line", &trunk.name, &trunk.peer, &trunk.username, trunk.password.expose()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let octets = hash.finalize();
    octets[..10].iter().fold(String::from("l"), |text, octet| format!("{text}{octet:02x}"))
}

/// Numbers, trunks and routes as the operator wants them.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    /// The number plan.
    pub plan: NumberPlan,
    /// The trunks.
    pub trunks: Vec<Arc<TrunkSpec>>,
    routes: Vec<settings::Route>,
}

impl Routing {
    /// What the configuration says.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let numbers = &config.numbers;
        let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let plan = NumberPlan {
            country_code: numbers.country_code.clone(),
            international_prefix: numbers.international_prefix.clone(),
            national_prefix: numbers.national_prefix.clone(),
            area_code: numbers.area_code.clone(),
            national_digits: count(numbers.national_digits),
            local_digits: count(numbers.local_digits),
            emergency: numbers.emergency.clone(),
        };
        let trunks = config.trunk.iter().map(TrunkSpec::new).map(Arc::new).collect();
        Self { plan, trunks, routes: config.route.clone() }
    }

    /// Takes every trunk as one that needs no registration, to see what rules alone decide.
    pub fn assume_registered(&mut self) {
        for trunk in &mut self.trunks {
            Arc::make_mut(trunk).register = false;
        }
    }

    /// The rules; `index` tells the index of a trunk's name. One that names no trunk of ours is left
    /// out.
    pub(super) fn rules(&self, index: impl Fn(&str) -> Option<usize>) -> Vec<Rule> {
        let who = |name: &String| match name.strip_prefix("trunk:") {
            Some(trunk) => index(trunk).map(Who::Trunk),
            None => Some(Who::User(name.clone())),
        };
        let rule = |route: &settings::Route| {
            let target = match route.user.as_str() {
                "" => Target::Trunk(index(&route.trunk)?),
                user => Target::User(user.to_owned()),
            };
            Some(Rule {
                prefix: route.prefix.clone(),
                target,
                rank: Rank { priority: route.priority, weight: route.weight },
                strip: usize::try_from(route.strip).unwrap_or(usize::MAX),
                add: route.add.clone(),
                from: route.from.iter().filter_map(who).collect(),
                failover: (!route.failover.is_empty()).then(|| Failover::new(&route.failover)),
            })
        };
        self.routes.iter().filter_map(rule).collect()
    }
}

impl From<&TrunkSpec> for TrunkHead {
    fn from(spec: &TrunkSpec) -> Self {
        Self { name: spec.name.clone(), format: spec.format, failover: spec.failover.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(rows: &str) -> TrunkSpec {
        let text = format!("[[trunk]]\nname = \"a\"\n{rows}");
        TrunkSpec::new(&Config::parse(&text).unwrap().trunk[0])
    }

    #[test]
    fn a_domain_stands_for_the_host_of_the_peer() {
        let it = spec("peer = \"sip:192.0.2.9:5080;transport=tcp\"\n");
        assert_eq!(it.target("+49301"), "sip:+49301@192.0.2.9:5080");
        assert_eq!(it.aor("+49301"), "sip:+49301@192.0.2.9");
        assert_eq!(it.peer_ip, Some("192.0.2.9".parse().unwrap()));
        assert_eq!((it.registrar == it.peer, it.has_account()), (true, false));
        let it = spec("peer = \"sip:192.0.2.9:5080\"\ndomain = \"example.com\"\n");
        assert_eq!(it.target("+49301"), "sip:+49301@example.com");
        assert_eq!(spec("peer = \"sip:[2001:db8::9]\"\n").target("1"), "sip:1@[2001:db8::9]");
    }

    #[test]
    fn the_line_is_a_secret_that_stays() {
        let one = spec("peer = \"sip:192.0.2.9\"\nusername = \"u\"\npassword = \"p\"\n");
        let same = spec("peer = \"sip:192.0.2.9\"\nusername = \"u\"\npassword = \"p\"\n");
        let other = spec("peer = \"sip:192.0.2.9\"\nusername = \"u\"\npassword = \"q\"\n");
        assert_eq!((&one.line, one.line.len()), (&same.line, 21));
        assert_ne!(one.line, other.line);
        assert_eq!(one.account().username, "u");
        assert!(
            !format!("{:?}", one.password).contains('p') || !format!("{one:?}").contains("\"p\"")
        );
    }
}
