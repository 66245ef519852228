//! A tree of prefixes over the digits, `+`, `*` and `#`.

/// Symbols that a prefix is made of.
const SYMBOLS: &[u8; 13] = b"0123456789+*#";

/// Prefixes with the rules that stand at them.
#[derive(Clone, Debug)]
pub struct PrefixTree {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Index of the child for each symbol; 0 for none, for the root is nobody's child.
    children: [u32; SYMBOLS.len()],
    rules: Vec<usize>,
}

impl Default for PrefixTree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

/// Whether a text can be a prefix.
#[must_use]
pub fn is_prefix(text: &str) -> bool {
    text.bytes().enumerate().all(|(at, octet)| {
        let known = SYMBOLS.contains(&octet);
        known && (octet != b'+' || at == 0)
    })
}

fn symbol(octet: u8) -> Option<usize> {
    SYMBOLS.iter().position(|it| *it == octet)
}

impl PrefixTree {
    /// Puts a rule at a prefix; symbols that no number has end the prefix.
    pub fn insert(&mut self, prefix: &str, rule: usize) {
        let mut at = 0;
        for symbol in prefix.bytes().map_while(symbol) {
            let child = self.nodes[at].children[symbol] as usize;
            at = if child == 0 { self.grow(at, symbol) } else { child };
        }
        self.nodes[at].rules.push(rule);
    }

    fn grow(&mut self, at: usize, symbol: usize) -> usize {
        let new = self.nodes.len();
        // Four thousand million prefixes do not fit into memory.
        self.nodes[at].children[symbol] = u32::try_from(new).unwrap_or(0);
        self.nodes.push(Node::default());
        new
    }

    /// The prefixes of a number that have rules, the longest first: length and rules.
    #[must_use]
    pub fn matches(&self, number: &str) -> Vec<(usize, &[usize])> {
        let mut found = Vec::new();
        let mut node = &self.nodes[0];
        for length in 0..=number.len() {
            if !node.rules.is_empty() {
                found.push((length, node.rules.as_slice()));
            }
            let next = number.as_bytes().get(length).copied().and_then(symbol);
            let child = next.map_or(0, |symbol| node.children[symbol] as usize);
            if child == 0 {
                break;
            }
            node = &self.nodes[child];
        }
        found.reverse();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(prefixes: &[&str]) -> PrefixTree {
        let mut tree = PrefixTree::default();
        for (rule, prefix) in prefixes.iter().enumerate() {
            tree.insert(prefix, rule);
        }
        tree
    }

    #[test]
    fn the_longest_prefix_comes_first() {
        let tree = tree(&["", "+", "+49", "+4930", "+49", "11"]);
        let found: Vec<_> = tree.matches("+4930123");
        assert_eq!(found, [(5, &[3][..]), (3, &[2, 4]), (1, &[1]), (0, &[0])]);
        assert_eq!(tree.matches("+4989"), [(3, &[2, 4][..]), (1, &[1]), (0, &[0])]);
        assert_eq!(tree.matches("112"), [(2, &[5][..]), (0, &[0])]);
        assert_eq!(tree.matches("1"), [(0, &[0][..])]);
    }

    #[test]
    fn a_whole_number_is_a_prefix_of_itself_and_not_of_a_shorter_one() {
        let tree = tree(&["+493012345"]);
        assert_eq!(tree.matches("+493012345").len(), 1);
        assert!(tree.matches("+49301234").is_empty());
        assert!(tree.matches("").is_empty());
        assert!(tree.matches("alice").is_empty());
    }

    #[test]
    fn prefixes_are_digits_with_a_plus_in_front_at_most() {
        for good in ["", "+", "+49", "*21", "#", "0800"] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in ["4+", "++", "a", "+49 30", "0x"] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }

    #[test]
    fn it_finds_what_a_search_through_all_finds() {
        // A fixed pseudo-random set against the plain search.
        let mut state = 7_u32;
        let mut draw = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        };
        let mut number = |longest| -> String {
            let len = draw(longest);
            (0..len).map(|_| char::from_digit(draw(3), 10).unwrap()).collect()
        };
        let prefixes: Vec<String> = (0..200).map(|_| number(7)).collect();
        let refs: Vec<&str> = prefixes.iter().map(String::as_str).collect();
        let tree = tree(&refs);
        for _ in 0..500 {
            let dialled = number(10);
            let mut expected: Vec<usize> =
                (0..refs.len()).filter(|it| dialled.starts_with(refs[*it])).collect();
            expected.sort_by_key(|it| (std::cmp::Reverse(refs[*it].len()), *it));
            let found: Vec<usize> =
                tree.matches(&dialled).into_iter().flat_map(|(_, rules)| rules.to_vec()).collect();
            assert_eq!(found, expected, "{dialled}");
        }
    }
}
