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
//! - Every entry or removed key with a mark has its hash in the list of that mark.

use hashbrown::HashTable;
use serde::Serialize;

use crate::{
    checkpoint::snapshot::{BlockKind, StateBlock},
    error::BoxError,
    key::Key,
    key_group::KeyGroup,
    state::block,
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
    changed: Vec<u64>,
    younger: Vec<u64>,
    older: Vec<u64>,
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
            changed: Vec::new(),
            younger: Vec::new(),
            older: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: &K) -> Option<usize> {
        self.table.find_bucket_index(hash, |entry| entry.key == *key)
    }

    #[inline]
    pub(super) fn value_mut(&mut self, bucket: usize) -> Option<&mut S> {
        self.table.get_bucket_mut(bucket).map(|entry| &mut entry.value)
    }

    #[inline]
    pub(super) fn mark_changed(&mut self, bucket: usize) {
        let Some(entry) = self.table.get_bucket_mut(bucket) else { return };
        if entry.marks & CHANGED == 0 {
            self.marked += usize::from(entry.marks == 0);
            entry.marks |= CHANGED;
            self.changed.push(entry.key.hash64());
        }
    }

    /// Adds an entry for a key that has none; gives back its bucket.
    pub(super) fn insert(&mut self, hash: u64, key: K, value: S) -> usize {
        self.changed.push(hash);
        self.marked += 1;
        let entry = Entry { key, value, marks: CHANGED };
        self.table.insert_unique(hash, entry, |entry| entry.key.hash64()).bucket_index()
    }

    pub(super) fn remove(&mut self, hash: u64, key: &K) -> Option<S> {
        let (entry, _) = self.table.find_entry(hash, |entry| entry.key == *key).ok()?.remove();
        self.marked -= usize::from(entry.marks != 0);
        // The older marks go with the value: a tombstone that is stored later stands above it.
        match self.gone.find_mut(hash, |gone| gone.key == *key) {
            Some(gone) => gone.marks |= CHANGED,
            None => {
                let gone = Gone { key: entry.key, marks: CHANGED };
                self.gone.insert_unique(hash, gone, |gone| gone.key.hash64());
            }
        }
        self.changed.push(hash);
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
        self.remark(YOUNGER, OLDER);
    }

    fn unmark_older(&mut self) {
        for hash in std::mem::take(&mut self.older) {
            for entry in self.table.iter_hash_mut(hash).filter(|entry| entry.marks & OLDER != 0) {
                entry.marks &= !OLDER;
                self.marked -= usize::from(entry.marks == 0);
            }
            self.gone.iter_hash_mut(hash).for_each(|gone| gone.marks &= !OLDER);
        }
        self.gone.retain(|gone| gone.marks != 0);
    }

    /// What was in the younger generation is now in the older one.
    fn remark(&mut self, from: Marks, to: Marks) {
        let moved = |marks: &mut Marks| {
            if *marks & from != 0 {
                *marks = *marks & !from | to;
            }
        };
        for hash in &self.older {
            self.table.iter_hash_mut(*hash).for_each(|entry| moved(&mut entry.marks));
            self.gone.iter_hash_mut(*hash).for_each(|gone| moved(&mut gone.marks));
        }
    }

    /// What the tables take, without what keys and values own.
    pub(super) fn heap_bytes(&self) -> usize {
        let hashes = self.changed.capacity() + self.younger.capacity() + self.older.capacity();
        self.table.allocation_size() + self.gone.allocation_size() + hashes * size_of::<u64>()
    }

    pub(super) fn entries(&self) -> usize {
        self.table.len()
    }

    /// Entries without a mark.
    pub(super) fn evictable(&self) -> usize {
        self.table.len() - self.marked
    }

    /// Drops all entries without a mark.
    pub(super) fn evict(&mut self) {
        self.table.retain(|entry| entry.marks != 0);
        self.table.shrink_to_fit(|entry| entry.key.hash64());
        self.gone.shrink_to_fit(|gone| gone.key.hash64());
    }
}

impl<K: Key, S: Serialize> PartialGroup<K, S> {
    /// What changed since the last call, and the keys that went; `None` if nothing.
    pub(super) fn freeze(&mut self, group: KeyGroup, version: u32) -> Result<Option<StateBlock>, BoxError> {
        if self.changed.is_empty() {
            return Ok(None);
        }
        // A key that came and went has its hash in the list more than once.
        let removed = self.gone.iter().filter(|gone| gone.marks & CHANGED != 0).map(|gone| gone.key.clone());
        let removed: Vec<_> = removed.collect();
        let mut bytes = Vec::new();
        block::begin(&mut bytes, version, &removed);
        let mut entries = removed.len();
        for hash in &self.changed {
            for entry in self.table.iter_hash_mut(*hash).filter(|entry| entry.marks & CHANGED != 0) {
                if entry.key.hash64() == *hash {
                    block::push(&mut bytes, &entry.key, &entry.value)?;
                    entry.marks = entry.marks & !CHANGED | YOUNGER;
                    entries += 1;
                }
            }
        }
        self.gone.iter_mut().filter(|gone| gone.marks & CHANGED != 0).for_each(|gone| {
            gone.marks = gone.marks & !CHANGED | YOUNGER;
        });
        self.younger.append(&mut self.changed);
        Ok(Some(StateBlock { group, kind: BlockKind::Changes, entries: entries as u32, bytes }))
    }
}
