//! Sorted blocks, and what is known of them in memory.
//!
//! ```text
//! part 0: | head | 3 | entries ...... | checksum |     mark, mark \
//! part 1: | entries ...... entries .. | checksum |     mark, mark  > Run, with a filter over all keys
//! part 2: | entries ......            | checksum |     mark       /
//! ```
//! Parts are cut between entries, so that a look-up reads one. Marks are the first entry of each part, and every 32nd after that.

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_engine::{
    BoxError, CheckpointId, KeyGroup,
    checkpoint::{
        snapshot::{BlockKind, StateAddress, StateBlock},
        store::StoreError,
    },
    state::{Block, BlockEntry, begin_sorted, push_sorted, sorted_length},
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
    /// `block` in parts of `part` bytes, if it is a sorted one.
    pub(super) fn of(block: &StateBlock, part: usize) -> Option<Self> {
        if block.bytes.first() != Some(&SORTED) {
            return None;
        }
        let mut builder = Builder::new(block.group, block.kind, part);
        for entry in Block::parse(&block.bytes).ok()? {
            builder.push(entry.ok()?);
        }
        let sorted = builder.finish();
        (sorted.block == *block).then_some(sorted)
    }

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

/// How many entries a mark leads to: they are looked through one by one.
const MARKED: usize = 32;

/// A sorted block, as a look-up finds its way to some entries of it.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) checkpoint: CheckpointId,
    pub(super) bytes: u64,
    filter: Filter,
    parts: u32,
    marks: Vec<Mark>,
    /// The keys of the entries at the marks.
    keys: Vec<u8>,
}

/// An entry: the first of a part, or some way into it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Where its key ends in `keys`.
    end: u32,
    place: Place,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) part: u32,
    /// In the part's entries.
    pub(super) offset: u32,
}

impl Run {
    pub(super) fn new(checkpoint: CheckpointId, entries: u32) -> Self {
        let filter = Filter::with_capacity(entries);
        Self { checkpoint, bytes: 0, filter, parts: 0, marks: Vec::new(), keys: Vec::new() }
    }

    /// That of `sorted`, which came with `checkpoint`.
    pub(super) fn of(checkpoint: CheckpointId, sorted: &Sorted) -> Result<Self, BoxError> {
        let mut run = Self::new(checkpoint, sorted.block.entries);
        sorted.pieces().try_for_each(|piece| run.add_part(piece))?;
        Ok(run)
    }

    /// Takes in the entries of the next part.
    pub(super) fn add_part(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        let mut offset = 0;
        for (number, entry) in Block::sorted_entries(bytes).enumerate() {
            let entry = entry?;
            if number.is_multiple_of(MARKED) {
                self.mark(entry.key, offset)?;
            }
            self.filter.add(Hash::of(entry.key));
            offset += sorted_length(entry);
        }
        if offset != bytes.len() {
            return Err("its entries have other lengths than they should".into());
        }
        self.parts += 1;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn mark(&mut self, key: &[u8], offset: usize) -> Result<(), BoxError> {
        self.keys.extend_from_slice(key);
        let short = |length| u32::try_from(length).map_err(|_| "a block has more than 4 GiB of keys, or in one part");
        let place = Place { part: self.parts, offset: short(offset)? };
        self.marks.push(Mark { end: short(self.keys.len())?, place });
        Ok(())
    }

    /// Where `key` is, or a few entries further, if it is anywhere.
    #[inline]
    pub(super) fn place_of(&self, key: &[u8], hash: Hash) -> Option<Place> {
        if !self.filter.admits(hash) {
            return None;
        }
        let (mut low, mut high) = (0, self.marks.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.key_at(middle) <= key { low = middle + 1 } else { high = middle }
        }
        Some(self.marks[low.checked_sub(1)?].place)
    }

    fn key_at(&self, mark: usize) -> &[u8] {
        let start = if mark == 0 { 0 } else { self.marks[mark - 1].end };
        &self.keys[start as usize..self.marks[mark].end as usize]
    }
}

/// The runs of a checkpoint's states. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    pub(super) states: BTreeMap<StateAddress, Arc<StateRuns>>,
    /// States that were not found whole, which have no runs, and why. Whoever asks for one is told.
    pub(super) damaged: BTreeMap<StateAddress, Arc<StoreError>>,
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
    /// Puts `run`, which is complete, before the others of its group, or in their place.
    pub(super) fn add(&mut self, address: &StateAddress, number: u32, group: KeyGroup, kind: BlockKind, mut run: Run) {
        run.marks.shrink_to_fit();
        run.keys.shrink_to_fit();
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

#[cfg(test)]
mod tests {
    use cofferdam_engine::state::Values;

    use super::*;

    /// Even numbers, with values of different lengths; each 17th went.
    fn sorted(part: usize) -> Sorted {
        let mut builder = Builder::new(KeyGroup(0), BlockKind::Changes, part);
        for number in (0..2_000u32).step_by(2) {
            let value = vec![7; (number % 300) as usize];
            let value =
                (number % 17 != 0).then_some((Values { version: number, are_timed: number % 3 == 0 }, &value[..]));
            builder.push(BlockEntry { key: &number.to_be_bytes(), value });
        }
        builder.finish()
    }

    #[test]
    fn each_key_is_at_most_a_few_entries_behind_its_place() {
        for part in [100, 4080, 1 << 20] {
            let sorted = sorted(part);
            let pieces: Vec<_> = sorted.pieces().collect();
            let run = Run::of(CheckpointId(0), &sorted).unwrap();
            for number in (0..2_000u32).step_by(2) {
                let key = number.to_be_bytes();
                let place = run.place_of(&key, Hash::of(&key)).unwrap();
                let mut entries = Block::sorted_entries(&pieces[place.part as usize][place.offset as usize..]);
                assert!(entries.by_ref().take(MARKED).any(|entry| entry.unwrap().key == key), "{number} in {part}");
            }
        }
    }

    #[test]
    fn no_part_is_longer_than_it_may_be_but_for_a_single_entry() {
        let sorted = sorted(200);
        for (number, (part, entries)) in sorted.parts().zip(sorted.pieces()).enumerate() {
            let head = if number == 0 { HEAD } else { 0 };
            let is_single = Block::sorted_entries(entries).count() == 1;
            assert!(head + part.len() + CHECKSUM <= 200 || is_single, "part {number}");
        }
    }
}
