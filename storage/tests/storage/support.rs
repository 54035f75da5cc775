//! Small checkpoints, and a look at what is stored.

use std::{num::NonZeroU32, path::Path, sync::Arc};

use cofferdam_engine::{
    Attempt, CheckpointId, JobId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{
            BlockKind, CheckpointCommit, CheckpointMetadata, OperatorKind, OperatorRecord, OperatorSnapshot,
            PreparedTransaction, StateAddress, StateBlock, StateDelta,
        },
        store::{CheckpointStore, CommitStats, StateBackend, StateReader, StoreError, StoreErrorKind},
    },
};
#[cfg(feature = "filesystem")]
use cofferdam_storage::FileSystem;
use cofferdam_storage::{Lmdb, Memory};
#[cfg(feature = "filesystem")]
use object_store::memory::InMemory;

use crate::enveloped::Enveloped;

pub const JOB: JobId = JobId(0x00c0_ffee);
pub const GROUPS: u16 = 8;
pub const ALL: KeyGroupRange = KeyGroupRange { start: 0, end: GROUPS };

/// A block as a reader shows it.
pub type Seen = (u16, BlockKind, u32, Vec<u8>);

/// Each backend, with and without a heap limit, in a place of its own that lives as long as what comes with it.
pub fn each_backend(scenario: impl Fn(&dyn StateBackend)) {
    scenario(&Memory::new());
    let directory = tempfile::tempdir().unwrap();
    scenario(&Lmdb::at(directory.path().join("state")));
    scenario(&Enveloped::new(Lmdb::at(directory.path().join("limited")), false));
    scenario(&Enveloped::new(Lmdb::at(directory.path().join("limited at times")), true));
    #[cfg(feature = "filesystem")]
    {
        scenario(&FileSystem::at(directory.path().join("files")));
        scenario(&FileSystem::object_store(Arc::new(InMemory::new()), "jobs/test"));
    }
}

pub fn address(state: &str) -> StateAddress {
    StateAddress { operator: "count".into(), state: state.into() }
}

pub fn full(group: u16, bytes: &[u8]) -> StateBlock {
    StateBlock { group: KeyGroup(group), kind: BlockKind::Full, entries: bytes.len() as u32, bytes: bytes.into() }
}

pub fn changes(group: u16, bytes: &[u8]) -> StateBlock {
    StateBlock { kind: BlockKind::Changes, ..full(group, bytes) }
}

pub fn delta(checkpoint: u64, state: &str, blocks: Vec<StateBlock>) -> Arc<StateDelta> {
    Arc::new(StateDelta { checkpoint: CheckpointId(checkpoint), address: address(state), blocks })
}

pub fn metadata(attempt: Attempt, checkpoint: u64) -> CheckpointMetadata {
    let transaction = PreparedTransaction { checkpoint: CheckpointId(checkpoint), bytes: vec![7; 3] };
    let snapshot = OperatorSnapshot { state: checkpoint.to_le_bytes().to_vec(), transactions: vec![transaction] };
    CheckpointMetadata {
        job: JOB,
        job_name: "test".into(),
        checkpoint: CheckpointId(checkpoint),
        attempt,
        max_parallelism: GROUPS,
        finished: false,
        draining: false,
        operators: vec![OperatorRecord {
            uid: "lines".into(),
            kind: OperatorKind::Source,
            states: vec![],
            subtasks: vec![snapshot],
        }],
        in_flight: vec![],
        times: vec![],
        origin: None,
    }
}

pub fn checkpoint(attempt: Attempt, checkpoint: u64, deltas: Vec<Arc<StateDelta>>) -> CheckpointCommit {
    retaining(1, attempt, checkpoint, deltas)
}

/// A checkpoint that is kept with the newest others, `num_retained` in all.
pub fn retaining(
    num_retained: u32,
    attempt: Attempt,
    checkpoint: u64,
    deltas: Vec<Arc<StateDelta>>,
) -> CheckpointCommit {
    let num_retained = NonZeroU32::new(num_retained).unwrap();
    CheckpointCommit { metadata: metadata(attempt, checkpoint), deltas, num_retained, fail_points: Default::default() }
}

pub fn commit(
    store: &mut dyn CheckpointStore,
    attempt: Attempt,
    number: u64,
    deltas: Vec<Arc<StateDelta>>,
) -> CommitStats {
    store.commit(&checkpoint(attempt, number, deltas)).unwrap()
}

pub fn newest(store: &mut dyn CheckpointStore) -> Option<u64> {
    store.newest().unwrap().map(|metadata| metadata.checkpoint.0)
}

pub fn read_from(reader: &dyn StateReader, state: &str, range: KeyGroupRange) -> Result<Vec<Seen>, StoreError> {
    let mut seen = Vec::new();
    reader.read(&address(state), range, &mut |group, kind, entries, bytes| {
        seen.push((group.0, kind, entries, bytes.to_vec()));
        Ok(())
    })?;
    Ok(seen)
}

pub fn try_read(store: &mut dyn CheckpointStore, state: &str) -> Result<Vec<Seen>, StoreError> {
    read_from(&*store.reader()?, state, ALL)
}

pub fn read(store: &mut dyn CheckpointStore, state: &str) -> Vec<Seen> {
    try_read(store, state).unwrap()
}

pub fn seen(block: &StateBlock) -> Seen {
    (block.group.0, block.kind, block.entries, block.bytes.clone())
}

/// The kind and the message of a refusal.
pub fn refusal<T>(result: Result<T, StoreError>) -> (StoreErrorKind, String) {
    match result {
        Ok(_) => panic!("not refused"),
        Err(error) => (error.kind, error.message),
    }
}

/// A directory with checkpoints 0 to `last` of state "total", closed.
pub fn directory_up_to(path: &Path, last: u64) {
    let mut store = Lmdb::at(path).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    for number in 0..=last {
        let blocks = vec![full(0, &[number as u8; 40]), full(5, &[number as u8 + 100; 30])];
        commit(&mut *store, attempt, number, vec![delta(number, "total", blocks)]);
    }
}

pub fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
