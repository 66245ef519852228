//! Where the contacts are registered from: addresses that nothing may shut out.

use crate::guard::Source;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;

/// How many contacts are registered from each address with port, and from each source.
#[derive(Debug, Default)]
pub(super) struct Sites {
    flows: HashMap<SocketAddr, u32>,
    sources: HashMap<Source, u32>,
}

impl Sites {
    pub(super) fn add(&mut self, from: Option<SocketAddr>) {
        let Some(from) = from else { return };
        *self.flows.entry(from).or_default() += 1;
        *self.sources.entry(Source::of(from.ip())).or_default() += 1;
    }

    pub(super) fn remove(&mut self, from: Option<SocketAddr>) {
        let Some(from) = from else { return };
        less(&mut self.flows, from);
        less(&mut self.sources, Source::of(from.ip()));
    }

    pub(super) fn has_flow(&self, remote: SocketAddr) -> bool {
        self.flows.contains_key(&remote)
    }

    pub(super) fn has_source(&self, source: Source) -> bool {
        self.sources.contains_key(&source)
    }
}

fn less<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_there_as_long_as_a_contact_of_it() {
        let mut sites = Sites::default();
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let (one, other) = (at("192.0.2.1:5060"), at("192.0.2.1:5062"));
        for from in [one, one, other] {
            sites.add(Some(from));
        }
        sites.remove(Some(one));
        assert!(sites.has_flow(one));
        sites.remove(Some(one));
        assert!(!sites.has_flow(one) && sites.has_flow(other));
        assert!(sites.has_source(Source::of(one.ip())));
        sites.remove(Some(other));
        sites.remove(Some(other));
        assert!(!sites.has_source(Source::of(one.ip())));
        assert!(sites.flows.is_empty() && sites.sources.is_empty());
    }
}
