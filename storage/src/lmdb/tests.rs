//! What only the inside can bring about: blocks that vanished or that nobody committed, and crashes between the first steps.

use std::{fs::File, sync::Arc};

use cofferdam_engine::{
    Attempt, CheckpointId, JobId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, CheckpointCommit, CheckpointMetadata, StateAddress, StateBlock, StateDelta},
        store::{CheckpointStore, StoreError, StoreErrorKind},
    },
};
use heed::RwTxn;

use super::{
    env,
    layout::{BlockKey, Databases},
    lock_file::LockFile,
    note::NoteFile,
    record::Job,
    start,
    store::Store,
};
use crate::plan::Standing;

fn address() -> StateAddress {
    StateAddress { operator: "count".into(), state: "total".into() }
}

/// Commits checkpoint `number` with a full block of groups 1 and 3.
fn commit(store: &mut Store, number: u64) -> Result<(), StoreError> {
    let checkpoint = CheckpointId(number);
    let block =
        |group| StateBlock { group: KeyGroup(group), kind: BlockKind::Full, entries: 1, bytes: vec![7; 20_000] };
    let metadata = CheckpointMetadata {
        job: JobId(1),
        job_name: "test".into(),
        checkpoint,
        attempt: store.standing().attempt,
        max_parallelism: 8,
        finished: false,
        draining: false,
        in_flight: Vec::new(),
        operators: vec![],
    };
    let delta = Arc::new(StateDelta { checkpoint, address: address(), blocks: vec![block(1), block(3)] });
    store.commit(&CheckpointCommit { metadata, deltas: vec![delta], fail_points: Default::default() }).map(drop)
}

fn read(store: &mut Store) -> Result<(), StoreError> {
    let all = KeyGroupRange { start: 0, end: 8 };
    store.reader()?.read(&address(), all, &mut |_, _, _, _| Ok(()))
}

/// Reads, and overwrites, what has been tampered with.
fn notices(tamper: impl Fn(&Databases, &mut RwTxn<'_>) -> heed::Result<()>) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = start::open(directory.path(), 1 << 24).unwrap();
    store.begin_attempt().unwrap();
    commit(&mut store, 0).unwrap();
    read(&mut store).unwrap();
    store.environment().write(|transaction, databases| Ok(tamper(databases, transaction)?)).unwrap();
    for error in [read(&mut store).unwrap_err(), commit(&mut store, 1).unwrap_err()] {
        assert_eq!(error.kind, StoreErrorKind::Damaged, "{error}");
        assert!(error.message.contains("count/total"), "{error}");
    }
}

fn key(group: u16, part: u32) -> [u8; 18] {
    BlockKey { state: 0, group: KeyGroup(group), checkpoint: CheckpointId(0), part }.encode()
}

#[test]
fn a_part_is_gone() {
    notices(|databases, transaction| databases.block.delete(transaction, &key(1, 1)).map(drop));
}

#[test]
fn a_group_is_gone() {
    notices(|databases, transaction| {
        databases.block.delete(transaction, &key(3, 0))?;
        databases.block.delete(transaction, &key(3, 1)).map(drop)
    });
}

#[test]
fn all_blocks_are_gone() {
    notices(|databases, transaction| databases.block.clear(transaction));
}

#[test]
fn there_is_a_part_too_many() {
    notices(|databases, transaction| databases.block.put(transaction, &key(1, 2), &[0; 100]));
}

/// Takes the first `steps` towards a place in use, and dies.
fn die_after(steps: u32, directory: &std::path::Path) {
    let lock = LockFile::acquire(directory).unwrap();
    let data_path = directory.join("data.mdb");
    if steps == 0 {
        return;
    }
    File::create(&data_path).unwrap();
    if steps == 1 {
        return;
    }
    let env = env::open(directory, &lock, 1 << 20).unwrap();
    if steps == 2 {
        return;
    }
    let page_size = env.unnamed_database_stat().page_size;
    let nothing = Standing { attempt: Attempt(0), newest: None };
    let note = start::take_note(&File::open(&data_path).unwrap(), page_size, nothing).unwrap();
    NoteFile::create(directory, note).unwrap();
    if steps == 3 {
        return;
    }
    Databases::create(&env, |transaction| Job::new(Attempt(0), transaction.id() as u64, None).encode()).unwrap();
}

#[test]
fn a_crash_between_the_first_steps_leaves_a_new_place() {
    for steps in 0..=4 {
        let directory = tempfile::tempdir().unwrap();
        die_after(steps, directory.path());
        let mut store = start::open(directory.path(), 1 << 20).unwrap();
        assert_eq!(store.newest().unwrap(), None, "after {steps} steps");
        assert_eq!(store.begin_attempt().unwrap(), Attempt(1));
        commit(&mut store, 0).unwrap();
        drop(store);
        let mut store = start::open(directory.path(), 1 << 20).unwrap();
        assert_eq!(store.newest().unwrap().unwrap().checkpoint, CheckpointId(0));
        read(&mut store).unwrap();
    }
}
