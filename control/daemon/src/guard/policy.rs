//! What the operator decided of the guard, ready for use.

use crate::config::Config;
use crate::config::trunk::Network;
use core::time::Duration;
use std::net::IpAddr;
use tandem_signalling::uri::{Host, Uri};

/// What the operator decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Who is never banned and has no limit of his own.
    pub trusted: Vec<Network>,
    /// Numbers that are always let through.
    pub emergency: Vec<String>,
    /// Words in the User-Agent of scanners, lower case.
    pub scanners: Vec<Vec<u8>>,
    /// New requests per second of one source; 0 for any number.
    pub source_rate: u32,
    /// How many of them at once.
    pub source_burst: u32,
    /// Wrong passwords that bring no ban; 0 for no such bans.
    pub failures: u32,
    /// One of them is forgiven in each of these times.
    pub forgiven_every: Duration,
    /// The first ban.
    pub ban: Duration,
    /// The longest ban.
    pub ban_max: Duration,
    /// How long messages may wait before new calls are refused; zero for ever.
    pub max_delay: Duration,
    /// When who was refused may try again, s.
    pub retry_after_s: u32,
}

impl Policy {
    /// What a configuration says.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let guard = &config.guard;
        let seconds = |s: u32| Duration::from_secs(s.into());
        let mut trusted = guard.trusted.clone();
        trusted.extend(config.sip.trusted.iter().copied().map(Network::host));
        for trunk in &config.trunk {
            trusted.extend(&trunk.sources);
            let peers = [&trunk.peer, &trunk.registrar].into_iter();
            trusted.extend(peers.filter_map(|peer| address(peer)).map(Network::host));
        }
        Self {
            trusted,
            emergency: config.numbers.emergency.clone(),
            scanners: guard.scanners.iter().map(|it| it.to_ascii_lowercase().into()).collect(),
            source_rate: guard.source_rate,
            source_burst: guard.source_burst,
            failures: guard.failures,
            forgiven_every: seconds(guard.forgiven_every_s),
            ban: seconds(guard.ban_s),
            ban_max: seconds(guard.ban_max_s),
            max_delay: Duration::from_millis(guard.max_delay_ms.into()),
            retry_after_s: guard.retry_after_s,
        }
    }

    /// Whether an address is never banned.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Whether a User-Agent is that of a scanner.
    #[must_use]
    pub fn is_scanner(&self, user_agent: &[u8]) -> bool {
        !user_agent.is_empty()
            && self.scanners.iter().any(|word| {
                user_agent
                    .windows(word.len())
                    .any(|part| part[0] | 0x20 == word[0] | 0x20 && part.eq_ignore_ascii_case(word))
            })
    }
}

/// The address in a URI, if it has one.
fn address(peer: &str) -> Option<IpAddr> {
    let uri = Uri::parse(peer).ok()?;
    match uri.host() {
        Host::Ip(ip) => Some(ip),
        Host::Name(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_trusted_as_they_are_configured() {
        let config = Config::parse(
            "[sip]\ntrusted = [\"192.0.2.1\"]\n[guard]\ntrusted = [\"198.51.100.0/24\"]\n\
             [[trunk]]\nname = \"a\"\npeer = \"sip:203.0.113.7:5080\"\n\
             [[trunk]]\nname = \"b\"\npeer = \"sip:provider.example\"\n\
             sources = [\"203.0.113.64/26\"]\n",
        )
        .unwrap();
        let policy = Policy::new(&config);
        for (address, trusted) in [
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("198.51.100.200", true),
            ("203.0.113.7", true),
            ("203.0.113.100", true),
            ("203.0.113.200", false),
        ] {
            assert_eq!(policy.trusts(address.parse().unwrap()), trusted, "{address}");
        }
        assert!(Policy::new(&Config::default()).trusts("127.0.0.9".parse().unwrap()));
    }

    #[test]
    fn scanners_are_known_by_a_word_in_any_case() {
        let policy = Policy::new(&Config::default());
        assert!(policy.is_scanner(b"Friendly-Scanner 1.0"));
        assert!(!policy.is_scanner(b"Yealink SIP-T46") && !policy.is_scanner(b""));
    }
}
