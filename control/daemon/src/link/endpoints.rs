//! Free endpoints per worker and family, picked by the system's own randomness: who saw some ports
//! can not tell which come next.

use super::{Endpoint, Family};
use std::collections::HashMap;
use tandem_contract::handle::Handle;

/// The endpoints that the engine has bound and nobody uses.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    free: HashMap<(u16, Family), Vec<Endpoint>>,
}

impl Endpoints {
    /// One more is free; it takes the place of an earlier one of the same index. Ignored if it has
    /// no address.
    pub fn add(&mut self, endpoint: Endpoint) {
        let Some(family) = Family::of(endpoint.rtp) else { return };
        let pool = self.free.entry((endpoint.handle.worker, family)).or_default();
        match pool.iter_mut().find(|other| other.handle.index == endpoint.handle.index) {
            Some(other) => *other = endpoint,
            None => pool.push(endpoint),
        }
    }

    /// It is no longer there.
    pub fn remove(&mut self, handle: Handle) {
        for ((worker, _), pool) in &mut self.free {
            if *worker == handle.worker {
                pool.retain(|endpoint| endpoint.handle != handle);
            }
        }
    }

    /// The engine is gone, and all with it; the families stay known.
    pub fn clear(&mut self) {
        self.free.values_mut().for_each(Vec::clear);
    }

    /// Takes a random one; none if there is none, or no randomness.
    pub fn take(&mut self, worker: u16, family: Family) -> Option<Endpoint> {
        let pool = self.free.get_mut(&(worker, family)).filter(|pool| !pool.is_empty())?;
        let random = getrandom::u64().ok()?;
        // The remainder is below the length, which is a usize.
        let pick = usize::try_from(random % pool.len() as u64).unwrap_or(0);
        Some(pool.swap_remove(pick))
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self, worker: u16, family: Family) -> usize {
        self.free.get(&(worker, family)).map_or(0, Vec::len)
    }

    /// Workers that have some left of a family.
    pub fn workers(&self, family: Family) -> impl Iterator<Item = u16> {
        let some = move |(key, pool): (&(u16, Family), &Vec<Endpoint>)| {
            (key.1 == family && !pool.is_empty()).then_some(key.0)
        };
        self.free.iter().filter_map(some)
    }

    /// Families that were ever announced.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let mut families: Vec<Family> = self.free.keys().map(|key| key.1).collect();
        families.sort_unstable();
        families.dedup();
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, SocketAddr};

    fn endpoint(ip: &str, worker: u16, index: u32) -> Endpoint {
        let ip: IpAddr = ip.parse().unwrap();
        let port = 30_000 + u16::try_from(index).unwrap() * 2;
        Endpoint {
            handle: Handle { engine: 0, worker, index, generation: 1 },
            rtp: SocketAddr::new(ip, port).into(),
            rtcp: SocketAddr::new(ip, port + 1).into(),
        }
    }

    #[test]
    fn each_is_given_once_and_the_order_is_not_that_of_announcement() {
        let mut endpoints = Endpoints::default();
        for index in 0..50 {
            endpoints.add(endpoint("192.0.2.1", 0, index));
            endpoints.add(endpoint("192.0.2.1", 0, index));
        }
        let take_all = |mut endpoints: Endpoints| -> Vec<u32> {
            std::iter::from_fn(|| endpoints.take(0, Family::V4))
                .map(|endpoint| endpoint.handle.index)
                .collect()
        };
        let taken = take_all(endpoints.clone());
        assert_ne!(taken, take_all(endpoints), "another order each time");
        let mut sorted = taken.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_ne!(taken, sorted);
    }

    #[test]
    fn workers_and_families_are_kept_apart() {
        let mut endpoints = Endpoints::default();
        endpoints.add(endpoint("192.0.2.1", 0, 1));
        endpoints.add(endpoint("2001:db8::1", 1, 2));
        assert_eq!(endpoints.take(0, Family::V6), None);
        assert_eq!(endpoints.take(1, Family::V4), None);
        assert_eq!(endpoints.workers(Family::V6).collect::<Vec<_>>(), [1]);
        assert_eq!(endpoints.families(), [Family::V4, Family::V6]);
        endpoints.remove(Handle { engine: 0, worker: 1, index: 2, generation: 1 });
        assert_eq!(endpoints.left(1, Family::V6), 0);
        endpoints.clear();
        assert_eq!(endpoints.take(0, Family::V4), None);
        assert_eq!(endpoints.families(), [Family::V4, Family::V6]);
    }
}
