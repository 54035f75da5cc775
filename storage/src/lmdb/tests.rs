//! Blocks that vanished, or that nobody committed, are noticed when their state is read and when they are superseded.

use std::sync::Arc;

use cofferdam_engine::{
    CheckpointId, JobId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, CheckpointCommit, CheckpointMetadata, StateAddress, StateBlock, StateDelta},
        store::{CheckpointStore, StoreError, StoreErrorKind},
    },
};
use heed::RwTxn;

use super::{
    layout::{BlockKey, Databases},
    start,
    store::Store,
};

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
        operators: vec![],
    };
    let delta = Arc::new(StateDelta { checkpoint, address: address(), blocks: vec![block(1), block(3)] });
    store.commit(&CheckpointCommit { metadata, deltas: vec![delta] }).map(drop)
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
