//! Checkpoints kept in the process.
//!
//! ```text
//! Memory --clone--> Memory        both name one place
//!    \                /
//!     Place { attempt, newest, (state, key group) -> blocks }   at most one open store
//! ```
//! Survives the failure of an operator, not of the process. A reader holds the place's lock only while it lists blocks.

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_engine::{
    Attempt, BoxError, CheckpointId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, CheckpointCommit, CheckpointMetadata, StateAddress, StateBlock},
        store::{CheckpointStore, CommitStats, StateBackend, StateReader, StoreError, StoreErrorKind},
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
    newest: Option<CheckpointMetadata>,
    states: BTreeMap<StateAddress, BTreeMap<KeyGroup, Vec<Arc<Block>>>>,
}

#[derive(Debug)]
struct Block {
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
        Ok(self.place.lock().newest.clone())
    }

    fn begin_attempt(&mut self) -> Result<Attempt, StoreError> {
        let mut place = self.place.lock();
        place.attempt = place.attempt.next();
        Ok(place.attempt)
    }

    fn commit(&mut self, commit: &CheckpointCommit) -> Result<CommitStats, StoreError> {
        let mut place = self.place.lock();
        plan::check("memory", place.standing(), commit)?;
        let plan = plan::plan(place.checkpoint(), commit)?;
        commit.fail_points.reach(Point::CommitWritten, None, commit.metadata.checkpoint)?;
        let bytes = place.apply(plan);
        if !mutation::is(Mutation::CommitWithoutMark) {
            place.newest = Some(commit.metadata.clone());
        }
        Ok(CommitStats { bytes })
    }

    fn reader(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        let checkpoint = self.place.lock().checkpoint();
        Ok(Arc::new(Reader { place: self.place.clone(), checkpoint }))
    }

    fn delete(self: Box<Self>) -> Result<(), StoreError> {
        // Stays open until `self` drops.
        *self.place.lock() = Place { open: true, ..Place::default() };
        Ok(())
    }
}

impl Place {
    fn checkpoint(&self) -> Option<CheckpointId> {
        self.newest.as_ref().map(|newest| newest.checkpoint)
    }

    fn standing(&self) -> Standing {
        Standing { attempt: self.attempt, newest: self.newest.as_ref().map(|newest| (newest.job, newest.checkpoint)) }
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

    fn blocks(&self, state: &StateAddress, range: KeyGroupRange) -> Vec<(KeyGroup, Arc<Block>)> {
        let Some(groups) = self.states.get(state).filter(|_| range.start < range.end) else { return Vec::new() };
        groups
            .range(KeyGroup(range.start)..KeyGroup(range.end))
            .flat_map(|(group, blocks)| blocks.iter().map(|block| (*group, block.clone())))
            .collect()
    }
}

fn apply_to_group(stored: &mut Vec<Arc<Block>>, change: &GroupChange<'_>) -> u64 {
    if change.replaces {
        stored.clear();
    }
    stored.extend(change.blocks.iter().map(|(_, block)| Arc::new(Block::of(block))));
    change.blocks.iter().map(|(_, block)| block.bytes.len() as u64).sum()
}

impl Block {
    /// Copies: a shared delta would stay until the last of its groups is superseded.
    fn of(block: &StateBlock) -> Self {
        Self { kind: block.kind, entries: block.entries, bytes: block.bytes.as_slice().into() }
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
        for (group, block) in self.list(state, range)? {
            visit(group, block.kind, block.entries, &block.bytes).map_err(|cause| {
                let message = format!("state {state}, key group {group}: cannot be restored from memory");
                StoreError::new(StoreErrorKind::Damaged, message, Some(cause))
            })?;
        }
        Ok(())
    }
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
