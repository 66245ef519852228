//! Equality of URIs (RFC 3261 §19.1.4, RFC 3966 §5).

use super::escape::{eq_both_unescaped, eq_unescaped};
use super::{Scheme, Uri};

impl Uri<'_> {
    fn same_params(&self, other: &Self) -> bool {
        // In only one of the two, these still make a difference; others do not.
        const STRICT: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];
        // Of a name that is repeated, which is a fault, the first counts.
        let first = |uri: &Self, name: &str| {
            uri.params()
                .find(|(it, _)| eq_both_unescaped(it, name, true))
                .map(|(_, value)| value.unwrap_or(""))
        };
        self.params().all(|(name, _)| match (first(self, name), first(other, name)) {
            (Some(ours), Some(theirs)) => eq_both_unescaped(ours, theirs, true),
            _ => !STRICT.iter().any(|it| eq_unescaped(name, it, true)),
        })
    }

    fn same_headers(&self, other: &Self) -> bool {
        // Names may be repeated: Route may. So every pair has to be there as often on both sides.
        let times = |uri: &Self, (name, value): (&str, Option<&str>)| {
            uri.headers()
                .filter(|(it, theirs)| {
                    eq_both_unescaped(it, name, true)
                        && eq_both_unescaped(theirs.unwrap_or(""), value.unwrap_or(""), false)
                })
                .count()
        };
        self.headers().count() == other.headers().count()
            && self.headers().all(|pair| times(self, pair) == times(other, pair))
    }
}

impl PartialEq for Uri<'_> {
    fn eq(&self, other: &Self) -> bool {
        let same_text = |a: Option<&str>, b: Option<&str>| match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => eq_both_unescaped(a, b, false),
            _ => false,
        };
        match self.scheme {
            _ if self.scheme != other.scheme => false,
            Scheme::Other => self.raw == other.raw,
            Scheme::Tel => {
                let digits = |it: Option<&str>| -> String {
                    it.unwrap_or("").chars().filter(|it| !"-.()".contains(*it)).collect()
                };
                digits(self.user).eq_ignore_ascii_case(&digits(other.user))
                    && self.params().count() == other.params().count()
                    && self.same_params(other)
                    && other.same_params(self)
            }
            Scheme::Sip | Scheme::Sips => {
                same_text(self.user, other.user)
                    && same_text(self.password, other.password)
                    && self.host == other.host
                    && self.port == other.port
                    && self.same_params(other)
                    && other.same_params(self)
                    && self.same_headers(other)
            }
        }
    }
}
