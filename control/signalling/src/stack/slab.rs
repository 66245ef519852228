//! Entries with stable keys: an index and a generation, so that a stale key finds nothing.

/// Key of an entry: the index in the low half, its generation in the high half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(u64);

impl Key {
    const fn new(index: u32, generation: u32) -> Self {
        Self(((generation as u64) << 32) | index as u64)
    }

    /// The key as a number, for branches and logs.
    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    /// The key of a number that [`Key::to_bits`] gave; any other number finds nothing.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
    const fn index(self) -> usize {
        self.0 as u32 as usize
    }

    const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A table of entries, bounded by `limit`.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    limit: u32,
}

impl<T> Slab<T> {
    pub(crate) const fn new(limit: u32) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), limit }
    }

    /// Sets the limit; entries beyond it stay until they are removed.
    pub(crate) const fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Entries alive.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.limit as usize
    }

    /// The key that the next entry will have; `None` when the table is full.
    pub(crate) fn next_key(&self) -> Option<Key> {
        if self.is_full() {
            return None;
        }
        match self.free.last() {
            Some(index) => Some(Key::new(*index, self.slots[*index as usize].generation)),
            None => Some(Key::new(u32::try_from(self.slots.len()).ok()?, 0)),
        }
    }

    /// Adds an entry; `None` when the table is full.
    pub(crate) fn insert(&mut self, value: T) -> Option<Key> {
        let key = self.next_key()?;
        if self.free.pop().is_none() {
            self.slots.push(Slot { generation: 0, value: None });
        }
        self.slots[key.index()].value = Some(value);
        Some(key)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index())?;
        if slot.generation == key.generation() { slot.value.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index())?;
        if slot.generation == key.generation() { slot.value.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index())?;
        if slot.generation != key.generation() {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(u32::try_from(key.index()).ok()?);
        Some(value)
    }

    /// Every entry with its key, in the order of their indexes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            Some((Key::new(u32::try_from(index).ok()?, slot.generation), value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::new(2);
        let first = slab.insert("a").unwrap();
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b").unwrap();
        assert_eq!(first.index(), second.index());
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"b"));
        assert_eq!(slab.get(Key::from_bits(u64::MAX)), None);
    }

    #[test]
    fn a_full_slab_refuses() {
        let mut slab = Slab::new(1);
        let expected = slab.next_key();
        let key = slab.insert(1).unwrap();
        assert_eq!(expected, Some(key));
        assert!(slab.is_full());
        assert_eq!((slab.next_key(), slab.insert(2)), (None, None));
        assert_eq!(slab.iter().count(), 1);
    }
}
