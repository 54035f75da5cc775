//! Keyed state on the heap, and its incremental snapshots. See `docs/decisions/0002`.

use std::{ops::Range, sync::Arc};

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
    state::{
        block::{self, Block, Values},
        delta_ledger::DeltaLedger,
        group::Group,
        sought::Sought,
        tier::{HeapShare, Tier},
        ttl::Swept,
        unread::Unread,
        value_format::ValueFormat,
    },
};

/// A map from key to value, cut into key groups, that knows what changed since its last snapshot.
pub struct KeyedTable<K, S> {
    format: ValueFormat<S>,
    max_parallelism: u16,
    range: KeyGroupRange,
    /// None, if there is a tier.
    groups: Vec<Group<K, S>>,
    /// The groups, if not all of their entries are to be on the heap.
    tier: Option<Box<Tier<K, S>>>,
    ledger: DeltaLedger,
}

/// Where a key is, or is not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    hash: u64,
    /// Its group's place in the table.
    group: u32,
    /// Its bucket in its group, or `NONE`.
    bucket: u32,
}

impl Slot {
    /// No table is that large: its group would have to hold four billion keys.
    const NONE: u32 = u32::MAX;

    /// The key's bucket, if it has a value.
    #[inline]
    pub fn bucket(&self) -> Option<usize> {
        (self.bucket != Self::NONE).then_some(self.bucket as usize)
    }
}

impl<K: Key, S> KeyedTable<K, S> {
    /// No key at all yet.
    pub fn new(address: StateAddress, format: ValueFormat<S>, range: KeyGroupRange, max_parallelism: u16) -> Self {
        Self {
            format,
            max_parallelism,
            range,
            groups: (0..range.len()).map(|_| Group::new()).collect(),
            tier: None,
            ledger: DeltaLedger::new(address),
        }
    }

    /// Where its blocks are stored.
    pub fn address(&self) -> &StateAddress {
        self.ledger.address()
    }

    /// Where `key` probably is, for [`find`](Self::find) a little later; meanwhile its entry is fetched from memory. Nothing depends on it being right.
    #[inline]
    pub fn hint(&self, key: &K) -> Slot {
        let hash = key.hash64();
        let group = u32::from(KeyGroup::of_hash(key.group_hash(), self.max_parallelism).0 - self.range.start);
        if self.tier.is_some() {
            return Slot { hash, group, bucket: Slot::NONE };
        }
        let bucket = self.groups[group as usize].guess(hash).map_or(Slot::NONE, |bucket| bucket as u32);
        Slot { hash, group, bucket }
    }

    /// Looks `key` up, first where the hint says. The answer is good until an entry is inserted or removed.
    #[inline]
    pub fn find(&self, hint: Slot, key: &impl Sought<K>) -> Slot {
        if self.tier.is_some() {
            return self.find_in_tier(hint, key);
        }
        let group = &self.groups[hint.group as usize];
        match hint.bucket() {
            Some(bucket) if group.holds(bucket, key) => hint,
            _ => Slot { bucket: group.find(hint.hash, key).map_or(Slot::NONE, |bucket| bucket as u32), ..hint },
        }
    }

    /// Looks `key` up, without a hint.
    #[inline]
    pub fn locate(&self, key: &impl Sought<K>) -> Slot {
        let group = u32::from(KeyGroup::of_hash(key.hash_of_group(), self.max_parallelism).0 - self.range.start);
        self.find(Slot { hash: key.full_hash(), group, bucket: Slot::NONE }, key)
    }

    /// The value at `slot`, if the key has one.
    #[inline]
    pub fn value(&self, slot: Slot) -> Option<&S> {
        let bucket = slot.bucket()?;
        match &self.tier {
            None => self.groups[slot.group as usize].value(bucket),
            Some(tier) => tier.groups[slot.group as usize].value(bucket),
        }
    }

    /// The value at `slot`, if the key has one; what is written to it must be marked.
    #[inline]
    pub fn value_mut(&mut self, slot: Slot) -> Option<&mut S> {
        let bucket = slot.bucket()?;
        match &mut self.tier {
            None => self.groups[slot.group as usize].value_mut(bucket),
            Some(tier) => tier.groups[slot.group as usize].value_mut(bucket),
        }
    }

    /// The value at `slot` is in the next snapshot.
    #[inline]
    pub fn mark_changed(&mut self, slot: Slot) {
        let Some(bucket) = slot.bucket() else { return };
        match &mut self.tier {
            None => self.groups[slot.group as usize].mark_changed(bucket),
            Some(tier) => tier.groups[slot.group as usize].mark_changed(bucket),
        }
    }

    /// Adds an entry for a key that has none; gives back its bucket.
    pub fn insert(&mut self, slot: Slot, key: K, value: S) -> usize {
        match &mut self.tier {
            None => self.groups[slot.group as usize].insert(slot.hash, key, value),
            Some(tier) => tier.groups[slot.group as usize].insert(slot.hash, key, value),
        }
    }

    /// The value of `key`, found at `slot`, to be changed; `init` makes it if there is none.
    #[inline]
    pub fn get_mut_or_insert_with(&mut self, slot: Slot, key: &K, init: impl FnOnce() -> S) -> &mut S {
        if self.tier.is_some() {
            return self.get_mut_or_insert_in_tier(slot, key, init);
        }
        // Without a tier this is the hot path: the group is looked up once.
        let group = &mut self.groups[slot.group as usize];
        let bucket = match slot.bucket() {
            Some(bucket) => {
                group.mark_changed(bucket);
                bucket
            }
            None => group.insert(slot.hash, key.clone(), init()),
        };
        match group.value_mut(bucket) {
            Some(value) => value,
            None => unreachable!("the bucket was found just now"),
        }
    }

    #[inline(never)]
    fn get_mut_or_insert_in_tier(&mut self, slot: Slot, key: &K, init: impl FnOnce() -> S) -> &mut S {
        let slot = match slot.bucket() {
            Some(_) => {
                self.mark_changed(slot);
                slot
            }
            None => Slot { bucket: self.insert(slot, key.clone(), init()) as u32, ..slot },
        };
        match self.value_mut(slot) {
            Some(value) => value,
            None => unreachable!("the bucket was found just now"),
        }
    }

    #[inline(never)]
    fn find_in_tier(&self, hint: Slot, key: &impl Sought<K>) -> Slot {
        let Some(tier) = &self.tier else { return hint };
        let bucket = tier.groups[hint.group as usize].find(hint.hash, key);
        Slot { bucket: bucket.map_or(Slot::NONE, |bucket| bucket as u32), ..hint }
    }

    /// Every key and its value, in no order.
    pub fn into_entries(self) -> impl Iterator<Item = (K, S)> {
        self.groups.into_iter().flat_map(Group::into_entries)
    }

    /// Forgets `key`, found at `slot`, and gives back its value.
    pub fn remove(&mut self, slot: Slot, key: &impl Sought<K>) -> Option<S> {
        match &mut self.tier {
            None => self.groups[slot.group as usize].remove(slot.hash, key),
            Some(tier) => tier.groups[slot.group as usize].remove(slot.hash, key),
        }
    }

    /// Keeps no more on the heap than its share, apart from what is not stored yet. To be called in place of [`restore`](Self::restore), when the table is empty.
    pub fn share_heap(&mut self, share: HeapShare) {
        self.groups = Vec::new();
        self.tier = Some(Box::new(Tier::new(share, self.range)));
    }

    /// Whether what is not stored yet takes more than the table's share of the heap: it is time for a checkpoint.
    #[inline]
    pub fn heap_is_spent(&self) -> bool {
        self.tier.as_ref().is_some_and(|tier| tier.is_spent())
    }

    /// Another batch is at hand: its keys have to be loaded.
    #[inline]
    pub fn batch_came(&mut self) {
        if let Some(tier) = &mut self.tier {
            tier.batch_came();
        }
    }

    /// Whether every key of the batch at hand can be found.
    #[inline]
    pub fn is_loaded(&self) -> bool {
        self.tier.as_ref().is_none_or(|tier| tier.is_loaded())
    }

    /// Every key, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.groups.iter().flat_map(Group::keys)
    }

    /// How many key groups it has.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Has every entry of some of its groups judged. A group in which one went or changed is frozen in full.
    pub fn sweep(&mut self, groups: Range<usize>, mut judge: impl FnMut(&K, &mut S) -> Swept) {
        self.groups[groups].iter_mut().for_each(|group| group.sweep(&mut judge));
    }
}

impl<K: Key, S: Serialize> KeyedTable<K, S> {
    /// Freezes what changed since the last call as the delta of `checkpoint`; gives back all that is not known to be stored, oldest first.
    pub fn freeze(&mut self, checkpoint: CheckpointId) -> Result<Vec<Arc<StateDelta>>, BoxError> {
        let values = self.format.values();
        let blocks = match &mut self.tier {
            None => self.freeze_groups(values)?,
            Some(tier) => tier.freeze(checkpoint, values)?,
        };
        Ok(self.ledger.add(checkpoint, blocks))
    }

    fn freeze_groups(&mut self, values: Values) -> Result<Vec<StateBlock>, BoxError> {
        let mut fold_budget = self.groups.iter().map(Group::changes).sum::<usize>();
        let mut blocks = Vec::new();
        for (number, group) in self.range.iter().zip(&mut self.groups) {
            let block = match group.due(&mut fold_budget) {
                None => continue,
                Some(BlockKind::Full) => group.freeze_full(number, values)?,
                Some(BlockKind::Changes) => group.freeze_changes(number, values)?,
            };
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// Size of all blocks that hold the table, once what is frozen is stored; 0 if not all of it is on the heap, as only the store knows then.
    pub fn stored_bytes(&self) -> u64 {
        self.groups.iter().map(|group| group.stored_bytes() as u64).sum()
    }

    /// Drops what a completed checkpoint holds.
    pub fn completed(&mut self, checkpoint: CheckpointId) {
        let stored = self.ledger.completed(checkpoint);
        if let Some(tier) = &mut self.tier {
            return tier.completed(checkpoint);
        }
        for block in stored {
            self.groups[usize::from(block.group.0 - self.range.start)].recycle(block);
        }
    }
}

impl<K: Key, S: DeserializeOwned> KeyedTable<K, S> {
    /// Has every one of `keys` that has a value on the heap, until the next batch or the next eviction.
    pub fn load<'a>(&mut self, keys: impl Iterator<Item = &'a K>) -> Result<(), StoreError> {
        match &mut self.tier {
            Some(tier) => tier.load(self.ledger.address(), &self.format, self.max_parallelism, keys),
            None => Ok(()),
        }
    }

    /// Reads a little of what a checkpoint holds for this table's groups: of the first one that has anything, the first value. An error if that cannot be read as
    /// the state's type, before any record has to find out.
    pub fn probe(&self, reader: &dyn StateReader) -> Result<(), StoreError> {
        let mut values = self.format.reader();
        for number in self.range.iter() {
            // Only what the newest block has is sure to be there still.
            let mut first = None;
            reader.read(
                self.ledger.address(),
                KeyGroupRange { start: number.0, end: number.0 + 1 },
                &mut |_, _, _, bytes| {
                    for entry in Block::parse(bytes)? {
                        let entry = entry?;
                        let Some((form, value)) = entry.value else { continue };
                        let key: K = block::key(entry.key)?;
                        first = Some(values.read(form, value).map(drop).map_err(|cause| Unread::of(&key, cause)));
                        break;
                    }
                    Ok(())
                },
            )?;
            if let Some(first) = first {
                return first.map_err(|unread| unread.in_state(self.ledger.address(), START_OVER));
            }
        }
        Ok(())
    }

    /// Puts back what a checkpoint holds for this table's groups. Refuses a key that does not belong to the group it was stored in.
    pub fn restore(&mut self, reader: &dyn StateReader) -> Result<(), StoreError> {
        let address = self.ledger.address().clone();
        let format = self.format.clone();
        let mut unread = None;
        let read = reader.read(&address, self.range, &mut |number, kind, entries, bytes| {
            let index = number.0.checked_sub(self.range.start).filter(|_| number.0 < self.range.end);
            let group =
                &mut self.groups[usize::from(index.ok_or("the store gave a key group that was not asked for")?)];
            group.begin_restore(kind, entries as usize, bytes.len());
            let mut values = format.reader();
            for entry in Block::parse(bytes)? {
                let entry = entry?;
                let key: K = block::key(entry.key)?;
                check_group(&key, number, self.max_parallelism)?;
                let value = entry.value.map(|(form, value)| values.read(form, value));
                let value = value.transpose().map_err(|cause| unread.insert(Unread::of(&key, cause)).to_string())?;
                group.restore(key.hash64(), key, value);
            }
            Ok(())
        });
        read.map_err(|error| unread.map_or(error, |unread| unread.in_state(&address, START_OVER)))?;
        self.groups.iter_mut().for_each(Group::end_restore);
        Ok(())
    }
}

/// Refuses a key that does not belong to the group it was stored in.
#[inline]
pub(super) fn check_group<K: Key>(key: &K, stored: KeyGroup, max_parallelism: u16) -> Result<(), BoxError> {
    let group = KeyGroup::of_hash(key.group_hash(), max_parallelism);
    if group != stored {
        return Err(format!("a key of group {group} was stored in group {stored}").into());
    }
    Ok(())
}

/// The way out that remains where a stored state cannot be read.
pub(super) const START_OVER: &str = "or delete the state to start over";

#[cfg(test)]
impl<K: Key, S> KeyedTable<K, S> {
    /// Of a table with a tier.
    pub(crate) fn heap_entries(&self) -> usize {
        self.tier.iter().flat_map(|tier| &tier.groups).map(|group| group.entries()).sum()
    }
}

#[cfg(test)]
mod tests;
