//! The order of candidates: by priority, and by weight among equals, as for SRV records (RFC 2782).

/// Priority (the lowest first) and weight (the share among equals) of one candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// The lowest first.
    pub priority: u16,
    /// Share of the calls among equal priorities; 0 comes last, nearly always.
    pub weight: u16,
}

/// The order in which candidates are tried: indices into `ranks`. The same `random` gives the same
/// order.
#[must_use]
pub fn order(ranks: &[Rank], random: u64) -> Vec<usize> {
    let mut draw = Draw(random);
    let mut left: Vec<usize> = (0..ranks.len()).collect();
    let mut ordered = Vec::with_capacity(ranks.len());
    while let Some(priority) = left.iter().map(|&it| ranks[it].priority).min() {
        let (mut equals, rest) = left.into_iter().partition(|&it| ranks[it].priority == priority);
        left = rest;
        while !equals.is_empty() {
            let at = pick(&equals, ranks, &mut draw);
            ordered.push(equals.remove(at));
        }
    }
    ordered
}

/// The place in `equals` that the draw falls on.
fn pick(equals: &[usize], ranks: &[Rank], draw: &mut Draw) -> usize {
    let total: u64 = equals.iter().map(|&it| u64::from(ranks[it].weight)).sum();
    if total == 0 {
        return 0;
    }
    let mut left = draw.below(total);
    for (at, &it) in equals.iter().enumerate() {
        let weight = u64::from(ranks[it].weight);
        if left < weight {
            return at;
        }
        left -= weight;
    }
    equals.len() - 1
}

/// Further numbers out of one (SplitMix64).
#[derive(Clone, Copy, Debug)]
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(priority: u16, weight: u16) -> Rank {
        Rank { priority, weight }
    }

    #[test]
    fn lower_priorities_come_first_whatever_the_draw() {
        let ranks = [rank(20, 1), rank(10, 1), rank(30, 900)];
        for random in 0..100 {
            assert_eq!(order(&ranks, random), [1, 0, 2]);
        }
        assert_eq!(order(&[], 1), Vec::<usize>::new());
    }

    #[test]
    fn weights_are_shares_of_the_calls() {
        let ranks = [rank(1, 70), rank(1, 30)];
        let first = (0..10_000_u64).filter(|n| order(&ranks, n * 7919)[0] == 0).count();
        assert!((6_800..7_200).contains(&first), "{first}");
    }

    #[test]
    fn each_is_there_once() {
        let ranks: Vec<Rank> = (0..9).map(|n| rank(n % 3, n)).collect();
        for random in 0..200 {
            let mut ordered = order(&ranks, random);
            ordered.sort_unstable();
            assert_eq!(ordered, (0..9).collect::<Vec<_>>());
        }
    }

    #[test]
    fn weight_zero_comes_after_the_others() {
        let ranks = [rank(1, 0), rank(1, 5), rank(1, 0)];
        for random in 0..100 {
            assert_eq!(order(&ranks, random), [1, 0, 2]);
        }
    }

    #[test]
    fn the_same_draw_gives_the_same_order() {
        let ranks = [rank(1, 3), rank(1, 3), rank(1, 3)];
        assert_eq!(order(&ranks, 42), order(&ranks, 42));
        let orders: std::collections::HashSet<Vec<usize>> =
            (0..100).map(|random| order(&ranks, random)).collect();
        assert_eq!(orders.len(), 6);
    }
}
