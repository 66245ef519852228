//! What a running daemon takes from a changed configuration, and what waits until it is started
//! again: sockets, ports, folders, the engine.

use super::Config;
use serde_json::Value;

/// A configuration that was read again.
#[derive(Clone, Debug, PartialEq)]
pub struct Reload {
    /// What is in effect from now on.
    pub config: Config,
    /// Keys whose new value is in effect.
    pub taken: Vec<String>,
    /// Keys that keep their old value until the daemon is started again.
    pub kept: Vec<String>,
}

/// Compares the configuration in effect with the one that is wanted.
#[must_use]
pub fn reload(running: &Config, wanted: &Config) -> Reload {
    let config = merge(running, wanted);
    let changed = differences(running, wanted);
    let waiting = differences(&config, wanted);
    let (kept, taken) = changed.into_iter().partition(|key| waiting.contains(key));
    Reload { config, taken, kept }
}

/// The configuration in effect with all that can change while calls go on.
fn merge(running: &Config, wanted: &Config) -> Config {
    let mut config = running.clone();
    config.call.clone_from(&wanted.call);
    config.guard.clone_from(&wanted.guard);
    config.log.level.clone_from(&wanted.log.level);
    config.log.show_parties = wanted.log.show_parties;
    let (from, to) = (&wanted.sip, &mut config.sip);
    to.domains.clone_from(&from.domains);
    to.trusted.clone_from(&from.trusted);
    to.software.clone_from(&from.software);
    (to.t1_ms, to.t2_ms, to.t4_ms) = (from.t1_ms, from.t2_ms, from.t4_ms);
    (to.max_message, to.max_transactions) = (from.max_message, from.max_transactions);
    to.max_relayed = from.max_relayed;
    let (from, to) = (&wanted.registrar, &mut config.registrar);
    (to.min_expires_s, to.max_expires_s) = (from.min_expires_s, from.max_expires_s);
    to.default_expires_s = from.default_expires_s;
    (to.max_contacts, to.ping_s) = (from.max_contacts, from.ping_s);
    let (from, to) = (&wanted.media, &mut config.media);
    (to.dscp, to.strict_source) = (from.dscp, from.strict_source);
    (to.timeout_ms, to.lease_ms) = (from.timeout_ms, from.lease_ms);
    to.relearn_silence_ms = from.relearn_silence_ms;
    to.codecs.clone_from(&from.codecs);
    to.codecs_refused.clone_from(&from.codecs_refused);
    let (from, to) = (&wanted.dns, &mut config.dns);
    (to.max_ttl_s, to.max_negative_ttl_s) = (from.max_ttl_s, from.max_negative_ttl_s);
    (to.penalty_s, to.max_penalty_s) = (from.penalty_s, from.max_penalty_s);
    to.next_hop_ms = from.next_hop_ms;
    config
}

/// Keys with different values, `section.key`; sections of which there may be several count as one.
fn differences(one: &Config, other: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, differs) in
        [("trunk", one.trunk != other.trunk), ("route", one.route != other.route)]
    {
        keys.extend(differs.then(|| name.to_owned()));
    }
    let (one, other) = (serde_json::to_value(one), serde_json::to_value(other));
    let (Ok(Value::Object(one)), Ok(Value::Object(other))) = (one, other) else { return keys };
    for (section, values) in &one {
        let (Value::Object(values), Some(Value::Object(others))) = (values, other.get(section))
        else {
            continue;
        };
        let changed = values.iter().filter(|(key, value)| others.get(*key) != Some(*value));
        keys.extend(changed.map(|(key, _)| format!("{section}.{key}")));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text).unwrap()
    }

    #[test]
    fn what_can_change_changes_and_the_rest_is_named() {
        let running = config("[sip]\nlisten = [\"127.0.0.1:5070\"]\nt1_ms = 500\n");
        let wanted = config(
            "[sip]\nlisten = [\"127.0.0.1:5071\"]\nt1_ms = 250\n[call]\nmax_calls = 7\n\
             [media]\nport_max = 31000\ndscp = 8\n[log]\nlevel = \"debug\"\nformat = \"json\"\n",
        );
        let it = reload(&running, &wanted);
        assert_eq!(it.taken, ["call.max_calls", "log.level", "media.dscp", "sip.t1_ms"]);
        assert_eq!(it.kept, ["log.format", "media.port_max", "sip.listen"]);
        assert_eq!((it.config.sip.t1_ms, it.config.call.max_calls), (250, 7));
        assert_eq!(it.config.sip.listen, running.sip.listen);
        let again = reload(&it.config, &wanted);
        assert_eq!((again.taken.len(), again.kept.len()), (0, 3));
        assert_eq!(reload(&running, &running).config, running);
    }

    #[test]
    fn codecs_and_penalties_change_and_dns_servers_wait() {
        let wanted = config(
            "[media]\ncodecs = [\"opus\"]\n[dns]\npenalty_s = 5\nservers = [\"192.0.2.53\"]\n",
        );
        let it = reload(&Config::default(), &wanted);
        assert_eq!(it.taken, ["dns.penalty_s", "media.codecs"]);
        assert_eq!(it.kept, ["dns.servers"]);
    }
}
