//! Every timer of the stack in one heap.
//!
//! A 4-ary heap whose entries know their place: start and stop cost the logarithm of the number of
//! running timers, a stopped timer leaves nothing behind, and the next deadline is exact.

use tandem_wire::time::Instant;

/// A running timer; a stopped or fired one is harmless to stop again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId {
    slot: u32,
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    deadline: Instant,
    /// Breaks ties, so that equal deadlines fire in the order in which they were started.
    sequence: u64,
    slot: u32,
}

impl Node {
    fn before(&self, other: &Self) -> bool {
        (self.deadline, self.sequence) < (other.deadline, other.sequence)
    }
}

#[derive(Debug)]
struct Slot<T> {
    position: u32,
    generation: u32,
    due: Option<T>,
}

/// Timers that carry a `T` each.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    heap: Vec<Node>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    sequence: u64,
}

const ARITY: usize = 4;

impl<T> Timers<T> {
    pub(crate) const fn new() -> Self {
        Self { heap: Vec::new(), slots: Vec::new(), free: Vec::new(), sequence: 0 }
    }

    /// Running timers.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|node| node.deadline)
    }

    /// Starts a timer.
    pub(crate) fn start(&mut self, deadline: Instant, due: T) -> TimerId {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { position: 0, generation: 0, due: None });
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 timers run")
            }
        };
        let entry = &mut self.slots[slot as usize];
        entry.due = Some(due);
        let id = TimerId { slot, generation: entry.generation };
        self.sequence += 1;
        self.heap.push(Node { deadline, sequence: self.sequence, slot });
        self.sift_up(self.heap.len() - 1);
        id
    }

    /// Stops a timer; its value comes back if it was still running.
    pub(crate) fn stop(&mut self, id: TimerId) -> Option<T> {
        let entry = self.slots.get(id.slot as usize)?;
        if entry.generation != id.generation || entry.due.is_none() {
            return None;
        }
        Some(self.remove_at(entry.position as usize))
    }

    /// Takes the earliest timer if its deadline is not after `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<T> {
        if self.next()? > now {
            return None;
        }
        Some(self.remove_at(0))
    }

    fn remove_at(&mut self, position: usize) -> T {
        let node = self.heap.swap_remove(position);
        if position < self.heap.len() {
            self.sift_up(position);
            self.sift_down(position);
        }
        let entry = &mut self.slots[node.slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(node.slot);
        entry.due.take().expect("a node in the heap has a value")
    }

    fn place(&mut self, position: usize) {
        let slot = self.heap[position].slot as usize;
        self.slots[slot].position =
            u32::try_from(position).expect("the heap is no longer than the slots");
    }

    fn sift_up(&mut self, mut position: usize) {
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if !self.heap[position].before(&self.heap[parent]) {
                break;
            }
            self.heap.swap(position, parent);
            self.place(position);
            position = parent;
        }
        self.place(position);
    }

    fn sift_down(&mut self, mut position: usize) {
        loop {
            let first = position * ARITY + 1;
            let children = first..(first + ARITY).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| {
                let node = &self.heap[child];
                (node.deadline, node.sequence)
            }) else {
                break;
            };
            if !self.heap[least].before(&self.heap[position]) {
                break;
            }
            self.heap.swap(position, least);
            self.place(position);
            position = least;
        }
        self.place(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn fires_in_order_and_ties_in_order_of_start() {
        let mut timers = Timers::new();
        timers.start(Instant::from_millis(20), "late");
        timers.start(Instant::from_millis(10), "first");
        timers.start(Instant::from_millis(10), "second");
        assert_eq!(timers.next(), Some(Instant::from_millis(10)));
        assert_eq!(timers.pop_due(Instant::from_millis(9)), None);
        assert_eq!(timers.pop_due(Instant::from_millis(30)), Some("first"));
        assert_eq!(timers.pop_due(Instant::from_millis(30)), Some("second"));
        assert_eq!(timers.pop_due(Instant::from_millis(30)), Some("late"));
        assert_eq!(timers.pop_due(Instant::from_millis(30)), None);
    }

    #[test]
    fn a_stopped_timer_leaves_nothing_behind() {
        let mut timers = Timers::new();
        let id = timers.start(Instant::from_millis(1), 1);
        assert_eq!(timers.stop(id), Some(1));
        assert_eq!(timers.stop(id), None);
        let again = timers.start(Instant::from_millis(1), 2);
        assert_eq!(timers.stop(id), None, "the slot is in use by another timer");
        assert_eq!(timers.len(), 1);
        assert_eq!(timers.stop(again), Some(2));
        assert_eq!(timers.next(), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Start(u64),
        Stop(usize),
        Pop(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0_u64..50).prop_map(Step::Start),
            (0_usize..200).prop_map(Step::Stop),
            (0_u64..50).prop_map(Step::Pop),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_map(steps in steps()) {
            let mut timers = Timers::new();
            let mut model: BTreeMap<(u64, usize), ()> = BTreeMap::new();
            let mut ids = Vec::new();
            for step in steps {
                match step {
                    Step::Start(at) => {
                        let number = ids.len();
                        ids.push((timers.start(Instant::from_millis(at), (at, number)), at));
                        model.insert((at, number), ());
                    }
                    Step::Stop(number) => {
                        if let Some((id, at)) = ids.get(number) {
                            let expected = model.remove(&(*at, number)).map(|()| (*at, number));
                            prop_assert_eq!(timers.stop(*id), expected);
                        }
                    }
                    Step::Pop(now) => {
                        let first = model.keys().next().copied().filter(|(at, _)| *at <= now);
                        if let Some(key) = first {
                            model.remove(&key);
                        }
                        prop_assert_eq!(timers.pop_due(Instant::from_millis(now)), first);
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                let next = model.keys().next().map(|(at, _)| Instant::from_millis(*at));
                prop_assert_eq!(timers.next(), next);
            }
        }
    }
}
