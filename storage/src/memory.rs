//! Checkpoints kept in the process.
//!
//! ```text
//! Memory --clone--> Memory        both name one place
//!    \                /
//!     Place { attempt, retained records, (state, key group) -> blocks }   at most one open store
//! ```
//! Survives the failure of an operator, not of the process. A reader holds the place's lock only while it lists blocks, a pinned one
//! not at all.
//!
//! Checkpoints share blocks: of a group's, checkpoint *c* has the newest full one up to *c*, and what follows that up to *c*.

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_engine::{
    Attempt, BoxError, CheckpointId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, CheckpointCommit, CheckpointMetadata, StateAddress, StateBlock},
        store::{
            CheckpointStore, CommitStats, RetainedCheckpoint, StateBackend, StateReader, StoreError, StoreErrorKind,
        },
    },
    fail_point::Point,
    mutation::{self, Mutation},
};
use parking_lot::Mutex;

use crate::plan::{self, GroupChange, Plan, Standing};

/// Keeps checkpoints in the process: they survive a restart of the job, and are gone with the process.
///
/// Clones name the same place.
///
/// ```
/// use cofferdam_engine::checkpoint::store::{CheckpointStore as _, StateBackend as _};
/// use cofferdam_storage::Memory;
///
/// # fn main() -> Result<(), cofferdam_engine::checkpoint::store::StoreError> {
/// let memory = Memory::new();
/// let mut store = memory.open()?;
/// assert!(store.newest()?.is_none());
/// assert_eq!(store.begin_attempt()?.0, 1);
/// assert!(memory.open().is_err(), "one owner at a time");
///
/// drop(store);
/// assert_eq!(memory.open()?.begin_attempt()?.0, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memory {
    place: Arc<Mutex<Place>>,
}

#[derive(Debug, Default)]
struct Place {
    open: bool,
    attempt: Attempt,
    /// The oldest first.
    retained: Vec<CheckpointMetadata>,
    highest: Option<CheckpointId>,
    states: BTreeMap<StateAddress, BTreeMap<KeyGroup, Vec<Arc<Block>>>>,
}

#[derive(Debug)]
struct Block {
    checkpoint: CheckpointId,
    kind: BlockKind,
    entries: u32,
    bytes: Box<[u8]>,
}

impl Memory {
    /// A new, empty place.
    pub fn new() -> Self {
        Self::default()
    }
}

impl StateBackend for Memory {
    fn open(&self) -> Result<Box<dyn CheckpointStore>, StoreError> {
        let mut place = self.place.lock();
        if place.open {
            let message = "this memory backend is open already; give each job a `Memory::new()` of its own";
            return Err(StoreError::new(StoreErrorKind::InUse, message, None));
        }
        place.open = true;
        Ok(Box::new(Store { place: self.place.clone() }))
    }

    fn place(&self) -> String {
        "memory".into()
    }

    fn is_durable(&self) -> bool {
        false
    }
}

struct Store {
    place: Arc<Mutex<Place>>,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.place.lock().open = false;
    }
}

impl CheckpointStore for Store {
    fn newest(&mut self) -> Result<Option<CheckpointMetadata>, StoreError> {
        Ok(self.place.lock().retained.last().cloned())
    }

    fn highest(&mut self) -> Result<Option<CheckpointId>, StoreError> {
        Ok(self.place.lock().highest)
    }

    fn begin_attempt_after(&mut self, taken: Attempt) -> Result<Attempt, StoreError> {
        let mut place = self.place.lock();
        place.attempt = place.attempt.max(taken).next();
        Ok(place.attempt)
    }

    fn commit(&mut self, commit: &CheckpointCommit) -> Result<CommitStats, StoreError> {
        let mut place = self.place.lock();
        plan::check("memory", place.standing(), commit)?;
        let plan = plan::plan(place.checkpoint(), commit)?;
        let written = commit.fail_points.reach(Point::CommitWritten, None, commit.metadata.checkpoint);
        written.map_err(StoreError::before_writing)?;
        let bytes = place.apply(plan);
        if !mutation::is(Mutation::CommitWithoutMark) {
            place.retain(commit);
        }
        Ok(CommitStats { bytes })
    }

    fn reader(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        let checkpoint = self.place.lock().checkpoint();
        Ok(Arc::new(Reader { place: self.place.clone(), checkpoint }))
    }

    fn pin(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        let place = self.place.lock();
        let all = KeyGroupRange { start: 0, end: u16::MAX };
        let states = place.states.keys().map(|state| (state.clone(), place.blocks(state, all)));
        Ok(Arc::new(Pinned { states: states.collect() }))
    }

    fn retained(&mut self) -> Result<Vec<RetainedCheckpoint>, StoreError> {
        let place = self.place.lock();
        let retained = place.retained.iter().cloned();
        Ok(retained
            .map(|metadata| RetainedCheckpoint { checkpoint: metadata.checkpoint, metadata: Ok(metadata) })
            .collect())
    }

    fn go_back(&mut self, checkpoint: CheckpointId) -> Result<CheckpointMetadata, StoreError> {
        self.place.lock().go_back(checkpoint)
    }

    fn delete(self: Box<Self>) -> Result<(), StoreError> {
        // Stays open until `self` drops.
        *self.place.lock() = Place { open: true, ..Place::default() };
        Ok(())
    }
}

impl Place {
    fn checkpoint(&self) -> Option<CheckpointId> {
        self.retained.last().map(|newest| newest.checkpoint)
    }

    fn standing(&self) -> Standing {
        let newest = self.retained.last().map(|newest| (newest.job, newest.checkpoint));
        Standing { attempt: self.attempt, newest, highest: self.highest }
    }

    /// Puts the plan's blocks in place, and says how many bytes they hold.
    fn apply(&mut self, plan: Plan<'_>) -> u64 {
        let mut bytes = 0;
        for (address, groups) in plan {
            let state = self.states.entry(address.clone()).or_default();
            for (group, change) in groups {
                bytes += apply_to_group(state.entry(group).or_default(), &change);
            }
        }
        bytes
    }

    /// Makes the commit the newest checkpoint, and drops what is kept no longer.
    fn retain(&mut self, commit: &CheckpointCommit) {
        self.retained.drain(..plan::outdated(self.retained.len(), commit.num_retained));
        self.retained.push(commit.metadata.clone());
        self.highest = Some(commit.metadata.checkpoint);
        let oldest = self.retained[0].checkpoint;
        for blocks in self.states.values_mut().flat_map(BTreeMap::values_mut) {
            blocks.drain(..start(blocks, oldest));
        }
    }

    fn go_back(&mut self, checkpoint: CheckpointId) -> Result<CheckpointMetadata, StoreError> {
        let numbers = self.retained.iter().map(|kept| kept.checkpoint);
        let found = self.retained.iter().find(|kept| kept.checkpoint == checkpoint).cloned();
        let found = found.ok_or_else(|| plan::not_retained("memory", checkpoint, numbers))?;
        self.retained.retain(|kept| kept.checkpoint <= checkpoint);
        for blocks in self.states.values_mut().flat_map(BTreeMap::values_mut) {
            blocks.retain(|block| block.checkpoint <= checkpoint);
        }
        Ok(found)
    }

    /// What the newest checkpoint has.
    fn blocks(&self, state: &StateAddress, range: KeyGroupRange) -> Vec<(KeyGroup, Arc<Block>)> {
        let Some(groups) = self.states.get(state).filter(|_| range.start < range.end) else { return Vec::new() };
        let newest = self.checkpoint().unwrap_or_default();
        groups
            .range(KeyGroup(range.start)..KeyGroup(range.end))
            .flat_map(|(group, blocks)| blocks[start(blocks, newest)..].iter().map(|block| (*group, block.clone())))
            .collect()
    }
}

/// Where among a group's blocks those of `checkpoint` begin.
fn start(blocks: &[Arc<Block>], checkpoint: CheckpointId) -> usize {
    let full = |block: &Arc<Block>| block.kind == BlockKind::Full && block.checkpoint <= checkpoint;
    blocks.iter().rposition(full).unwrap_or(0)
}

fn apply_to_group(stored: &mut Vec<Arc<Block>>, change: &GroupChange<'_>) -> u64 {
    stored.extend(change.blocks.iter().map(|(checkpoint, block)| Arc::new(Block::of(*checkpoint, block))));
    change.blocks.iter().map(|(_, block)| block.bytes.len() as u64).sum()
}

impl Block {
    /// Copies: a shared delta would stay until the last of its groups is superseded.
    fn of(checkpoint: CheckpointId, block: &StateBlock) -> Self {
        Self { checkpoint, kind: block.kind, entries: block.entries, bytes: block.bytes.as_slice().into() }
    }
}

struct Reader {
    place: Arc<Mutex<Place>>,
    checkpoint: Option<CheckpointId>,
}

impl StateReader for Reader {
    fn read(
        &self,
        state: &StateAddress,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        show(state, &self.list(state, range)?, visit)
    }
}

/// A checkpoint's blocks, shared with the place as long as that has them.
struct Pinned {
    states: BTreeMap<StateAddress, Vec<(KeyGroup, Arc<Block>)>>,
}

impl StateReader for Pinned {
    fn read(
        &self,
        state: &StateAddress,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        let Some(blocks) = self.states.get(state).filter(|_| range.start < range.end) else { return Ok(()) };
        let first = blocks.partition_point(|(group, _)| group.0 < range.start);
        let end = blocks.partition_point(|(group, _)| group.0 < range.end);
        show(state, &blocks[first..end], visit)
    }
}

fn show(
    state: &StateAddress,
    blocks: &[(KeyGroup, Arc<Block>)],
    visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
) -> Result<(), StoreError> {
    for (group, block) in blocks {
        visit(*group, block.kind, block.entries, &block.bytes).map_err(|cause| {
            let message = format!("state {state}, key group {group}: cannot be restored from memory");
            StoreError::new(StoreErrorKind::Damaged, message, Some(cause))
        })?;
    }
    Ok(())
}

impl Reader {
    fn list(&self, state: &StateAddress, range: KeyGroupRange) -> Result<Vec<(KeyGroup, Arc<Block>)>, StoreError> {
        let place = self.place.lock();
        if place.checkpoint() != self.checkpoint {
            let message = "this reader's checkpoint is not the newest any more; ask the store for a new reader";
            return Err(StoreError::new(StoreErrorKind::Fenced, message, None));
        }
        Ok(place.blocks(state, range))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use cofferdam_engine::{JobId, checkpoint::snapshot::StateDelta};

    use super::*;

    fn commit(store: &mut dyn CheckpointStore, attempt: Attempt, number: u64, kind: BlockKind, num_retained: u32) {
        let checkpoint = CheckpointId(number);
        let address = StateAddress { operator: "count".into(), state: "total".into() };
        let block = StateBlock { group: KeyGroup(0), kind, entries: 1, bytes: vec![1] };
        let delta = Arc::new(StateDelta { checkpoint, address, blocks: vec![block] });
        let metadata = CheckpointMetadata {
            job: JobId(1),
            job_name: "test".into(),
            checkpoint,
            attempt,
            max_parallelism: 8,
            finished: false,
            draining: false,
            operators: vec![],
            in_flight: vec![],
            times: vec![],
            origin: None,
        };
        let (num_retained, fail_points) = (NonZeroU32::new(num_retained).unwrap(), Default::default());
        store.commit(&CheckpointCommit { metadata, deltas: vec![delta], num_retained, fail_points }).unwrap();
    }

    #[test]
    fn blocks_that_no_checkpoint_kept_needs_are_gone() {
        use BlockKind::{Changes, Full};
        let kinds = [Full, Changes, Full, Full, Changes, Changes, Full, Full];
        // After each commit.
        for (num_retained, blocks) in [(1, [1, 2, 1, 1, 2, 3, 1, 1]), (2, [1, 2, 3, 2, 2, 3, 4, 2])] {
            let memory = Memory::new();
            let mut store = memory.open().unwrap();
            let attempt = store.begin_attempt().unwrap();
            for ((number, kind), expected) in (0..).zip(kinds).zip(blocks) {
                commit(&mut *store, attempt, number, kind, num_retained);
                let place = memory.place.lock();
                let found: usize = place.states.values().flat_map(BTreeMap::values).map(Vec::len).sum();
                assert_eq!(found, expected, "{num_retained} retained, checkpoint {number}");
            }
        }
    }
}
