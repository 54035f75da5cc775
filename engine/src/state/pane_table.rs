//! The state of tumbling windows: a pane for each, and in it a table for each key group. See `docs/decisions/0019`.
//!
//! # Invariants
//! - A pane has entries, but for while its last ones leave.
//! - An entry that a block may hold is in a group of a pane with `was_stored`: when it leaves, its group owes a tombstone or a full block.
//! - Every entry that changed since it was last frozen has its bit set, or all of its pane's group counts as changed.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashTable;
use prefetch_index::prefetch_index;
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
        entry_key::EntryKey,
        keyed_table::{START_OVER, check_group},
        shelf::Shelf,
        unread::Unread,
        value_format::ValueFormat,
    },
    time::Timestamp,
    window::Window,
};

/// Panes whose emptied tables are kept.
const SPARE_PANES: usize = 2;
/// Entries for which a table is kept however few it had.
const SMALL: usize = 64;

/// The pane that a moment is in. Asked once for each pane.
pub(crate) type PaneOf = Box<dyn Fn(Timestamp) -> Window + Send>;

/// Accumulators by window and key, cut into key groups, that know what changed since the last snapshot.
pub(crate) struct PaneTable<K, A> {
    format: ValueFormat<A>,
    max_parallelism: u16,
    range: KeyGroupRange,
    pane_of: PaneOf,
    /// By start: few, but where time jumps far at once.
    panes: VecDeque<Pane<K, A>>,
    /// The pane of the record before.
    last: usize,
    /// Of each key group, over all panes.
    shelves: Box<[PaneShelf]>,
    /// Emptied tables, for panes to come.
    spare: Vec<Box<[PaneGroup<K, A>]>>,
    ledger: DeltaLedger,
}

struct Pane<K, A> {
    window: Window,
    groups: Box<[PaneGroup<K, A>]>,
    /// In all groups.
    entries: usize,
}

/// What a pane has of one key group.
struct PaneGroup<K, A> {
    table: HashTable<Entry<K, A>>,
    /// A bit for each bucket, unless all of it changed.
    changed: Vec<u64>,
    changes: usize,
    all_changed: bool,
    was_stored: bool,
    /// Buckets below have no entry: a fire has got so far.
    fired: usize,
    /// Entries when the fire began.
    filled: usize,
}

struct Entry<K, A> {
    key: K,
    value: A,
}

#[derive(Default)]
struct PaneShelf {
    shelf: Shelf,
    /// What left since the last snapshot and may be stored: keys, each behind its length.
    tombstones: Vec<u8>,
    gone: usize,
}

/// Where a record's entry is probably.
#[derive(Clone, Copy, Debug, Default)]
pub struct PaneSlot {
    hash: u64,
    group: u32,
    pane: u32,
    /// `NONE`, if there is none.
    bucket: u32,
}

impl PaneSlot {
    const NONE: u32 = u32::MAX;
}

impl<K: Key, A> PaneGroup<K, A> {
    fn new() -> Self {
        Self {
            table: HashTable::new(),
            changed: Vec::new(),
            changes: 0,
            all_changed: false,
            was_stored: false,
            fired: 0,
            filled: 0,
        }
    }

    fn changes(&self) -> usize {
        if self.all_changed { self.table.len() } else { self.changes }
    }

    #[inline]
    fn mark_changed(&mut self, bucket: usize) {
        if self.all_changed {
            return;
        }
        let (word, bit) = (bucket / 64, 1 << (bucket % 64));
        if self.changed[word] & bit == 0 {
            self.changed[word] |= bit;
            self.changes += 1;
        }
    }

    /// Adds an entry for a key that has none; gives back its bucket.
    fn insert(&mut self, hash: u64, key: K, value: A) -> usize {
        if self.table.len() == self.table.capacity() {
            self.table.reserve(1, |entry| entry.key.hash64());
            self.all_changed = true;
        }
        let bucket = self.table.insert_unique(hash, Entry { key, value }, |entry| entry.key.hash64()).bucket_index();
        self.mark_changed(bucket);
        self.fired = 0;
        bucket
    }

    /// Takes out the next entry, in the order of the buckets.
    #[inline]
    fn take_next(&mut self) -> Option<Entry<K, A>> {
        while !self.table.is_empty() {
            let bucket = self.fired;
            self.fired += 1;
            let Ok(entry) = self.table.get_bucket_entry(bucket) else { continue };
            let (entry, _) = entry.remove();
            if !self.all_changed && self.changed[bucket / 64] & (1 << (bucket % 64)) != 0 {
                self.changed[bucket / 64] &= !(1 << (bucket % 64));
                self.changes -= 1;
            }
            return Some(entry);
        }
        None
    }

    /// All of it left: the table is as new, with the room it had.
    fn clear(&mut self) {
        if self.table.capacity() > SMALL.max(8 * self.filled) {
            self.table = HashTable::new();
        }
        // Also forgets the marks of those that left.
        drop(self.table.drain());
        (self.all_changed, self.was_stored) = (true, false);
        (self.changes, self.fired, self.filled) = (0, 0, 0);
    }

    /// Nothing has changed from now on.
    fn forget_changes(&mut self) {
        self.changed.clear();
        self.changed.resize(self.table.num_buckets().div_ceil(64), 0);
        (self.changes, self.all_changed) = (0, false);
        self.was_stored = !self.table.is_empty();
    }
}

impl<K: Key, A: Serialize> PaneGroup<K, A> {
    fn push_all(&self, start: Timestamp, out: &mut Vec<u8>) -> Result<(), BoxError> {
        self.table.iter().try_for_each(|entry| push(entry, start, out))
    }

    fn push_changed(&self, start: Timestamp, out: &mut Vec<u8>) -> Result<(), BoxError> {
        if self.all_changed {
            return self.push_all(start, out);
        }
        for (word, bits) in self.changed.iter().enumerate() {
            let mut left = *bits;
            while left != 0 {
                let entry = self.table.get_bucket(word * 64 + left.trailing_zeros() as usize);
                entry.map_or(Ok(()), |entry| push(entry, start, out))?;
                left &= left - 1;
            }
        }
        Ok(())
    }
}

/// As [`EntryKey`] is encoded.
fn encode<K: Key>(key: &K, start: Timestamp, out: &mut Vec<u8>) {
    block::push_with_length(out, |out| {
        key.encode(out);
        start.encode(out);
    });
}

fn push<K: Key, A: Serialize>(entry: &Entry<K, A>, start: Timestamp, out: &mut Vec<u8>) -> Result<(), BoxError> {
    out.reserve(64);
    encode(&entry.key, start, out);
    block::push_with_length(out, |out| crate::codec::append(&entry.value, out))
}

impl<K: Key, A> PaneTable<K, A> {
    /// No window at all yet. The panes that `pane_of` gives must be disjoint.
    pub(crate) fn new(
        address: StateAddress,
        format: ValueFormat<A>,
        range: KeyGroupRange,
        max_parallelism: u16,
        pane_of: PaneOf,
    ) -> Self {
        Self {
            format,
            max_parallelism,
            range,
            pane_of,
            panes: VecDeque::new(),
            last: 0,
            shelves: range.iter().map(|_| PaneShelf::default()).collect(),
            spare: Vec::new(),
            ledger: DeltaLedger::new(address),
        }
    }

    /// Where its blocks are stored.
    pub(crate) fn address(&self) -> &StateAddress {
        self.ledger.address()
    }

    /// When the first pane is complete, if there is one.
    #[inline]
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.panes.front().map(|pane| pane.window.max_timestamp())
    }

    /// The window that `time` lies in.
    pub(crate) fn window(&self, time: Timestamp) -> Window {
        self.find_pane(time).map_or_else(|| (self.pane_of)(time), |pane| self.panes[pane].window)
    }

    /// The pane at hand that `time` is in.
    #[inline]
    fn find_pane(&self, time: Timestamp) -> Option<usize> {
        let holds = |pane: &Pane<K, A>| pane.window.contains(time);
        if self.panes.get(self.last).is_some_and(holds) {
            return Some(self.last);
        }
        let place = self.panes.partition_point(|pane| pane.window.start <= time).checked_sub(1)?;
        holds(&self.panes[place]).then_some(place)
    }

    /// Where the entry probably is, for [`get_mut_or_insert_with`](Self::get_mut_or_insert_with) a little later; meanwhile it is fetched from memory. Nothing depends on it being right.
    #[inline]
    pub(crate) fn hint(&self, key: &K, time: Timestamp) -> PaneSlot {
        let hash = key.hash64();
        let group = u32::from(KeyGroup::of_hash(key.group_hash(), self.max_parallelism).0 - self.range.start);
        let Some(pane) = self.find_pane(time) else { return PaneSlot { hash, group, pane: 0, bucket: PaneSlot::NONE } };
        let table = &self.panes[pane].groups[group as usize].table;
        let bucket = table.find_bucket_index(hash, |_| true);
        if let Some(entry) = bucket.and_then(|bucket| table.get_bucket(bucket)) {
            prefetch_index(std::slice::from_ref(entry), 0);
        }
        PaneSlot { hash, group, pane: pane as u32, bucket: bucket.map_or(PaneSlot::NONE, |bucket| bucket as u32) }
    }

    /// What `key` has in the pane of `time`, to be changed; `init` makes it if there is nothing. Looked for first where the hint says.
    #[inline]
    pub(crate) fn get_mut_or_insert_with(
        &mut self,
        hint: PaneSlot,
        key: K,
        time: Timestamp,
        init: impl FnOnce() -> A,
    ) -> &mut A {
        let hinted = hint.pane as usize;
        let index = match self.panes.get(hinted) {
            Some(pane) if pane.window.contains(time) => hinted,
            _ => self.find_pane(time).unwrap_or_else(|| self.add_pane(time)),
        };
        self.last = index;
        let pane = &mut self.panes[index];
        let group = &mut pane.groups[hint.group as usize];
        let guessed = (index == hinted).then_some(hint.bucket as usize);
        let found = match guessed.and_then(|bucket| Some((bucket, group.table.get_bucket(bucket)?))) {
            Some((bucket, entry)) if entry.key == key => Some(bucket),
            _ => group.table.find_bucket_index(hint.hash, |entry| entry.key == key),
        };
        let bucket = match found {
            Some(bucket) => {
                group.mark_changed(bucket);
                bucket
            }
            None => {
                pane.entries += 1;
                group.insert(hint.hash, key, init())
            }
        };
        match group.table.get_bucket_mut(bucket) {
            Some(entry) => &mut entry.value,
            None => unreachable!("the bucket was found just now"),
        }
    }

    /// Begins the pane of `time`; gives back its place.
    #[inline(never)]
    fn add_pane(&mut self, time: Timestamp) -> usize {
        let window = (self.pane_of)(time);
        let spare = self.spare.pop();
        let groups = spare.unwrap_or_else(|| self.range.iter().map(|_| PaneGroup::new()).collect());
        let place = self.panes.partition_point(|pane| pane.window.start < window.start);
        self.panes.insert(place, Pane { window, groups, entries: 0 });
        place
    }

    /// The pane at `place` has no entry left.
    fn drop_pane(&mut self, place: usize) {
        let Some(pane) = self.panes.remove(place) else { return };
        self.last = 0;
        if self.spare.len() < SPARE_PANES {
            self.spare.push(pane.groups);
        }
    }

    /// Entries of a key group, and how many of them changed.
    fn count(&self, group: usize) -> (usize, usize) {
        let groups = self.panes.iter().map(|pane| &pane.groups[group]);
        groups.fold((0, 0), |(live, changes), group| (live + group.table.len(), changes + group.changes()))
    }

    /// Takes out what `group` has in panes that are complete by `to`: the oldest pane first, in each in the order of the buckets, and hands it to `row` until that says
    /// `false`. Whether nothing is left that is due; otherwise it goes on where it was.
    pub(crate) fn fire(&mut self, group: KeyGroup, to: Timestamp, mut row: impl FnMut(Window, K, A) -> bool) -> bool {
        let place = usize::from(group.0 - self.range.start);
        let mut index = 0;
        while self.panes.get(index).is_some_and(|pane| pane.window.max_timestamp() <= to) {
            let goes_on = self.fire_pane(index, place, &mut row);
            if self.panes[index].entries == 0 {
                self.drop_pane(index);
            } else {
                index += 1;
            }
            if !goes_on {
                return !self.has_due(place, to);
            }
        }
        true
    }

    /// Whether a key group has anything in panes that are complete by `to`.
    fn has_due(&self, place: usize, to: Timestamp) -> bool {
        let mut due = self.panes.iter().take_while(|pane| pane.window.max_timestamp() <= to);
        due.any(|pane| !pane.groups[place].table.is_empty())
    }

    /// Whether `row` wants more.
    fn fire_pane(&mut self, index: usize, place: usize, row: &mut impl FnMut(Window, K, A) -> bool) -> bool {
        if self.panes[index].groups[place].table.is_empty() {
            return true;
        }
        let owes = self.owes_tombstones(index, place);
        let pane = &mut self.panes[index];
        let (group, shelf) = (&mut pane.groups[place], &mut self.shelves[place]);
        group.filled = group.filled.max(group.table.len());
        let mut goes_on = true;
        while goes_on && let Some(entry) = group.take_next() {
            pane.entries -= 1;
            if owes {
                encode(&entry.key, pane.window.start, &mut shelf.tombstones);
                shelf.gone += 1;
            }
            goes_on = row(pane.window, entry.key, entry.value);
        }
        if group.table.is_empty() {
            group.clear();
        }
        goes_on
    }

    /// Whether each entry that leaves needs a tombstone. With all of them gone the group may be due for a full block anyway: that says so by not having them.
    fn owes_tombstones(&mut self, index: usize, place: usize) -> bool {
        let group = &self.panes[index].groups[place];
        if !group.was_stored {
            return false;
        }
        let (live, changes) = self.count(place);
        let leaving = group.table.len();
        let (live, changes) = (live - leaving, changes - group.changes() + leaving);
        let shelf = &mut self.shelves[place];
        if shelf.shelf.mostly_changed(changes + shelf.gone, live) {
            shelf.shelf.be_full();
            shelf.tombstones.clear();
            shelf.gone = 0;
        }
        !shelf.shelf.must_be_full()
    }

    /// Size of all blocks that hold the table, once what is frozen is stored.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.shelves.iter().map(|shelf| shelf.shelf.stored_bytes() as u64).sum()
    }

    /// Drops what a completed checkpoint holds.
    pub(crate) fn completed(&mut self, checkpoint: CheckpointId) {
        for block in self.ledger.completed(checkpoint) {
            self.shelves[usize::from(block.group.0 - self.range.start)].shelf.recycle(block);
        }
    }
}

impl<K: Key, A: Serialize> PaneTable<K, A> {
    /// Freezes what changed since the last call as the delta of `checkpoint`; gives back all that is not known to be stored, oldest first.
    pub(crate) fn freeze(&mut self, checkpoint: CheckpointId) -> Result<Vec<Arc<StateDelta>>, BoxError> {
        let values = self.format.values();
        let counts: Vec<_> = (0..self.shelves.len()).map(|place| self.count(place)).collect();
        let mut fold_budget = counts.iter().zip(&self.shelves).map(|((_, changes), shelf)| changes + shelf.gone).sum();
        let mut blocks = Vec::new();
        for (place, (live, changes)) in counts.into_iter().enumerate() {
            let shelf = &self.shelves[place];
            if let Some(kind) = shelf.shelf.due(changes + shelf.gone, live, &mut fold_budget) {
                let entries = if kind == BlockKind::Full { live } else { changes + shelf.gone };
                blocks.push(self.freeze_group(place, kind, entries, values)?);
            }
        }
        Ok(self.ledger.add(checkpoint, blocks))
    }

    fn freeze_group(
        &mut self,
        place: usize,
        kind: BlockKind,
        entries: usize,
        values: Values,
    ) -> Result<StateBlock, BoxError> {
        let shelf = &mut self.shelves[place];
        let mut bytes = shelf.shelf.begin(kind);
        let panes = self.panes.iter().map(|pane| (pane.window.start, &pane.groups[place]));
        match kind {
            BlockKind::Full => {
                if entries > 0 {
                    block::begin_head(&mut bytes, values, 0);
                }
                panes.into_iter().try_for_each(|(start, group)| group.push_all(start, &mut bytes))?;
            }
            BlockKind::Changes => {
                block::begin_head(&mut bytes, values, shelf.gone);
                bytes.extend_from_slice(&shelf.tombstones);
                panes.into_iter().try_for_each(|(start, group)| group.push_changed(start, &mut bytes))?;
            }
        }
        shelf.tombstones.clear();
        shelf.gone = 0;
        shelf.shelf.note(kind, entries, bytes.len());
        self.panes.iter_mut().for_each(|pane| pane.groups[place].forget_changes());
        let group = KeyGroup(self.range.start + place as u16);
        Ok(StateBlock { group, kind, entries: entries as u32, bytes })
    }
}

impl<K: Key, A: DeserializeOwned> PaneTable<K, A> {
    /// Puts back what a checkpoint holds for this table's groups. Refuses a key that does not belong to the group it was stored in, and a window that does not begin where windows do.
    pub(crate) fn restore(&mut self, reader: &dyn StateReader) -> Result<(), StoreError> {
        let address = self.address().clone();
        let format = self.format.clone();
        let mut unread = None;
        let read = reader.read(&address, self.range, &mut |number, kind, entries, bytes| {
            if !self.range.contains(number) {
                return Err("the store gave a key group that was not asked for".into());
            }
            let place = usize::from(number.0 - self.range.start);
            if kind == BlockKind::Full {
                self.forget_group(place);
            }
            self.shelves[place].shelf.note(kind, entries as usize, bytes.len());
            let mut values = format.reader();
            for entry in Block::parse(bytes)? {
                let entry = entry?;
                let key: EntryKey<K, Timestamp> = block::key(entry.key)?;
                check_group(&key, number, self.max_parallelism)?;
                let value = entry.value.map(|(form, value)| values.read(form, value));
                let value = value.transpose().map_err(|cause| unread.insert(Unread::of(&key, cause)).to_string())?;
                self.restore_entry(place, key, value)?;
            }
            Ok(())
        });
        read.map_err(|error| unread.map_or(error, |unread| unread.in_state(&address, START_OVER)))?;
        self.panes.retain(|pane| pane.entries > 0);
        self.panes.iter_mut().flat_map(|pane| &mut pane.groups).for_each(PaneGroup::forget_changes);
        Ok(())
    }

    /// A full block replaces what was read of the group.
    fn forget_group(&mut self, place: usize) {
        for pane in &mut self.panes {
            pane.entries -= pane.groups[place].table.len();
            pane.groups[place] = PaneGroup::new();
        }
    }

    /// Puts back an entry, or takes out one that was removed.
    fn restore_entry(&mut self, place: usize, key: EntryKey<K, Timestamp>, value: Option<A>) -> Result<(), BoxError> {
        let EntryKey { key, user: start } = key;
        let Some(value) = value else {
            let Some(index) = self.find_pane(start) else { return Ok(()) };
            let pane = &mut self.panes[index];
            if let Ok(found) = pane.groups[place].table.find_entry(key.hash64(), |entry| entry.key == key) {
                found.remove();
                pane.entries -= 1;
            }
            return Ok(());
        };
        let index = self.find_pane(start).unwrap_or_else(|| self.add_pane(start));
        let window = self.panes[index].window;
        if window.start != start {
            return Err(
                format!("a window begins at {start}, and now one from {} to {}", window.start, window.end).into()
            );
        }
        let hint = PaneSlot { hash: key.hash64(), group: place as u32, pane: index as u32, bucket: PaneSlot::NONE };
        let mut value = Some(value);
        let stored = self.get_mut_or_insert_with(hint, key, start, || match value.take() {
            Some(value) => value,
            None => unreachable!("it is made once"),
        });
        if let Some(value) = value {
            *stored = value;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
