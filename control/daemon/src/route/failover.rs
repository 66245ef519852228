//! On which answers of a trunk the next one is tried.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One reason to try the next trunk: `408`, `"5xx"`, or `"q850/34"` for the cause in a Reason
/// header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A status.
    Status(u16),
    /// All of a class: 5 for 5xx.
    Class(u16),
    /// A cause of Q.850 in a Reason header (RFC 3326).
    Q850(u32),
}

impl FromStr for Cause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no cause: use 408, \"5xx\" or \"q850/34\"");
        let lower = text.to_ascii_lowercase();
        if let Some(cause) = lower.strip_prefix("q850/") {
            let cause = cause.parse().ok().filter(|cause| (1..=127).contains(cause));
            return cause.map(Self::Q850).ok_or_else(bad);
        }
        if let Some(class) = lower.strip_suffix("xx") {
            let class = class.parse().ok().filter(|class| (3..=6).contains(class));
            return class.map(Self::Class).ok_or_else(bad);
        }
        let status = lower.parse().ok().filter(|status| (300..=699).contains(status));
        status.map(Self::Status).ok_or_else(bad)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Class(class) => write!(f, "{class}xx"),
            Self::Q850(cause) => write!(f, "q850/{cause}"),
        }
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a cause is a status (408) or a text (\"5xx\", \"q850/34\")")]
        enum Written {
            Number(u16),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(status) => status.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
        .map_err(D::Error::custom)
    }
}

/// The causes of one candidate. Clones share the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover(Arc<[Cause]>);

impl Failover {
    /// These causes.
    #[must_use]
    pub fn new(causes: &[Cause]) -> Self {
        Self(causes.into())
    }

    /// The causes that say that the trunk could not serve the call: no answer, and server errors.
    /// Not those that a person or the far network gave about this very number (486, 6xx, 404, 484):
    /// another way would bring the same answer, later and for money.
    #[must_use]
    pub fn defaults() -> Vec<Cause> {
        vec![Cause::Status(408), Cause::Class(5)]
    }

    /// Whether this answer means that the next one is tried.
    #[must_use]
    pub fn goes_on(&self, status: u16, q850: Option<u32>) -> bool {
        self.0.iter().any(|cause| match *cause {
            Cause::Status(it) => it == status,
            Cause::Class(class) => class == status / 100,
            Cause::Q850(it) => q850 == Some(it),
        })
    }
}

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, cause) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{cause}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_goes_on_where_the_trunk_is_at_fault() {
        let failover = Failover::new(&Failover::defaults());
        for status in [408, 500, 502, 503, 504] {
            assert!(failover.goes_on(status, None), "{status}");
        }
        for status in [302, 403, 404, 480, 484, 486, 487, 488, 600, 603, 606] {
            assert!(!failover.goes_on(status, Some(34)), "{status}");
        }
    }

    #[test]
    fn causes_are_read_and_shown() {
        for text in ["408", "5xx", "603", "q850/34"] {
            assert_eq!(text.parse::<Cause>().unwrap().to_string(), text);
        }
        for bad in ["", "200", "700", "2xx", "7xx", "xx", "q850/0", "q850/200", "busy"] {
            assert!(bad.parse::<Cause>().is_err(), "{bad}");
        }
        let list = Failover::new(&[Cause::Class(6), Cause::Q850(34)]);
        assert_eq!(list.to_string(), "6xx, q850/34");
        assert!(list.goes_on(603, None) && list.goes_on(404, Some(34)));
        assert!(!list.goes_on(404, Some(1)) && !list.goes_on(503, None));
    }

    #[test]
    fn numbers_and_texts_are_taken() {
        #[derive(Deserialize)]
        struct It {
            causes: Vec<Cause>,
        }
        let it: It = toml::from_str("causes = [408, \"5xx\", \"404\"]").unwrap();
        assert_eq!(it.causes, [Cause::Status(408), Cause::Class(5), Cause::Status(404)]);
        assert!(toml::from_str::<It>("causes = [99]").is_err());
        assert!(toml::from_str::<It>("causes = [true]").is_err());
    }
}
