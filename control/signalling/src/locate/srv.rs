//! The order of SRV records (RFC 2782), and the randomness that it takes.

use super::records::Srv;

/// Numbers that nobody needs to guess: they only share load.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that follow from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (SplitMix64).
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number up to and including `most`.
    pub const fn up_to(&mut self, most: u64) -> u64 {
        match most.checked_add(1) {
            Some(count) => self.next_u64() % count,
            None => self.next_u64(),
        }
    }

    /// Puts a list in a random order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            let with = usize::try_from(self.up_to(end as u64)).unwrap_or(0);
            list.swap(end, with);
        }
    }
}

/// The order in which SRV records are tried: by priority, and within one priority by weight.
#[must_use]
pub fn order(mut records: Vec<Srv>, random: &mut Random) -> Vec<Srv> {
    // Those of weight 0 to the front, so that they have a small chance of being chosen.
    records.sort_by_key(|it| (it.priority, it.weight != 0));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|it| it.priority) {
        let group = records.iter().take_while(|it| it.priority == priority);
        let sum: u64 = group.clone().map(|it| u64::from(it.weight)).sum();
        let drawn = random.up_to(sum);
        let mut running = 0;
        let mut chosen = 0;
        for (at, record) in group.enumerate() {
            running += u64::from(record.weight);
            chosen = at;
            if running >= drawn {
                break;
            }
        }
        ordered.push(records.remove(chosen));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 5060, target: target.into() }
    }

    #[test]
    fn priorities_come_in_order() {
        let records = vec![srv(20, 100, "c"), srv(10, 0, "a"), srv(30, 1, "d")];
        for seed in 0..20 {
            let ordered = order(records.clone(), &mut Random::new(seed));
            let names: Vec<&str> = ordered.iter().map(|it| &*it.target).collect();
            assert_eq!(names, ["a", "c", "d"]);
        }
    }

    #[test]
    fn weights_share_the_load() {
        let records = vec![srv(1, 60, "big"), srv(1, 20, "small"), srv(1, 20, "other")];
        let mut random = Random::new(7);
        let mut firsts = [0; 3];
        for _ in 0..10_000 {
            let ordered = order(records.clone(), &mut random);
            assert_eq!(ordered.len(), 3);
            let first = records.iter().position(|it| *it == ordered[0]).unwrap();
            firsts[first] += 1;
        }
        assert!((5_700..6_300).contains(&firsts[0]), "{firsts:?}");
        assert!((1_700..2_300).contains(&firsts[1]), "{firsts:?}");
    }

    #[test]
    fn weight_zero_is_chosen_seldom_but_not_never() {
        let records = vec![srv(1, 99, "big"), srv(1, 0, "zero")];
        let mut random = Random::new(3);
        let zero = (0..10_000)
            .filter(|_| &*order(records.clone(), &mut random)[0].target == "zero")
            .count();
        assert!((20..400).contains(&zero), "{zero}");
    }

    #[test]
    fn all_of_weight_zero_are_kept() {
        let records = vec![srv(1, 0, "a"), srv(1, 0, "b"), srv(1, 0, "c")];
        let mut names: Vec<_> =
            order(records, &mut Random::new(1)).into_iter().map(|it| it.target).collect();
        names.sort();
        assert_eq!(names, ["a".into(), "b".into(), "c".into()] as [std::sync::Arc<str>; 3]);
    }
}
