//! Which transactions use a flow, so that a transport failure finds them without a search.

use super::slab::{Key, Slab};
use super::types::{Flow, PeerName, Transport};
use core::net::SocketAddr;
use std::collections::HashMap;

type Peer = (Transport, SocketAddr, u64, PeerName);

const fn peer(flow: &Flow) -> Peer {
    (flow.transport, flow.remote, flow.connection, flow.name)
}

/// Place of an entry among those of the same flow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    previous: Option<Key>,
    next: Option<Key>,
}

/// An entry that is listed by its flow.
pub(super) trait OnFlow {
    fn flow(&self) -> &Flow;
    fn link(&mut self) -> &mut Link;
}

/// The first entry of each flow; the rest is linked from there.
#[derive(Debug, Default)]
pub(super) struct FlowIndex {
    first: HashMap<Peer, Key>,
}

impl FlowIndex {
    /// Lists an entry.
    pub(super) fn add<T: OnFlow>(&mut self, slab: &mut Slab<T>, key: Key) {
        let Some(entry) = slab.get_mut(key) else { return };
        let next = self.first.insert(peer(entry.flow()), key);
        *entry.link() = Link { previous: None, next };
        if let Some(next) = next.and_then(|next| slab.get_mut(next)) {
            next.link().previous = Some(key);
        }
    }

    /// Takes an entry off the list of its flow; before its flow changes or it is removed.
    pub(super) fn remove<T: OnFlow>(&mut self, slab: &mut Slab<T>, key: Key) {
        let Some(entry) = slab.get_mut(key) else { return };
        let at = peer(entry.flow());
        let link = core::mem::take(entry.link());
        if let Some(next) = link.next.and_then(|next| slab.get_mut(next)) {
            next.link().previous = link.previous;
        }
        match (link.previous, link.next) {
            (Some(previous), next) => {
                if let Some(previous) = slab.get_mut(previous) {
                    previous.link().next = next;
                }
            }
            (None, Some(next)) => {
                self.first.insert(at, next);
            }
            (None, None) => {
                self.first.remove(&at);
            }
        }
    }

    /// Every entry on a flow.
    pub(super) fn on<T: OnFlow>(&self, slab: &mut Slab<T>, flow: &Flow) -> Vec<Key> {
        let mut found = Vec::new();
        let mut next = self.first.get(&peer(flow)).copied();
        while let Some(key) = next {
            found.push(key);
            next = slab.get_mut(key).and_then(|entry| entry.link().next);
        }
        found
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Entry(Flow, Link);

    impl OnFlow for Entry {
        fn flow(&self) -> &Flow {
            &self.0
        }

        fn link(&mut self) -> &mut Link {
            &mut self.1
        }
    }

    #[test]
    fn entries_are_found_by_flow_until_removed() {
        let flow = |port| {
            Flow::udp("192.0.2.1:5060".parse().unwrap(), SocketAddr::from(([192, 0, 2, 2], port)))
        };
        let mut slab = Slab::new(10);
        let mut index = FlowIndex::default();
        let mut add = |port| {
            let key = slab.insert(Entry(flow(port), Link::default())).unwrap();
            index.add(&mut slab, key);
            key
        };
        let (a, b, c, other) = (add(1), add(1), add(1), add(2));
        assert_eq!(index.on(&mut slab, &flow(1)), [c, b, a]);
        index.remove(&mut slab, b);
        assert_eq!(index.on(&mut slab, &flow(1)), [c, a]);
        index.remove(&mut slab, c);
        assert_eq!(index.on(&mut slab, &flow(1)), [a]);
        index.remove(&mut slab, a);
        assert!(index.on(&mut slab, &flow(1)).is_empty());
        assert_eq!(index.on(&mut slab, &flow(2)), [other]);
        index.remove(&mut slab, other);
        assert!(index.is_empty());
    }
}
