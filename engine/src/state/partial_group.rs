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
//! - Every entry with a mark has its hash among those of that mark.

use hashbrown::HashTable;
use serde::Serialize;

use crate::{
    checkpoint::snapshot::{BlockKind, StateBlock},
    error::BoxError,
    key::Key,
    key_group::KeyGroup,
    mutation::{self, Mutation},
    state::{
        block::{self, Values},
        sought::Sought,
    },
};

/// Why an entry must stay.
type Marks = u8;
const CHANGED: Marks = 1;
const YOUNGER: Marks = 2;
const OLDER: Marks = 4;

/// See the module.
pub(super) struct PartialGroup<K, S> {
    table: HashTable<Entry<K, S>>,
    gone: HashTable<Gone<K>>,
    /// Entries with a mark.
    marked: usize,
    changed: Hashes,
    younger: Hashes,
    older: Hashes,
}

/// Hashes of the keys that have a mark, as long as they are few: with many it is as well to look at every entry.
#[derive(Default)]
struct Hashes {
    list: Vec<u64>,
    are_many: bool,
}

impl Hashes {
    /// Adds one of a group that has so many `entries`.
    #[inline]
    fn push(&mut self, hash: u64, entries: usize) {
        if self.are_many {
            return;
        }
        self.list.push(hash);
        if self.list.len() > entries / 8 + 16 {
            *self = Self { list: Vec::new(), are_many: true };
        }
    }

    fn is_empty(&self) -> bool {
        self.list.is_empty() && !self.are_many
    }

    fn append(&mut self, other: Self) {
        self.are_many |= other.are_many;
        self.list.extend(other.list);
        if self.are_many {
            self.list = Vec::new();
        }
    }

    /// Calls `visit` with every item that has a mark, and some others; once or more often.
    fn each<T>(&self, table: &mut HashTable<T>, visit: impl FnMut(&mut T)) {
        if self.are_many {
            table.iter_mut().for_each(visit);
        } else {
            let mut visit = visit;
            self.list.iter().for_each(|hash| table.iter_hash_mut(*hash).for_each(&mut visit));
        }
    }
}

struct Entry<K, S> {
    key: K,
    value: S,
    marks: Marks,
}

struct Gone<K> {
    key: K,
    marks: Marks,
}

impl<K: Key, S> PartialGroup<K, S> {
    pub(super) fn new() -> Self {
        Self {
            table: HashTable::new(),
            gone: HashTable::new(),
            marked: 0,
            changed: Hashes::default(),
            younger: Hashes::default(),
            older: Hashes::default(),
        }
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, sought: &impl Sought<K>) -> Option<usize> {
        self.table.find_bucket_index(hash, |entry| sought.is(&entry.key))
    }

    #[inline]
    pub(super) fn value(&self, bucket: usize) -> Option<&S> {
        self.table.get_bucket(bucket).map(|entry| &entry.value)
    }

    #[inline]
    pub(super) fn value_mut(&mut self, bucket: usize) -> Option<&mut S> {
        self.table.get_bucket_mut(bucket).map(|entry| &mut entry.value)
    }

    #[inline]
    pub(super) fn mark_changed(&mut self, bucket: usize) {
        let entries = self.table.len();
        let Some(entry) = self.table.get_bucket_mut(bucket) else { return };
        if entry.marks & CHANGED == 0 {
            self.marked += usize::from(entry.marks == 0);
            entry.marks |= CHANGED;
            self.changed.push(entry.key.hash64(), entries);
        }
    }

    /// Adds an entry for a key that has none; gives back its bucket.
    pub(super) fn insert(&mut self, hash: u64, key: K, value: S) -> usize {
        self.changed.push(hash, self.table.len());
        self.marked += 1;
        let entry = Entry { key, value, marks: CHANGED };
        self.table.insert_unique(hash, entry, |entry| entry.key.hash64()).bucket_index()
    }

    pub(super) fn remove(&mut self, hash: u64, sought: &impl Sought<K>) -> Option<S> {
        let (entry, _) = self.table.find_entry(hash, |entry| sought.is(&entry.key)).ok()?.remove();
        self.marked -= usize::from(entry.marks != 0);
        // The older marks go with the value: a tombstone that is stored later stands above it.
        match self.gone.find_mut(hash, |gone| gone.key == entry.key) {
            Some(gone) => gone.marks |= CHANGED,
            None => {
                let gone = Gone { key: entry.key, marks: CHANGED };
                self.gone.insert_unique(hash, gone, |gone| gone.key.hash64());
            }
        }
        self.changed.push(hash, self.table.len());
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
        self.table.insert_unique(hash, Entry { key, value, marks: 0 }, |entry| entry.key.hash64());
    }

    /// A checkpoint holds all of the older generation.
    pub(super) fn older_is_stored(&mut self) {
        self.unmark_older();
        (self.older, self.younger) = (std::mem::take(&mut self.younger), std::mem::take(&mut self.older));
        self.remark();
    }

    fn unmark_older(&mut self) {
        let (older, marked) = (std::mem::take(&mut self.older), &mut self.marked);
        older.each(&mut self.table, |entry| {
            if entry.marks & OLDER != 0 {
                entry.marks &= !OLDER;
                *marked -= usize::from(entry.marks == 0);
            }
        });
        self.gone.retain(|gone| {
            gone.marks &= !OLDER;
            gone.marks != 0
        });
        if self.gone.is_empty() {
            self.gone = HashTable::new();
        }
    }

    /// What was in the younger generation is now in the older one.
    fn remark(&mut self) {
        let moved = |marks: &mut Marks| {
            if *marks & YOUNGER != 0 {
                *marks = *marks & !YOUNGER | OLDER;
            }
        };
        self.older.each(&mut self.table, |entry| moved(&mut entry.marks));
        self.gone.iter_mut().for_each(|gone| moved(&mut gone.marks));
    }

    /// What the tables take, without what keys and values own.
    pub(super) fn heap_bytes(&self) -> usize {
        let hashes = self.changed.list.capacity() + self.younger.list.capacity() + self.older.list.capacity();
        self.table.allocation_size() + self.gone.allocation_size() + hashes * size_of::<u64>()
    }

    pub(super) fn entries(&self) -> usize {
        self.table.len()
    }

    /// Entries without a mark.
    fn evictable(&self) -> usize {
        self.table.len() - self.marked
    }

    /// Whether it takes much more of the heap than its entries need, or has many that may go.
    pub(super) fn is_worth_evicting(&self) -> bool {
        self.evictable() > self.table.len() / 8 || self.table.capacity() > 4 * self.table.len() + 16
    }

    /// Drops all entries without a mark.
    pub(super) fn evict(&mut self) {
        if mutation::is(Mutation::ChangedEvicted) {
            (self.marked, self.changed, self.younger, self.older) = Default::default();
            return self.table.clear();
        }
        self.table.retain(|entry| entry.marks != 0);
        self.table.shrink_to_fit(|entry| entry.key.hash64());
        self.gone.shrink_to_fit(|gone| gone.key.hash64());
    }
}

impl<K: Key, S: Serialize> PartialGroup<K, S> {
    /// What changed since the last call, and the keys that went; `None` if nothing.
    pub(super) fn freeze(&mut self, group: KeyGroup, values: Values) -> Result<Option<StateBlock>, BoxError> {
        if self.changed.is_empty() {
            return Ok(None);
        }
        let removed = self.gone.iter().filter(|gone| gone.marks & CHANGED != 0).map(|gone| gone.key.clone());
        let removed: Vec<_> = removed.collect();
        let mut bytes = Vec::new();
        block::begin(&mut bytes, values, &removed);
        let (mut entries, mut result) = (removed.len(), Ok(()));
        let changed = std::mem::take(&mut self.changed);
        changed.each(&mut self.table, |entry| {
            if entry.marks & CHANGED != 0 && result.is_ok() {
                result = block::push(&mut bytes, &entry.key, &entry.value);
                entry.marks = entry.marks & !CHANGED | YOUNGER;
                entries += 1;
            }
        });
        result?;
        self.gone.iter_mut().filter(|gone| gone.marks & CHANGED != 0).for_each(|gone| {
            gone.marks = gone.marks & !CHANGED | YOUNGER;
        });
        self.younger.append(changed);
        Ok(Some(StateBlock { group, kind: BlockKind::Changes, entries: entries as u32, bytes }))
    }
}
