//! Sorted blocks, and what is known of them in memory.
//!
//! ```text
//! part 0: | head | 3 | entries ... | checksum |     first key 0 \
//! part 1: | entries ...            | checksum |     first key 1  > Run, with a filter over all keys
//! part 2: | entries ...            | checksum |     first key 2 /
//! ```
//! Parts are cut between entries, so that a look-up reads one.

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_engine::{
    BoxError, CheckpointId, KeyGroup,
    checkpoint::snapshot::{BlockKind, StateAddress, StateBlock},
    state::{Block, BlockEntry, begin_sorted, push_sorted},
};

use super::{
    block::HEAD,
    filter::{Filter, Hash},
    value::CHECKSUM,
};

/// The format that a sorted block begins with.
const SORTED: u8 = 3;

/// A sorted block, and where its parts end.
#[derive(Debug)]
pub(super) struct Sorted {
    pub(super) block: StateBlock,
    pub(super) ends: Vec<usize>,
}

/// Puts a [`Sorted`] together.
pub(super) struct Builder {
    block: StateBlock,
    ends: Vec<usize>,
    /// How long a part may be, head and checksum included.
    part: usize,
    /// How much of it the head takes.
    head: usize,
    start: usize,
}

impl Builder {
    pub(super) fn new(group: KeyGroup, kind: BlockKind, part: usize) -> Self {
        let block = StateBlock { group, kind, entries: 0, bytes: Vec::new() };
        Self { block, ends: Vec::new(), part, head: HEAD, start: 0 }
    }

    /// Adds an entry with a key above all before. A full block has no place for what went.
    pub(super) fn push(&mut self, entry: BlockEntry<'_>) {
        if self.block.kind == BlockKind::Full && entry.value.is_none() {
            return;
        }
        let bytes = &mut self.block.bytes;
        if bytes.is_empty() {
            begin_sorted(bytes);
        }
        let end = bytes.len();
        push_sorted(bytes, entry);
        let is_first = self.block.entries == 0 || end == self.start;
        if !is_first && self.head + bytes.len() - self.start + CHECKSUM > self.part {
            self.ends.push(end);
            (self.start, self.head) = (end, 0);
        }
        self.block.entries += 1;
    }

    pub(super) fn finish(mut self) -> Sorted {
        self.ends.push(self.block.bytes.len());
        Sorted { block: self.block, ends: self.ends }
    }
}

impl Sorted {
    /// Whether it takes the place of all older blocks.
    pub(super) fn is_full(&self) -> bool {
        self.block.kind == BlockKind::Full
    }

    /// The bytes of each part, without head and checksum.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.block.bytes[start..*end])
    }

    /// The entries of each part.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.parts().enumerate().map(|(part, bytes)| entries_of(part as u32, bytes))
    }
}

/// What of a sorted block's part `part` is entries: in the first one the format comes before.
pub(super) fn entries_of(part: u32, bytes: &[u8]) -> &[u8] {
    if part == 0 { bytes.get(1..).unwrap_or_default() } else { bytes }
}

/// Whether part 0 of a block begins a sorted one. One without entries is that, too.
pub(super) fn is_sorted(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|format| *format == SORTED)
}

/// A sorted block, as a look-up finds its way to a part of it.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) checkpoint: CheckpointId,
    pub(super) bytes: u64,
    filter: Filter,
    first_keys: Vec<u8>,
    /// Where each one ends.
    ends: Vec<u32>,
}

impl Run {
    pub(super) fn new(checkpoint: CheckpointId, entries: u32) -> Self {
        Self { checkpoint, bytes: 0, filter: Filter::with_capacity(entries), first_keys: Vec::new(), ends: Vec::new() }
    }

    /// That of `sorted`, which came with `checkpoint`.
    pub(super) fn of(checkpoint: CheckpointId, sorted: &Sorted) -> Result<Self, BoxError> {
        let mut run = Self::new(checkpoint, sorted.block.entries);
        sorted.pieces().try_for_each(|piece| run.add_part(piece))?;
        Ok(run)
    }

    /// Takes in the entries of the next part.
    pub(super) fn add_part(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        let mut is_first = true;
        for entry in Block::sorted_entries(bytes) {
            let key = entry?.key;
            if std::mem::take(&mut is_first) {
                self.first_keys.extend_from_slice(key);
                self.ends.push(u32::try_from(self.first_keys.len()).map_err(|_| "its keys have more than 4 GiB")?);
            }
            self.filter.add(Hash::of(key));
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// The part that has `key` if any has.
    #[inline]
    pub(super) fn part_of(&self, key: &[u8], hash: Hash) -> Option<u32> {
        if !self.filter.admits(hash) {
            return None;
        }
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.first_key(middle) <= key { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1).map(|part| part as u32)
    }

    fn first_key(&self, part: usize) -> &[u8] {
        let start = if part == 0 { 0 } else { self.ends[part - 1] };
        &self.first_keys[start as usize..self.ends[part] as usize]
    }
}

/// The runs of a checkpoint's states. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    pub(super) states: BTreeMap<StateAddress, Arc<StateRuns>>,
}

/// The runs of one state.
#[derive(Clone, Debug, Default)]
pub(super) struct StateRuns {
    /// The state's number in keys.
    pub(super) number: u32,
    /// The newest first.
    pub(super) groups: BTreeMap<KeyGroup, Vec<Arc<Run>>>,
}

impl Runs {
    /// Puts `run` before the others of its group, or in their place.
    pub(super) fn add(&mut self, address: &StateAddress, number: u32, group: KeyGroup, kind: BlockKind, run: Run) {
        if !self.states.contains_key(address) {
            self.states.insert(address.clone(), Arc::new(StateRuns { number, groups: BTreeMap::new() }));
        }
        let Some(state) = self.states.get_mut(address) else { return };
        let runs = Arc::make_mut(state).groups.entry(group).or_default();
        if kind == BlockKind::Full {
            runs.clear();
        }
        runs.insert(0, Arc::new(run));
    }
}
