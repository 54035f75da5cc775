//! Keyed state on the heap, and its incremental snapshots. See `docs/decisions/0002`.
//!
//! # Invariants
//! - An entry whose epoch is the current one is in its group's list of changes, or the group's changes are `Most`.
//! - The list holds buckets. A bucket means something only until the table is next rehashed, so before a rehash the list is given up or rebuilt.
//! - `stored_changes` is the number of entries in `Changes` blocks that the store holds, or will once what is unconfirmed completes,
//!   since the group's last full block.
//! - A delta is kept until a checkpoint at or after it has completed: whatever happens to its own checkpoint, the next acknowledgement has it.

use std::sync::Arc;

use hashbrown::HashTable;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    checkpoint::{
        snapshot::{BlockKind, StateAddress, StateBlock, StateDelta},
        store::{StateReader, StoreError},
    },
    error::BoxError,
    id::CheckpointId,
    key::Key,
    key_group::{KeyGroup, KeyGroupRange},
    state::block,
};

/// A map from key to value, cut into key groups, that knows what changed since its last snapshot.
pub struct KeyedTable<K, S> {
    address: Arc<StateAddress>,
    max_parallelism: u16,
    range: KeyGroupRange,
    groups: Vec<Group<K, S>>,
    /// Counts snapshots; never 0, which marks entries unchanged since they were restored.
    epoch: u32,
    /// Deltas no completed checkpoint is known to hold, oldest first.
    unconfirmed: Vec<Arc<StateDelta>>,
}

struct Group<K, S> {
    table: HashTable<Entry<K, S>>,
    changes: Changes,
    /// Keys removed in this epoch; none if the changes are `Most`.
    removed: Vec<K>,
    stored_changes: usize,
    /// Size of the last full block: what to reserve for the next.
    full_bytes: usize,
}

struct Entry<K, S> {
    key: K,
    value: S,
    /// The epoch in which it last changed.
    epoch: u32,
}

enum Changes {
    /// The buckets of changed entries.
    Buckets(Vec<u32>),
    /// So many that a list would not pay.
    Most,
}

impl<K: Key, S> Group<K, S> {
    fn new() -> Self {
        Self {
            table: HashTable::new(),
            changes: Changes::Buckets(Vec::new()),
            removed: Vec::new(),
            stored_changes: 0,
            full_bytes: 0,
        }
    }

    /// Notes that the entry in `bucket` changed, for the first time in this epoch.
    #[inline]
    fn note(&mut self, bucket: usize) {
        if let Changes::Buckets(buckets) = &mut self.changes {
            buckets.push(bucket as u32);
            self.if_most();
        }
    }

    /// Notes that `key` went. If most has changed, the full block says so by not having it.
    fn note_removed(&mut self, key: K) {
        if let Changes::Buckets(_) = self.changes {
            self.removed.push(key);
            self.if_most();
        }
    }

    /// Gives up both lists once they are longer than a full block would be worth: so they stay below the size of the table, however often keys
    /// come and go.
    #[inline]
    fn if_most(&mut self) {
        if let Changes::Buckets(buckets) = &self.changes
            && (buckets.len() + self.removed.len()) * 2 > self.table.len()
        {
            self.changes = Changes::Most;
            self.removed = Vec::new();
        }
    }

    /// Makes room for an entry; rebuilds the list of changes if that moves entries.
    fn make_room(&mut self, epoch: u32) {
        if self.table.len() < self.table.capacity() {
            return;
        }
        self.table.reserve(1, |entry| entry.key.hash64());
        if let Changes::Buckets(buckets) = &mut self.changes {
            buckets.clear();
            for bucket in 0..self.table.num_buckets() {
                if self.table.get_bucket(bucket).is_some_and(|entry| entry.epoch == epoch) {
                    buckets.push(bucket as u32);
                }
            }
        }
    }

    /// Entries a block of changes would hold.
    fn changed(&self) -> usize {
        self.removed.len()
            + match &self.changes {
                Changes::Buckets(buckets) => buckets.len(),
                Changes::Most => self.table.len(),
            }
    }

    fn is_unchanged(&self) -> bool {
        self.removed.is_empty() && matches!(&self.changes, Changes::Buckets(buckets) if buckets.is_empty())
    }
}

impl<K: Key, S> KeyedTable<K, S> {
    /// No key at all yet.
    pub fn new(address: StateAddress, range: KeyGroupRange, max_parallelism: u16) -> Self {
        Self {
            address: Arc::new(address),
            max_parallelism,
            range,
            groups: (0..range.len()).map(|_| Group::new()).collect(),
            epoch: 1,
            unconfirmed: Vec::new(),
        }
    }

    /// Where its blocks are stored.
    pub fn address(&self) -> &StateAddress {
        &self.address
    }

    #[inline]
    fn group(&mut self, hash: u64) -> &mut Group<K, S> {
        let group = KeyGroup::of_hash(hash, self.max_parallelism);
        &mut self.groups[usize::from(group.0 - self.range.start)]
    }

    /// Where the entry of `key` is. Good until an entry is inserted or removed.
    #[inline]
    pub fn find(&mut self, hash: u64, key: &K) -> Option<usize> {
        self.group(hash).table.find_bucket_index(hash, |entry| entry.key == *key)
    }

    /// The value in `bucket`; what is written to it must be marked.
    #[inline]
    pub fn value_mut(&mut self, hash: u64, bucket: usize) -> Option<&mut S> {
        self.group(hash).table.get_bucket_mut(bucket).map(|entry| &mut entry.value)
    }

    /// The value in `bucket` is in the next snapshot.
    #[inline]
    pub fn mark_changed(&mut self, hash: u64, bucket: usize) {
        let epoch = self.epoch;
        let group = self.group(hash);
        if let Some(entry) = group.table.get_bucket_mut(bucket)
            && entry.epoch != epoch
        {
            entry.epoch = epoch;
            group.note(bucket);
        }
    }

    /// Adds an entry for a key that has none; gives back its bucket.
    pub fn insert(&mut self, hash: u64, key: K, value: S) -> usize {
        let epoch = self.epoch;
        let group = self.group(hash);
        group.make_room(epoch);
        let bucket =
            group.table.insert_unique(hash, Entry { key, value, epoch }, |entry| entry.key.hash64()).bucket_index();
        group.note(bucket);
        bucket
    }

    /// The value of `key`, to be changed; `init` makes it if there is none.
    #[inline]
    pub fn get_mut_or_insert_with(&mut self, key: &K, init: impl FnOnce() -> S) -> &mut S {
        let hash = key.hash64();
        let bucket = match self.find(hash, key) {
            Some(bucket) => {
                self.mark_changed(hash, bucket);
                bucket
            }
            None => self.insert(hash, key.clone(), init()),
        };
        match self.value_mut(hash, bucket) {
            Some(value) => value,
            None => unreachable!("the bucket was found just now"),
        }
    }

    /// Forgets `key`, and gives back its value.
    pub fn remove(&mut self, key: &K) -> Option<S> {
        let hash = key.hash64();
        let group = self.group(hash);
        let entry = group.table.find_entry(hash, |entry| entry.key == *key).ok()?;
        let (entry, _) = entry.remove();
        group.note_removed(entry.key);
        Some(entry.value)
    }

    /// Drops what a completed checkpoint holds.
    pub fn completed(&mut self, checkpoint: CheckpointId) {
        self.unconfirmed.retain(|delta| delta.checkpoint > checkpoint);
    }

    fn next_epoch(&mut self) {
        if self.epoch == u32::MAX {
            self.groups.iter_mut().flat_map(|group| group.table.iter_mut()).for_each(|entry| entry.epoch = 0);
            self.epoch = 0;
        }
        self.epoch += 1;
    }
}

impl<K: Key, S: Serialize> KeyedTable<K, S> {
    /// Freezes what changed since the last call as the delta of `checkpoint`; gives back all that is not known to be stored, oldest first.
    pub fn freeze(&mut self, checkpoint: CheckpointId) -> Result<Vec<Arc<StateDelta>>, BoxError> {
        let mut fold_budget = self.groups.iter().map(Group::changed).sum::<usize>();
        let mut blocks = Vec::new();
        for (number, group) in (self.range.start..).zip(&mut self.groups) {
            if group.is_unchanged() {
                continue;
            }
            let (changed, live) = (group.changed(), group.table.len());
            let fold = group.stored_changes + changed >= live && fold_budget > 0;
            let block = if changed * 2 >= live || fold {
                if changed * 2 < live {
                    fold_budget = fold_budget.saturating_sub(live);
                }
                group.freeze_full(KeyGroup(number))?
            } else {
                group.freeze_changes(KeyGroup(number), self.epoch)?
            };
            blocks.push(block);
        }
        self.next_epoch();
        if !blocks.is_empty() {
            self.supersede(&blocks);
            self.unconfirmed.push(Arc::new(StateDelta { checkpoint, address: (*self.address).clone(), blocks }));
        }
        Ok(self.unconfirmed.clone())
    }

    /// Drops older unconfirmed blocks of groups that are now frozen in full: what is owed stays below twice the state.
    fn supersede(&mut self, newer: &[StateBlock]) {
        if self.unconfirmed.is_empty() {
            return;
        }
        let is_full = |group: KeyGroup| newer.iter().any(|block| block.group == group && block.kind == BlockKind::Full);
        for delta in &mut self.unconfirmed {
            if delta.blocks.iter().any(|block| is_full(block.group)) {
                let blocks = delta.blocks.iter().filter(|block| !is_full(block.group)).cloned().collect();
                *delta = Arc::new(StateDelta { checkpoint: delta.checkpoint, address: delta.address.clone(), blocks });
            }
        }
        self.unconfirmed.retain(|delta| !delta.blocks.is_empty());
    }
}

impl<K: Key, S: Serialize> Group<K, S> {
    fn freeze_full(&mut self, group: KeyGroup) -> Result<StateBlock, BoxError> {
        let mut bytes = Vec::with_capacity(self.full_bytes + self.full_bytes / 8);
        block::begin::<K>(&mut bytes, &[])?;
        for entry in self.table.iter() {
            block::push(&mut bytes, &entry.key, &entry.value)?;
        }
        if self.table.is_empty() {
            bytes.clear();
        }
        self.full_bytes = bytes.len();
        self.stored_changes = 0;
        self.changes = Changes::Buckets(Vec::new());
        self.removed = Vec::new();
        Ok(StateBlock { group, kind: BlockKind::Full, entries: self.table.len() as u32, bytes })
    }

    fn freeze_changes(&mut self, group: KeyGroup, epoch: u32) -> Result<StateBlock, BoxError> {
        let Changes::Buckets(buckets) = std::mem::replace(&mut self.changes, Changes::Buckets(Vec::new())) else {
            return self.freeze_full(group);
        };
        let mut bytes = Vec::new();
        block::begin(&mut bytes, &self.removed)?;
        let mut entries = self.removed.len();
        for bucket in buckets {
            // A bucket may be empty by now, or listed twice: its entry was removed, and another took its place.
            if let Some(entry) = self.table.get_bucket_mut(bucket as usize)
                && entry.epoch == epoch
            {
                entry.epoch = epoch.wrapping_sub(1);
                block::push(&mut bytes, &entry.key, &entry.value)?;
                entries += 1;
            }
        }
        self.removed = Vec::new();
        self.stored_changes += entries;
        Ok(StateBlock { group, kind: BlockKind::Changes, entries: entries as u32, bytes })
    }
}

impl<K: Key, S: DeserializeOwned> KeyedTable<K, S> {
    /// Puts back what a checkpoint holds for this table's groups. Refuses a key that does not belong to the group it was stored in.
    pub fn restore(&mut self, reader: &dyn StateReader) -> Result<(), StoreError> {
        let address = self.address.clone();
        reader.read(&address, self.range, &mut |number, kind, entries, bytes| {
            let max_parallelism = self.max_parallelism;
            let index = number.0.checked_sub(self.range.start).filter(|_| number.0 < self.range.end);
            let group =
                &mut self.groups[usize::from(index.ok_or("the store gave a key group that was not asked for")?)];
            match kind {
                BlockKind::Full => {
                    group.table.clear();
                    group.table.reserve(entries as usize, |entry| entry.key.hash64());
                    group.stored_changes = 0;
                    group.full_bytes = bytes.len();
                }
                BlockKind::Changes => group.stored_changes += entries as usize,
            }
            block::read(bytes, |key: K, value: Option<S>| {
                let hash = key.hash64();
                if KeyGroup::of_hash(hash, max_parallelism) != number {
                    return Err(format!(
                        "a key of group {} was stored in group {number}",
                        KeyGroup::of_hash(hash, max_parallelism)
                    )
                    .into());
                }
                group.put_back(hash, key, value);
                Ok(())
            })
        })
    }
}

impl<K: Key, S> Group<K, S> {
    fn put_back(&mut self, hash: u64, key: K, value: Option<S>) {
        match (self.table.find_entry(hash, |entry| entry.key == key), value) {
            (Ok(mut found), Some(value)) => found.get_mut().value = value,
            (Ok(found), None) => drop(found.remove()),
            (Err(absent), Some(value)) => {
                let table = absent.into_table();
                table.insert_unique(hash, Entry { key, value, epoch: 0 }, |entry| entry.key.hash64());
            }
            (Err(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests;
