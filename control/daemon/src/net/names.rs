//! The names under which peers were looked up, by the numbers that flows carry.

use std::collections::HashMap;
use std::sync::Arc;
use tandem_signalling::stack::PeerName;

/// Names that are remembered; beyond it the oldest one is forgotten, and a request that still waits
/// for a connection to it fails as if it could not be sent.
pub const MAX_NAMES: usize = 65_536;

/// Numbers of names, so that a [`Flow`](tandem_signalling::stack::Flow) stays plain data.
#[derive(Debug, Default)]
pub struct PeerNames {
    numbers: HashMap<Arc<str>, u32>,
    /// The name of number n is at `(n - 1) % MAX_NAMES`.
    names: Vec<(u32, Arc<str>)>,
    last: u32,
}

impl PeerNames {
    /// The number of a name; the same one for the same name, in any case.
    pub fn number(&mut self, name: &str) -> PeerName {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if name.is_empty() {
            return PeerName::NONE;
        }
        if let Some(number) = self.numbers.get(&*name) {
            return PeerName::new(*number);
        }
        self.last = self.last.checked_add(1).unwrap_or(1);
        let name: Arc<str> = name.into();
        let entry = (self.last, Arc::clone(&name));
        let at = slot(self.last);
        if at < self.names.len() {
            let (_, forgotten) = core::mem::replace(&mut self.names[at], entry);
            self.numbers.remove(&forgotten);
        } else {
            self.names.push(entry);
        }
        self.numbers.insert(name, self.last);
        PeerName::new(self.last)
    }

    /// The name of a number; `None` for [`PeerName::NONE`] and for a name that was forgotten.
    #[must_use]
    pub fn get(&self, name: PeerName) -> Option<&Arc<str>> {
        let wanted = name.number();
        let (number, text) = self.names.get(slot(wanted))?;
        (*number == wanted && wanted != 0).then_some(text)
    }
}

fn slot(number: u32) -> usize {
    usize::try_from(number.wrapping_sub(1)).unwrap_or(usize::MAX) % MAX_NAMES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_has_one_number_until_it_is_forgotten() {
        let mut names = PeerNames::default();
        let first = names.number("Sip.Example.com.");
        assert_eq!(names.number("sip.example.com"), first);
        assert_eq!(&**names.get(first).unwrap(), "sip.example.com");
        assert_eq!(names.number(""), PeerName::NONE);
        assert_eq!(names.get(PeerName::NONE), None);
        for n in 0..MAX_NAMES {
            names.number(&format!("host{n}.example"));
        }
        assert_eq!(names.get(first), None);
        assert_ne!(names.number("sip.example.com"), first);
        assert_eq!((names.names.len(), names.numbers.len()), (MAX_NAMES, MAX_NAMES));
    }
}
