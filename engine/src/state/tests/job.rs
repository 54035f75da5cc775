//! A keyed step's states on any number of subtasks, and a store that obeys the contract and does no more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    Clock, Slice,
    checkpoint::{
        snapshot::{BlockKind, CheckpointMetadata, StateAddress, StateDelta},
        store::{StateReader, StoreError, StoreErrorKind},
    },
    error::{BoxError, Error},
    id::{Attempt, CheckpointId, JobId, ProcessingTime, SubtaskIndex, WallTime},
    key::Key,
    key_group::{KeyGroup, KeyGroupRange},
    operator::{OpenContext, SnapshotBuilder},
    state::{
        Block,
        keyed_states::{KeyedStates, KeyedTables, TablePlace, with_states},
    },
};

pub const GROUPS: u16 = 8;

type Blocks = Vec<(CheckpointId, BlockKind, u32, Vec<u8>)>;

/// Every block that the newest checkpoint is made of.
#[derive(Default)]
pub struct Store {
    pub newest: CheckpointId,
    groups: Mutex<BTreeMap<(StateAddress, u16), Blocks>>,
}

impl Store {
    pub fn commit(&mut self, checkpoint: CheckpointId, deltas: &[Arc<StateDelta>]) {
        let mut groups = self.groups.lock().unwrap();
        for delta in deltas.iter().filter(|delta| delta.checkpoint > self.newest) {
            for block in &delta.blocks {
                let stored = groups.entry((delta.address.clone(), block.group.0)).or_default();
                if block.kind == BlockKind::Full {
                    stored.clear();
                }
                stored.push((delta.checkpoint, block.kind, block.entries, block.bytes.clone()));
            }
        }
        self.newest = checkpoint;
    }

    /// The key of every entry of every block that holds a value.
    pub fn keys(&self, state: &str) -> BTreeSet<Vec<u8>> {
        let groups = self.groups.lock().unwrap();
        let blocks = groups.iter().filter(|((address, _), _)| address.state == state).flat_map(|(_, blocks)| blocks);
        let entries = blocks.flat_map(|(_, _, _, bytes)| Block::parse(bytes).unwrap().map(Result::unwrap));
        entries.filter(|entry| entry.value.is_some()).map(|entry| entry.key.to_vec()).collect()
    }
}

impl StateReader for Store {
    fn read(
        &self,
        state: &StateAddress,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        for ((address, group), blocks) in self.groups.lock().unwrap().iter() {
            for (_, kind, entries, bytes) in blocks {
                if address == state && range.contains(KeyGroup(*group)) {
                    visit(KeyGroup(*group), *kind, *entries, bytes)
                        .map_err(|error| StoreError::new(StoreErrorKind::Damaged, "unreadable", Some(error)))?;
                }
            }
        }
        Ok(())
    }
}

struct At(WallTime);

impl Clock for At {
    fn now(&self) -> ProcessingTime {
        ProcessingTime(self.0.0 * 1_000_000)
    }

    fn epoch(&self) -> Duration {
        Duration::ZERO
    }
}

/// The subtasks of one step.
pub struct Job<K: Key, D: KeyedStates<K>> {
    subtasks: Vec<(KeyGroupRange, D::Tables)>,
    pub store: Arc<Store>,
    checkpoint: CheckpointId,
    pub time: WallTime,
}

impl<K: Key, D: KeyedStates<K>> Job<K, D> {
    /// Goes on from what `store` has.
    pub fn open(states: &D, store: Arc<Store>, parallelism: u32, time: WallTime) -> Result<Self, Error> {
        let checkpoint = store.newest;
        let mut subtasks = Vec::new();
        for subtask in (0..parallelism).map(SubtaskIndex) {
            let range = KeyGroupRange::of_subtask(subtask, parallelism, GROUPS);
            let mut tables = states.tables(&TablePlace { operator: "step", range, max_parallelism: GROUPS });
            tables.restore(&context(store.clone(), subtask, parallelism))?;
            subtasks.push((range, tables));
        }
        Ok(Self { subtasks, store, checkpoint, time })
    }

    /// As for a record of `key`.
    pub fn with<R>(&mut self, key: &K, code: impl FnOnce(&mut D::View<'_>) -> R) -> R {
        let group = KeyGroup::of_hash(key.hash64(), GROUPS);
        let (_, tables) = self.subtasks.iter_mut().find(|(range, _)| range.contains(group)).unwrap();
        let (clock, mut stride) = (At(self.time), 1);
        let slice = Slice::new(&clock, Duration::from_secs(1), 1, &mut stride);
        let slot = tables.find(tables.hint(key), key);
        with_states::<K, D, R>(tables, slot, key, &slice, code)
    }

    /// A checkpoint, of which the subtasks' changes are given.
    pub fn snapshot(&mut self, completes: bool) -> Vec<Arc<StateDelta>> {
        let mut deltas = self.try_snapshot().unwrap();
        if completes {
            Arc::get_mut(&mut self.store).expect("no reader is left").commit(self.checkpoint, &deltas);
            self.subtasks.iter_mut().for_each(|(_, tables)| tables.completed(self.checkpoint));
        }
        deltas.retain(|delta| delta.checkpoint == self.checkpoint);
        deltas
    }

    /// The changes that are not known to be stored.
    pub fn try_snapshot(&mut self) -> Result<Vec<Arc<StateDelta>>, BoxError> {
        self.checkpoint = self.checkpoint.next();
        let mut deltas = Vec::new();
        for (_, tables) in &mut self.subtasks {
            let mut snapshot = SnapshotBuilder::new(self.checkpoint, false, self.time);
            tables.snapshot(&mut snapshot)?;
            deltas.extend(snapshot.deltas);
        }
        Ok(deltas)
    }
}

pub fn context(store: Arc<Store>, subtask: SubtaskIndex, parallelism: u32) -> OpenContext {
    let restored = CheckpointMetadata {
        job: JobId(1),
        job_name: "job".into(),
        checkpoint: store.newest,
        attempt: Attempt(1),
        max_parallelism: GROUPS,
        finished: false,
        draining: false,
        operators: Vec::new(),
        in_flight: Vec::new(),
        times: Vec::new(),
        origin: None,
    };
    OpenContext {
        job: JobId(1),
        job_name: "job".into(),
        attempt: Attempt(1),
        subtask,
        parallelism,
        max_parallelism: GROUPS,
        restored: Arc::new(restored),
        is_rescaled: false,
        reader: store,
        heap_share: None,
        state_place: "here".into(),
        failed_records: Arc::default(),
        fail_points: Default::default(),
    }
}
