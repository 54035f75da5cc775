//! One key group's entries, and which of them changed.
//!
//! # Invariants
//! - A bit of `changed` belongs to a bucket of `table`; when entries move to other buckets, their bits move along, unless the next block must be full.
//! - Only occupied buckets have their bit set, and `changes` counts them. Every entry that changed has its bit set, or the next block must be full.

use hashbrown::HashTable;
use prefetch_index::prefetch_index;
use serde::Serialize;

use crate::{
    checkpoint::snapshot::{BlockKind, StateBlock},
    error::BoxError,
    key::Key,
    key_group::KeyGroup,
    state::{
        block::{self, Values},
        shelf::Shelf,
        sought::Sought,
        ttl::Swept,
    },
};

/// Entries that are loaded side by side.
const TOGETHER: usize = 16;

/// See the module. What every record touches is 64 bytes, a cache line; the rest is elsewhere.
pub(super) struct Group<K, S> {
    table: HashTable<Entry<K, S>>,
    /// A bit for each bucket.
    changed: Box<[u64]>,
    changes: usize,
    rest: Box<Rest<K>>,
}

struct Rest<K> {
    /// Keys removed since the last snapshot.
    removed: Vec<K>,
    shelf: Shelf,
}

struct Entry<K, S> {
    key: K,
    value: S,
}

impl<K: Key, S> Group<K, S> {
    pub(super) fn new() -> Self {
        let rest = Rest { removed: Vec::new(), shelf: Shelf::default() };
        Self { table: HashTable::new(), changed: Box::default(), changes: 0, rest: Box::new(rest) }
    }

    /// Number of keys.
    pub(super) fn live(&self) -> usize {
        self.table.len()
    }

    /// Entries that a block of changes would hold, or more.
    pub(super) fn changes(&self) -> usize {
        if self.rest.shelf.must_be_full() { self.live() } else { self.changes + self.rest.removed.len() }
    }

    /// Whether a full block costs no more than about twice what a block of changes does.
    fn mostly_changed(&self) -> bool {
        self.rest.shelf.mostly_changed(self.changes(), self.live())
    }

    /// What there is to snapshot, if anything is; see [`Shelf::due`].
    pub(super) fn due(&self, fold_budget: &mut usize) -> Option<BlockKind> {
        self.rest.shelf.due(self.changes(), self.live(), fold_budget)
    }

    /// Size of all blocks that hold it: stored, or on their way there.
    pub(super) fn stored_bytes(&self) -> usize {
        self.rest.shelf.stored_bytes()
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, sought: &impl Sought<K>) -> Option<usize> {
        self.table.find_bucket_index(hash, |entry| sought.is(&entry.key))
    }

    /// A bucket whose entry may be that of a key with this hash, judged by its tag; `None` if no tag fits. Has the entry fetched from memory without
    /// waiting for it.
    #[inline]
    pub(super) fn guess(&self, hash: u64) -> Option<usize> {
        let bucket = self.table.find_bucket_index(hash, |_| true)?;
        if let Some(entry) = self.table.get_bucket(bucket) {
            prefetch_index(std::slice::from_ref(entry), 0);
        }
        Some(bucket)
    }

    /// Whether the entry in `bucket` is the one that is sought.
    #[inline]
    pub(super) fn holds(&self, bucket: usize, sought: &impl Sought<K>) -> bool {
        self.table.get_bucket(bucket).is_some_and(|entry| sought.is(&entry.key))
    }

    #[inline]
    pub(super) fn value(&self, bucket: usize) -> Option<&S> {
        self.table.get_bucket(bucket).map(|entry| &entry.value)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.table.iter().map(|entry| &entry.key)
    }

    #[inline]
    pub(super) fn value_mut(&mut self, bucket: usize) -> Option<&mut S> {
        self.table.get_bucket_mut(bucket).map(|entry| &mut entry.value)
    }

    #[inline]
    pub(super) fn mark_changed(&mut self, bucket: usize) {
        let (word, bit) = (bucket / 64, 1 << (bucket % 64));
        if self.changed[word] & bit == 0 {
            self.changed[word] |= bit;
            self.changes += 1;
        }
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (K, S)> {
        self.table.into_iter().map(|entry| (entry.key, entry.value))
    }

    /// Adds an entry for a key that has none; gives back its bucket.
    pub(super) fn insert(&mut self, hash: u64, key: K, value: S) -> usize {
        self.make_room();
        let bucket = self.table.insert_unique(hash, Entry { key, value }, |entry| entry.key.hash64()).bucket_index();
        self.mark_changed(bucket);
        bucket
    }

    pub(super) fn remove(&mut self, hash: u64, sought: &impl Sought<K>) -> Option<S> {
        let found = self.table.find_entry(hash, |entry| sought.is(&entry.key)).ok()?;
        let (word, bit) = (found.bucket_index() / 64, 1 << (found.bucket_index() % 64));
        let (entry, _) = found.remove();
        if self.changed[word] & bit != 0 {
            self.changed[word] &= !bit;
            self.changes -= 1;
        }
        self.note_removed(entry.key);
        Some(entry.value)
    }

    /// Notes that `key` went. Once a full block is due anyway it says so by not having the key: so the list stays below the size of the table, however often
    /// keys come and go.
    fn note_removed(&mut self, key: K) {
        if !self.rest.shelf.must_be_full() {
            self.rest.removed.push(key);
            if self.mostly_changed() {
                self.rest.shelf.be_full();
            }
        }
        if self.rest.shelf.must_be_full() {
            self.rest.removed.clear();
        }
    }

    /// Makes room for an entry, by moving all entries and their bits to a larger table.
    fn make_room(&mut self) {
        if self.table.len() < self.table.capacity() {
            return;
        }
        if self.mostly_changed() {
            return self.make_room_for_full();
        }
        let larger = HashTable::with_capacity((self.table.len() * 2).max(4));
        let mut old = std::mem::replace(&mut self.table, larger);
        let old_changed = std::mem::take(&mut self.changed);
        self.fit_bits();
        for bucket in 0..old.num_buckets() {
            let Ok(entry) = old.get_bucket_entry(bucket) else { continue };
            let (entry, _) = entry.remove();
            let hash = entry.key.hash64();
            let moved = self.table.insert_unique(hash, entry, |entry| entry.key.hash64()).bucket_index();
            if old_changed[bucket / 64] & (1 << (bucket % 64)) != 0 {
                self.changed[moved / 64] |= 1 << (moved % 64);
            }
        }
    }

    /// Makes room where the next block is a full one: then no bit need move.
    fn make_room_for_full(&mut self) {
        self.table.reserve(1, |entry| entry.key.hash64());
        self.be_full();
    }

    /// Makes the next block a full one.
    fn be_full(&mut self) {
        self.rest.shelf.be_full();
        self.changed.fill(0);
        self.changes = 0;
        self.rest.removed.clear();
        self.fit_bits();
    }

    /// Has every entry judged. If one went or changed, the next block is a full one.
    pub(super) fn sweep(&mut self, mut judge: impl FnMut(&K, &mut S) -> Swept) {
        let mut is_touched = false;
        self.table.retain(|entry| {
            let swept = judge(&entry.key, &mut entry.value);
            is_touched |= swept != Swept::Kept;
            swept != Swept::Gone
        });
        if is_touched {
            if self.table.len() < self.table.capacity() / 4 {
                self.table.shrink_to(self.table.len() * 2, |entry| entry.key.hash64());
            }
            self.be_full();
        }
    }

    /// A bit for every bucket.
    fn fit_bits(&mut self) {
        let words = self.table.num_buckets().div_ceil(64);
        if self.changed.len() != words {
            let mut changed = std::mem::take(&mut self.changed).into_vec();
            changed.resize(words, 0);
            self.changed = changed.into_boxed_slice();
        }
    }
}

impl<K: Key, S: Serialize> Group<K, S> {
    /// All entries.
    pub(super) fn freeze_full(&mut self, group: KeyGroup, values: Values) -> Result<StateBlock, BoxError> {
        let mut bytes = self.rest.shelf.begin(BlockKind::Full);
        if !self.table.is_empty() {
            block::begin::<K>(&mut bytes, values, &[]);
        }
        for entry in self.table.iter() {
            block::push(&mut bytes, &entry.key, &entry.value)?;
        }
        self.rest.shelf.note(BlockKind::Full, self.table.len(), bytes.len());
        self.forget_changes();
        Ok(StateBlock { group, kind: BlockKind::Full, entries: self.table.len() as u32, bytes })
    }

    /// The entries that changed, and the keys that went.
    pub(super) fn freeze_changes(&mut self, group: KeyGroup, values: Values) -> Result<StateBlock, BoxError> {
        let mut bytes = self.rest.shelf.begin(BlockKind::Changes);
        block::begin(&mut bytes, values, &self.rest.removed);
        let buckets = self.take_changed();
        for together in buckets.chunks(TOGETHER) {
            self.load(together);
            for entry in together.iter().filter_map(|bucket| self.table.get_bucket(*bucket)) {
                block::push(&mut bytes, &entry.key, &entry.value)?;
            }
        }
        let entries = buckets.len() + self.rest.removed.len();
        self.rest.shelf.note(BlockKind::Changes, entries, bytes.len());
        self.rest.removed.clear();
        Ok(StateBlock { group, kind: BlockKind::Changes, entries: entries as u32, bytes })
    }

    /// The buckets whose bit is set; clears the bits.
    fn take_changed(&mut self) -> Vec<usize> {
        let mut buckets = Vec::with_capacity(self.changes);
        for (word, bits) in self.changed.iter_mut().enumerate().filter(|(_, bits)| **bits != 0) {
            let mut left = std::mem::take(bits);
            while left != 0 {
                buckets.push(word * 64 + left.trailing_zeros() as usize);
                left &= left - 1;
            }
        }
        self.changes = 0;
        buckets
    }

    /// Has a few entries loaded side by side, so that the memory's latency is waited for once.
    fn load(&self, buckets: &[usize]) {
        let keys = buckets.iter().filter_map(|bucket| self.table.get_bucket(*bucket)).map(|entry| entry.key.hash64());
        std::hint::black_box(keys.fold(0, u64::wrapping_add));
    }

    /// Takes back the memory of a block that is stored.
    pub(super) fn recycle(&mut self, block: StateBlock) {
        self.rest.shelf.recycle(block);
    }

    fn forget_changes(&mut self) {
        self.changed.fill(0);
        self.changes = 0;
        self.rest.removed.clear();
    }
}

impl<K: Key, S> Group<K, S> {
    /// Prepares for the entries of a stored block.
    pub(super) fn begin_restore(&mut self, kind: BlockKind, entries: usize, bytes: usize) {
        if kind == BlockKind::Full {
            self.table = HashTable::with_capacity(entries);
        }
        self.rest.shelf.note(kind, entries, bytes);
    }

    /// Puts back an entry, or takes out one that was removed.
    pub(super) fn restore(&mut self, hash: u64, key: K, value: Option<S>) {
        match (self.table.find_entry(hash, |entry| entry.key == key), value) {
            (Ok(mut found), Some(value)) => found.get_mut().value = value,
            (Ok(found), None) => drop(found.remove()),
            (Err(absent), Some(value)) => {
                absent.into_table().insert_unique(hash, Entry { key, value }, |entry| entry.key.hash64());
            }
            (Err(_), None) => {}
        }
    }

    /// All blocks are in.
    pub(super) fn end_restore(&mut self) {
        self.fit_bits();
    }
}

#[cfg(test)]
impl<K: Key, S: Clone> Group<K, S> {
    pub(super) fn entries(&self) -> impl Iterator<Item = (K, S)> {
        self.table.iter().map(|entry| (entry.key.clone(), entry.value.clone()))
    }

    pub(super) fn buckets(&self) -> usize {
        self.table.num_buckets()
    }

    pub(super) fn removed(&self) -> usize {
        self.rest.removed.len()
    }
}
