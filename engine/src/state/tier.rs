//! A keyed table that keeps part of its entries on the heap, and looks the rest up in the newest checkpoint. See `docs/decisions/0014`.
//!
//! ```text
//! batch comes in --load--> all of its keys that have a value are on the heap --> records are handled as ever
//!                     \--> over the limit: entries that are stored as they are leave the heap first
//! ```

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    checkpoint::{
        snapshot::{StateAddress, StateBlock},
        store::{StateLookup, StoreError},
    },
    error::BoxError,
    id::CheckpointId,
    key::Key,
    key_group::{KeyGroup, KeyGroupRange},
    state::{
        block::Values, keyed_table::START_OVER, partial_group::PartialGroup, unread::Unread, value_format::ValueFormat,
    },
};

/// A share of the heap, and where to look up what does not fit.
#[derive(Clone)]
pub struct HeapShare {
    /// The rest of the state.
    pub lookup: Arc<dyn StateLookup>,
    /// What one table may take, in bytes.
    pub bytes: u64,
}

/// See the module.
pub(super) struct Tier<K, S> {
    share: HeapShare,
    range: KeyGroupRange,
    pub(super) groups: Vec<PartialGroup<K, S>>,
    /// Every key of the batch at hand that has a value is on the heap.
    is_loaded: bool,
    /// What is not stored yet exceeds the share.
    is_spent: bool,
    /// The group that is the next to lose entries.
    victim: usize,
    /// The last checkpoint that each generation was frozen for.
    older: Option<CheckpointId>,
    younger: Option<CheckpointId>,
    /// Encoded bytes and entries of the last snapshot that had any: what an entry may own.
    encoded: (usize, usize),
}

impl<K: Key, S> Tier<K, S> {
    pub(super) fn new(share: HeapShare, range: KeyGroupRange) -> Self {
        Self {
            share,
            range,
            groups: (0..range.len()).map(|_| PartialGroup::new()).collect(),
            is_loaded: false,
            is_spent: false,
            victim: 0,
            older: None,
            younger: None,
            encoded: (0, 0),
        }
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    pub(super) fn is_spent(&self) -> bool {
        self.is_spent
    }

    fn limit(&self) -> usize {
        usize::try_from(self.share.bytes).unwrap_or(usize::MAX)
    }

    /// Another batch is at hand.
    pub(super) fn batch_came(&mut self) {
        self.is_loaded = false;
    }

    fn heap_bytes(&self) -> usize {
        self.groups.iter().map(|group| self.bytes_of(group)).sum()
    }

    /// The group's tables, and what its entries may own.
    fn bytes_of(&self, group: &PartialGroup<K, S>) -> usize {
        let (bytes, entries) = self.encoded;
        let owns = std::mem::needs_drop::<(K, S)>();
        let owned = if owns { (group.entries() * bytes).checked_div(entries) } else { None };
        group.heap_bytes() + owned.unwrap_or(0)
    }

    /// Makes room, if the limit is exceeded and anything may go: a quarter of the limit, so that it is not done for each batch.
    fn evict(&mut self) {
        let limit = self.limit();
        self.is_spent = false;
        let mut bytes = self.heap_bytes();
        if bytes <= limit {
            return;
        }
        for _ in 0..self.groups.len() {
            let victim = self.victim;
            // A pass over a group in which nearly everything stays is not worth it.
            if self.groups[victim].is_worth_evicting() {
                bytes -= self.bytes_of(&self.groups[victim]);
                self.groups[victim].evict();
                bytes += self.bytes_of(&self.groups[victim]);
                self.is_loaded = false;
            }
            self.victim = (victim + 1) % self.groups.len();
            if bytes <= limit / 4 * 3 {
                return;
            }
        }
        self.is_spent = bytes > limit;
    }

    pub(super) fn completed(&mut self, checkpoint: CheckpointId) {
        // Twice: the younger generation may be stored as well.
        for _ in 0..2 {
            if self.older.is_none_or(|older| older <= checkpoint) && (self.older.is_some() || self.younger.is_some()) {
                self.groups.iter_mut().for_each(PartialGroup::older_is_stored);
                self.older = self.younger.take();
            }
        }
        self.evict();
    }
}

impl<K: Key, S: DeserializeOwned> Tier<K, S> {
    /// Has every key that has a value on the heap.
    pub(super) fn load<'a>(
        &mut self,
        address: &StateAddress,
        format: &ValueFormat<S>,
        max_parallelism: u16,
        keys: impl Iterator<Item = &'a K>,
    ) -> Result<(), StoreError> {
        self.evict();
        let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
        for key in keys {
            let group = KeyGroup::of_hash(key.group_hash(), max_parallelism);
            if self.groups[usize::from(group.0 - self.range.start)].is_unknown(key.hash64(), key) {
                let start = bytes.len();
                key.encode(&mut bytes);
                wanted.push((group, start..bytes.len(), key));
            }
        }
        wanted.sort_unstable_by(|(group, key, _), (other_group, other_key, _)| {
            group.cmp(other_group).then_with(|| bytes[key.clone()].cmp(&bytes[other_key.clone()]))
        });
        wanted.dedup_by(|(_, _, key), (_, _, before)| key == before);
        let keys: Vec<_> = wanted.iter().map(|(group, key, _)| (*group, &bytes[key.clone()])).collect();
        let mut values = format.reader();
        if !keys.is_empty() {
            let mut unread = None;
            let found = self.share.lookup.get_many(address, &keys, &mut |place, form, value| {
                let (group, _, key) = &wanted[place];
                let value = values
                    .read(form, value)
                    .map_err(|cause| unread.insert(Unread::of(*key, cause).in_group(*group)).to_string())?;
                self.groups[usize::from(group.0 - self.range.start)].load(key.hash64(), K::clone(key), value);
                Ok(())
            });
            found.map_err(|error| unread.map_or(error, |unread| unread.in_state(address, START_OVER)))?;
        }
        self.is_loaded = true;
        Ok(())
    }
}

impl<K: Key, S: Serialize> Tier<K, S> {
    /// What changed since the last call, group by group.
    pub(super) fn freeze(&mut self, checkpoint: CheckpointId, values: Values) -> Result<Vec<StateBlock>, BoxError> {
        let mut blocks = Vec::new();
        for (number, group) in self.range.iter().zip(&mut self.groups) {
            blocks.extend(group.freeze(number, values)?);
        }
        if !blocks.is_empty() {
            let bytes = blocks.iter().map(|block| block.bytes.len()).sum();
            self.encoded = (bytes, blocks.iter().map(|block| block.entries as usize).sum());
            self.younger = Some(checkpoint);
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests;
