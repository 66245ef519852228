//! Answers of DNS, kept as long as they hold; those without records too (RFC 2308). An answer that
//! has run out is still better than none when the servers fail (RFC 8767).

use core::time::Duration;
use std::collections::{BTreeSet, HashMap};
use tandem_signalling::locate::{Answer, NoAnswer, Question};
use tandem_wire::time::Instant;

/// Answers that are kept at the same time; the one that ends first makes room.
pub const MAX_CACHED: usize = 16_384;
/// For so long it is not asked again after the servers failed, and an old answer holds instead.
pub const FAILURE_HOLDS: Duration = Duration::from_secs(10);
/// For so long an old answer may stand in for one that cannot be had.
pub const STALE_FOR: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
struct Entry {
    answer: Answer,
    fresh_until: Instant,
    ends: Instant,
}

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Question, Entry>,
    by_end: BTreeSet<(Instant, Question)>,
}

impl Cache {
    /// The answer, if it still holds.
    pub(super) fn get(&self, now: Instant, question: &Question) -> Option<&Answer> {
        self.entries.get(question).filter(|it| it.fresh_until > now).map(|it| &it.answer)
    }

    /// Keeps an answer for `ttl`; gives the one that counts from now on, which is the old one if
    /// the servers failed.
    pub(super) fn put(
        &mut self,
        now: Instant,
        question: &Question,
        answer: Answer,
        ttl: Duration,
    ) -> Answer {
        let failed = matches!(answer, Err(NoAnswer::Failed | NoAnswer::TimedOut));
        let old = self.remove(question).filter(|it| it.ends > now);
        let entry = match old {
            Some(old) if failed && old.answer.is_ok() => {
                Entry { fresh_until: now + FAILURE_HOLDS, ..old }
            }
            _ if failed => {
                Entry { answer, fresh_until: now + FAILURE_HOLDS, ends: now + FAILURE_HOLDS }
            }
            _ => {
                let fresh_until = now + ttl;
                let ends = if answer.is_ok() { fresh_until + STALE_FOR } else { fresh_until };
                Entry { answer, fresh_until, ends }
            }
        };
        let counts = entry.answer.clone();
        self.make_room(now);
        self.by_end.insert((entry.ends, question.clone()));
        self.entries.insert(question.clone(), entry);
        counts
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn remove(&mut self, question: &Question) -> Option<Entry> {
        let entry = self.entries.remove(question)?;
        self.by_end.remove(&(entry.ends, question.clone()));
        Some(entry)
    }

    fn make_room(&mut self, now: Instant) {
        while let Some((ends, _)) = self.by_end.first() {
            if *ends > now && self.entries.len() < MAX_CACHED {
                break;
            }
            if let Some((_, question)) = self.by_end.pop_first() {
                self.entries.remove(&question);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_signalling::locate::{Kind, Records};

    fn question(name: &str) -> Question {
        Question { name: name.into(), kind: Kind::A }
    }

    fn records(text: &str) -> Answer {
        Ok(Records::Addresses(vec![text.parse().unwrap()]))
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1_000_000 + seconds * 1_000)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn answers_hold_for_their_time() {
        let mut cache = Cache::default();
        let _ = cache.put(at(0), &question("a"), records("192.0.2.1"), MINUTE);
        let _ = cache.put(at(0), &question("b"), Err(NoAnswer::NoRecords), MINUTE);
        assert_eq!(cache.get(at(59), &question("a")), Some(&records("192.0.2.1")));
        assert_eq!(cache.get(at(59), &question("b")), Some(&Err(NoAnswer::NoRecords)));
        assert_eq!(cache.get(at(60), &question("a")), None);
        assert_eq!(cache.get(at(60), &question("b")), None);
        let _ = cache.put(at(60), &question("a"), records("192.0.2.2"), MINUTE);
        assert_eq!(cache.get(at(61), &question("a")), Some(&records("192.0.2.2")));
        assert_eq!((cache.len(), cache.by_end.len()), (1, 1));
    }

    #[test]
    fn an_old_answer_stands_in_when_the_servers_fail() {
        let mut cache = Cache::default();
        let _ = cache.put(at(0), &question("a"), records("192.0.2.1"), MINUTE);
        let counts = cache.put(at(100), &question("a"), Err(NoAnswer::TimedOut), Duration::ZERO);
        assert_eq!(counts, records("192.0.2.1"));
        assert!(cache.get(at(109), &question("a")).is_some());
        assert_eq!(cache.get(at(110), &question("a")), None, "it is asked again");
        // That the name is gone is an answer.
        let gone = Err(NoAnswer::NoRecords);
        assert_eq!(cache.put(at(120), &question("a"), gone.clone(), MINUTE), gone);
        let failed = Err(NoAnswer::Failed);
        assert_eq!(cache.put(at(200), &question("a"), failed.clone(), MINUTE), failed);
        assert_eq!(cache.get(at(205), &question("a")), Some(&failed));
        let _ = cache.put(at(300), &question("b"), records("192.0.2.1"), MINUTE);
        let late = cache.put(at(4_000), &question("b"), failed.clone(), MINUTE);
        assert_eq!(late, failed, "too old");
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = Cache::default();
        let _ = cache.put(at(0), &question("first"), records("192.0.2.1"), MINUTE);
        for n in 0..MAX_CACHED {
            let _ = cache.put(at(1), &question(&n.to_string()), records("192.0.2.1"), MINUTE);
        }
        assert_eq!((cache.len(), cache.by_end.len()), (MAX_CACHED, MAX_CACHED));
        assert_eq!(cache.get(at(2), &question("first")), None);
        let _ = cache.put(at(9_999), &question("new"), records("192.0.2.1"), MINUTE);
        assert_eq!(cache.len(), 1);
    }
}
