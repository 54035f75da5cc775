//! A key group of which only some entries are on the heap: those that changed and are not known to be stored, and as many others as there is room for.
//!
//! ```text
//! changed --freeze--> frozen in the younger generation --> in the older one --a checkpoint at or after it completed--> no mark: may be evicted
//! ```
//! Two generations, so that overlapping checkpoints do not keep each other's entries for ever.
//!
//! # Invariants
//! - An entry without a mark is in the newest checkpoint as it is here.
//! - A key that was removed is in `gone` until a completed checkpoint has its tombstone: so long it must not be loaded.
//! - The index has the place of every entry under its key's hash.

use hashbrown::HashTable;
use serde::Serialize;

use crate::{
    checkpoint::snapshot::{BlockKind, StateBlock},
    error::BoxError,
    key::Key,
    key_group::KeyGroup,
    mutation::{self, Mutation},
    state::{
        bits::Bits,
        block::{self, Values},
        pieces::Pieces,
        sought::Sought,
    },
};

/// See the module. A table of entries would be twice as large as they are once it has grown; so entries lie one behind the other, with no more between them than they need, and the table that doubles
/// has four bytes for each. Their places are the buckets that others know.
pub(super) struct PartialGroup<K, S> {
    index: HashTable<u32>,
    entries: Pieces<Entry<K, S>>,
    marks: Marks,
    gone: HashTable<Gone<K>>,
    /// What an entry took in the last block.
    encoded: usize,
}

struct Entry<K, S> {
    key: K,
    value: S,
}

/// Why entries must stay, by their places.
#[derive(Default)]
struct Marks {
    changed: Bits,
    younger: Bits,
    older: Bits,
    /// Places with one or more.
    marked: usize,
}

impl Marks {
    #[inline]
    fn are_at(&self, place: usize) -> bool {
        self.changed.get(place) || self.younger.get(place) || self.older.get(place)
    }

    #[inline]
    fn change(&mut self, place: usize) {
        if !self.changed.get(place) {
            self.marked += usize::from(!self.are_at(place));
            self.changed.set(place);
        }
    }

    /// The entry at `place` went, and the one at `last` is there now.
    fn swap_remove(&mut self, place: usize, last: usize) {
        self.marked -= usize::from(self.are_at(place));
        let all = [&mut self.changed, &mut self.younger, &mut self.older];
        all.into_iter().for_each(|bits| bits.swap_remove(place, last));
    }

    /// Takes over what `other` has at `from`.
    fn copy(&mut self, other: &Self, from: usize, place: usize) {
        let pairs =
            [(&mut self.changed, &other.changed), (&mut self.younger, &other.younger), (&mut self.older, &other.older)];
        pairs.into_iter().filter(|(_, other)| other.get(from)).for_each(|(bits, _)| bits.set(place));
        self.marked += 1;
    }

    fn freeze(&mut self) {
        self.younger.take_in(&mut self.changed);
    }

    fn older_is_stored(&mut self) {
        std::mem::swap(&mut self.older, &mut self.younger);
        self.younger.clear_all();
        self.marked = self.changed.count_either(&self.older);
    }

    fn heap_bytes(&self) -> usize {
        self.changed.heap_bytes() + self.younger.heap_bytes() + self.older.heap_bytes()
    }
}

/// A key that was removed, and why that must be known. Like the marks of an entry.
struct Gone<K> {
    key: K,
    changed: bool,
    younger: bool,
    older: bool,
}

impl<K: Key, S> PartialGroup<K, S> {
    pub(super) fn new() -> Self {
        Self {
            index: HashTable::new(),
            entries: Pieces::default(),
            marks: Marks::default(),
            gone: HashTable::new(),
            encoded: 0,
        }
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, sought: &impl Sought<K>) -> Option<usize> {
        let is_sought = |place: &u32| self.entries.get(*place as usize).is_some_and(|entry| sought.is(&entry.key));
        self.index.find(hash, is_sought).map(|place| *place as usize)
    }

    #[inline]
    pub(super) fn value(&self, place: usize) -> Option<&S> {
        self.entries.get(place).map(|entry| &entry.value)
    }

    #[inline]
    pub(super) fn value_mut(&mut self, place: usize) -> Option<&mut S> {
        self.entries.get_mut(place).map(|entry| &mut entry.value)
    }

    #[inline]
    pub(super) fn mark_changed(&mut self, place: usize) {
        self.marks.change(place);
    }

    /// Adds an entry for a key that has none; gives back its place.
    pub(super) fn insert(&mut self, hash: u64, key: K, value: S) -> usize {
        let place = self.add(hash, key, value);
        self.marks.change(place);
        place
    }

    fn add(&mut self, hash: u64, key: K, value: S) -> usize {
        let place = self.entries.push(Entry { key, value });
        self.index.insert_unique(hash, place as u32, |place| hash_at(&self.entries, *place));
        place
    }

    pub(super) fn remove(&mut self, hash: u64, sought: &impl Sought<K>) -> Option<S> {
        let place = self.find(hash, sought)?;
        let last = self.entries.len() - 1;
        self.index.find_entry(hash, |other| *other as usize == place).ok()?.remove();
        if place != last {
            let moved = self.index.find_mut(hash_at(&self.entries, last as u32), |other| *other as usize == last);
            moved.into_iter().for_each(|other| *other = place as u32);
        }
        self.marks.swap_remove(place, last);
        let entry = self.entries.swap_remove(place)?;
        // The older marks go with the value: a tombstone that is stored later stands above it.
        match self.gone.find_mut(hash, |gone| gone.key == entry.key) {
            Some(gone) => gone.changed = true,
            None => {
                let gone = Gone { key: entry.key, changed: true, younger: false, older: false };
                self.gone.insert_unique(hash, gone, |gone| gone.key.hash64());
            }
        }
        Some(entry.value)
    }

    /// Whether only the store knows if the key has a value.
    #[inline]
    pub(super) fn is_unknown(&self, hash: u64, key: &K) -> bool {
        self.find(hash, key).is_none()
            && (self.gone.is_empty() || self.gone.find(hash, |gone| gone.key == *key).is_none())
    }

    /// Takes in what the store has for a key that was unknown.
    pub(super) fn load(&mut self, hash: u64, key: K, value: S) {
        self.add(hash, key, value);
    }

    /// A checkpoint holds all of the older generation; what was in the younger one is now in that.
    pub(super) fn older_is_stored(&mut self) {
        self.marks.older_is_stored();
        self.gone.retain(|gone| {
            gone.older = std::mem::take(&mut gone.younger);
            gone.changed || gone.older
        });
        if self.gone.is_empty() {
            self.gone = HashTable::new();
        }
    }

    /// What the tables take, without what keys and values own.
    pub(super) fn heap_bytes(&self) -> usize {
        let tables = self.index.allocation_size() + self.gone.allocation_size();
        tables + self.entries.heap_bytes() + self.marks.heap_bytes()
    }

    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Entries without a mark.
    fn evictable(&self) -> usize {
        self.entries.len() - self.marks.marked
    }

    /// Whether it takes much more of the heap than its entries need, or has many that may go.
    pub(super) fn is_worth_evicting(&self) -> bool {
        self.evictable() > self.entries.len() / 8 || self.index.capacity() > 4 * self.entries.len() + 16
    }

    /// Drops all entries without a mark.
    pub(super) fn evict(&mut self) {
        let mut marks = std::mem::take(&mut self.marks);
        if mutation::is(Mutation::ChangedEvicted) {
            marks = Marks::default();
        }
        // The old one goes before the new one comes: both at once would be above the limit that this is for.
        self.index = HashTable::new();
        self.index = HashTable::with_capacity(marks.marked);
        for (place, entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            if marks.are_at(place) {
                let kept = self.add(entry.key.hash64(), entry.key, entry.value);
                self.marks.copy(&marks, place, kept);
            }
        }
        self.gone.shrink_to_fit(|gone| gone.key.hash64());
    }
}

fn hash_at<K: Key, S>(entries: &Pieces<Entry<K, S>>, place: u32) -> u64 {
    entries.get(place as usize).map_or(0, |entry| entry.key.hash64())
}

impl<K: Key, S: Serialize> PartialGroup<K, S> {
    /// What changed since the last call, and the keys that went; `None` if nothing.
    pub(super) fn freeze(&mut self, group: KeyGroup, values: Values) -> Result<Option<StateBlock>, BoxError> {
        let removed: Vec<_> = self.gone.iter().filter(|gone| gone.changed).map(|gone| gone.key.clone()).collect();
        let entries = removed.len() + self.marks.changed.count();
        if entries == 0 {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(entries * self.encoded);
        block::begin(&mut bytes, values, &removed);
        for entry in self.marks.changed.places().filter_map(|place| self.entries.get(place)) {
            block::push(&mut bytes, &entry.key, &entry.value)?;
        }
        // It is kept until it is stored.
        bytes.shrink_to_fit();
        self.encoded = bytes.len().div_ceil(entries);
        self.marks.freeze();
        self.gone.iter_mut().for_each(|gone| gone.younger |= std::mem::take(&mut gone.changed));
        Ok(Some(StateBlock { group, kind: BlockKind::Changes, entries: entries as u32, bytes }))
    }
}
