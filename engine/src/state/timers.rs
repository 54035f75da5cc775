//! Timers of keys: entries of a table, and in memory a heap that says which is next. See `docs/decisions/0020`.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::{
    error::{BoxError, Error},
    id::CheckpointId,
    key::Key,
    key_group::{KeyGroup, KeyGroupRange},
    mutation::{self, Mutation},
    operator::{OpenContext, SnapshotBuilder},
    state::{
        self,
        declared::DeclaredState,
        entry_key::{EntryKey, EntryRef},
        keyed_states::{KeyedStates, KeyedTables, TablePlace, restore_whole},
        keyed_table::KeyedTable,
        value_format::ValueFormat,
    },
    time::Timestamp,
};

/// The timers of a subtask's keys, each with a tag of its own.
///
/// # Invariants
/// - A timer is set exactly if the table has its entry.
/// - Each entry has an item in its heap, or in the hands of who asked what is due. An item without an entry is stale, and counted.
pub(crate) struct TimerTable<K, N> {
    table: KeyedTable<EntryKey<K, (Timestamp, N)>, ()>,
    /// One for each key group, or one for all.
    heaps: Box<[Heap<K, N>]>,
    range: KeyGroupRange,
    max_parallelism: u16,
    /// No timer is earlier; the earliest, if it `is_exact`.
    next: Timestamp,
    is_exact: bool,
    /// Items in the heaps, and those of them that are stale.
    items: usize,
    stale: usize,
    /// Items that are in the hands of who asked what is due.
    in_hands: usize,
}

type Heap<K, N> = BinaryHeap<Reverse<Timer<K, N>>>;

/// A timer of a key. They fire in their order: by time, then the key's hash, then the tag.
#[derive(Clone, Debug)]
pub(crate) struct Timer<K, N> {
    pub(crate) key: K,
    hash: u64,
    /// When, and the tag.
    pub(crate) at: (Timestamp, N),
}

impl<K, N: Ord> Timer<K, N> {
    fn order(&self) -> (Timestamp, u64, &N) {
        (self.at.0, self.hash, &self.at.1)
    }
}

impl<K, N: Ord> PartialEq for Timer<K, N> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<K, N: Ord> Eq for Timer<K, N> {}

impl<K, N: Ord> PartialOrd for Timer<K, N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K, N: Ord> Ord for Timer<K, N> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

/// Which timers a heap holds together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heaps {
    PerGroup,
    One,
}

/// So few stale items are left alone.
const STALE_MIN: usize = 64;

impl<K: Key, N: Key + Ord> TimerTable<K, N> {
    /// No timer at all yet.
    pub(crate) fn new(name: &str, place: &TablePlace<'_>, heaps: Heaps) -> Self {
        let TablePlace { range, max_parallelism, .. } = *place;
        let heaps = if heaps == Heaps::One { 1 } else { range.len() };
        Self {
            table: KeyedTable::new(place.address(name), ValueFormat::default(), range, max_parallelism),
            heaps: (0..heaps).map(|_| BinaryHeap::new()).collect(),
            range,
            max_parallelism,
            next: Timestamp::MAX,
            is_exact: true,
            items: 0,
            stale: 0,
            in_hands: 0,
        }
    }

    /// What checkpoints say of such a state: it is a map from time and tag to nothing.
    pub(crate) fn declared(name: &str) -> Vec<DeclaredState> {
        KeyedStates::<K>::declared(&state::map::<(Timestamp, N), ()>(name))
    }

    /// Sets a timer, unless it is set already: whether it was not.
    pub(crate) fn set(&mut self, key: &K, time: Timestamp, tag: N) -> bool {
        let at = (time, tag);
        let slot = self.table.locate(&EntryRef { key, user: &at });
        if slot.bucket().is_some() {
            return false;
        }
        self.table.insert(slot, EntryKey { key: key.clone(), user: at.clone() }, ());
        self.push(Timer { hash: key.hash64(), key: key.clone(), at });
        true
    }

    /// Takes a timer back: whether it was set.
    pub(crate) fn cancel(&mut self, key: &K, time: Timestamp, tag: N) -> bool {
        let was_set = self.take_out(key, &(time, tag));
        if was_set {
            self.stale += 1;
            if self.in_hands == 0 && self.stale > STALE_MIN && self.stale * 2 > self.items {
                self.fill_heaps();
            }
        }
        was_set
    }

    fn take_out(&mut self, key: &K, at: &(Timestamp, N)) -> bool {
        let sought = EntryRef { key, user: at };
        let slot = self.table.locate(&sought);
        slot.bucket().is_some() && self.table.remove(slot, &sought).is_some()
    }

    fn is_set(&self, timer: &Timer<K, N>) -> bool {
        self.table.locate(&EntryRef { key: &timer.key, user: &timer.at }).bucket().is_some()
    }

    fn push(&mut self, timer: Timer<K, N>) {
        self.next = self.next.min(timer.at.0);
        self.items += 1;
        let group = KeyGroup::of_hash(timer.key.group_hash(), self.max_parallelism);
        let heap = self.heap(group);
        self.heaps[heap].push(Reverse(timer));
    }

    fn heap(&self, group: KeyGroup) -> usize {
        if self.heaps.len() == 1 { 0 } else { usize::from(group.0 - self.range.start) }
    }

    fn pop(&mut self, heap: usize) -> Option<Timer<K, N>> {
        let Reverse(timer) = self.heaps[heap].pop()?;
        self.items -= 1;
        self.is_exact = false;
        Some(timer)
    }

    /// No timer is earlier than this; `None`: none is set.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Timestamp> {
        if !self.is_exact {
            self.next = self.earliest().unwrap_or(Timestamp::MAX);
            self.is_exact = true;
        }
        (self.items > 0).then_some(self.next)
    }

    /// The least time in the heaps.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        let firsts = self.heaps.iter().filter_map(|heap| heap.peek());
        firsts.map(|Reverse(timer)| timer.at.0).min()
    }

    /// Whether there may be one that is due up to `to` in a key group.
    pub(crate) fn is_due(&self, group: KeyGroup, to: Timestamp) -> bool {
        self.heaps[self.heap(group)].peek().is_some_and(|Reverse(timer)| timer.at.0 <= to)
    }

    /// Takes those that are due up to `to` in a key group off its heap, the first ones, at most so many; [`fire`](Self::fire) says which of them are still set when
    /// their turn comes, and the others are [put back](Self::put_back). With one heap for all: whatever the group.
    pub(crate) fn due(&mut self, group: KeyGroup, to: Timestamp, most: usize, into: &mut Vec<Timer<K, N>>) {
        let heap = self.heap(group);
        while into.len() < most && self.is_due(group, to) {
            let Some(timer) = self.pop(heap) else { break };
            // One that was cancelled and set again has two items.
            let is_twin = |last: &Timer<K, N>| last.at == timer.at && last.key == timer.key;
            if self.is_set(&timer) && !into.last().is_some_and(is_twin) {
                self.in_hands += 1;
                into.push(timer);
            } else {
                self.stale -= 1;
            }
        }
    }

    /// A timer that was due fires, and is set no longer: whether it still was.
    pub(crate) fn fire(&mut self, timer: &Timer<K, N>) -> bool {
        self.in_hands -= 1;
        if mutation::is(Mutation::FiredNotRemoved) {
            return self.is_set(timer);
        }
        let was_set = self.take_out(&timer.key, &timer.at);
        if !was_set {
            // It was cancelled meanwhile, and has left its heap already.
            self.stale -= 1;
        }
        was_set
    }

    /// Whether one is set that comes before `timer`, of the same group.
    pub(crate) fn comes_first(&self, timer: &Timer<K, N>) -> bool {
        let group = KeyGroup::of_hash(timer.key.group_hash(), self.max_parallelism);
        self.heaps[self.heap(group)].peek().is_some_and(|Reverse(first)| first < timer)
    }

    /// Puts back what is due, and not yet fired.
    pub(crate) fn put_back(&mut self, due: impl Iterator<Item = Timer<K, N>>) {
        for timer in due {
            self.in_hands -= 1;
            self.push(timer);
        }
    }

    /// Makes the heaps of the table, while nothing is in anybody's hands.
    fn fill_heaps(&mut self) {
        let mut filled: Vec<Vec<Reverse<Timer<K, N>>>> = self.heaps.iter().map(|_| Vec::new()).collect();
        for entry in self.table.keys() {
            let group = KeyGroup::of_hash(entry.key.group_hash(), self.max_parallelism);
            let timer = Timer { hash: entry.key.hash64(), key: entry.key.clone(), at: entry.user.clone() };
            filled[self.heap(group)].push(Reverse(timer));
        }
        self.items = filled.iter().map(Vec::len).sum();
        self.heaps = filled.into_iter().map(BinaryHeap::from).collect();
        (self.stale, self.is_exact) = (0, false);
    }

    /// Puts every timer on the heap.
    pub(crate) fn restore(&mut self, context: &OpenContext) -> Result<(), Error> {
        restore_whole(&mut self.table, context)?;
        self.fill_heaps();
        Ok(())
    }

    pub(crate) fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        KeyedTables::snapshot(&mut self.table, snapshot)
    }

    pub(crate) fn completed(&mut self, checkpoint: CheckpointId) {
        self.table.completed(checkpoint);
    }
}

#[cfg(test)]
impl<K, N> TimerTable<K, N> {
    /// What the heaps hold.
    pub(crate) fn items(&self) -> usize {
        self.items
    }
}
