//! What only the inside can bring about or count: blocks that vanished or that nobody committed, values that are left, and crashes between the first steps.

use std::{collections::BTreeSet, fs::File, num::NonZeroU32, sync::Arc};

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
    let block =
        |group| StateBlock { group: KeyGroup(group), kind: BlockKind::Full, entries: 1, bytes: vec![7; 20_000] };
    commit_blocks(store, number, 1, vec![block(1), block(3)])
}

fn commit_blocks(store: &mut Store, number: u64, num_retained: u32, blocks: Vec<StateBlock>) -> Result<(), StoreError> {
    let checkpoint = CheckpointId(number);
    let metadata = CheckpointMetadata {
        job: JobId(1),
        job_name: "test".into(),
        checkpoint,
        attempt: store.standing().attempt,
        max_parallelism: 8,
        finished: false,
        draining: false,
        in_flight: Vec::new(),
        times: Vec::new(),
        origin: None,
        operators: vec![],
    };
    let delta = Arc::new(StateDelta { checkpoint, address: address(), blocks });
    let deltas = if delta.blocks.is_empty() { vec![] } else { vec![delta] };
    let (num_retained, fail_points) = (NonZeroU32::new(num_retained).unwrap(), Default::default());
    store.commit(&CheckpointCommit { metadata, deltas, num_retained, fail_points }).map(drop)
}

fn read(store: &mut Store) -> Result<(), StoreError> {
    let all = KeyGroupRange { start: 0, end: 8 };
    store.reader()?.read(&address(), all, &mut |_, _, _, _| Ok(()))
}

/// Reads what has been tampered with, and overwrites it: nobody needs it then, and all is well again.
fn notices(tamper: impl Fn(&Databases, &mut RwTxn<'_>) -> heed::Result<()>) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = start::open(directory.path(), 1 << 24).unwrap();
    store.begin_attempt().unwrap();
    commit(&mut store, 0).unwrap();
    read(&mut store).unwrap();
    store.environment().write(|transaction, databases| Ok(tamper(databases, transaction)?)).unwrap();
    let error = read(&mut store).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Damaged, "{error}");
    assert!(error.message.contains("count/total"), "{error}");
    for number in 1..=2 {
        commit(&mut store, number).unwrap();
        read(&mut store).unwrap();
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

/// How many values there are: blocks, and records and indexes.
fn counts(store: &Store) -> (u64, u64) {
    let environment = store.environment();
    let count = environment.read(|transaction, databases| {
        Ok((databases.block.len(transaction).unwrap(), databases.checkpoint.len(transaction).unwrap()))
    });
    count.unwrap()
}

/// Group 0 is full in each third checkpoint, group 1 in each fifth, and each has changes in every second one besides.
fn blocks_of(number: u64) -> Vec<StateBlock> {
    let kind = |period| match number {
        _ if number.is_multiple_of(period) => Some(BlockKind::Full),
        _ if number.is_multiple_of(2) => Some(BlockKind::Changes),
        _ => None,
    };
    let block = |(group, period)| {
        Some(StateBlock { group: KeyGroup(group), kind: kind(period)?, entries: 1, bytes: number.to_be_bytes().into() })
    };
    [(0, 3), (1, 5)].into_iter().filter_map(block).collect()
}

/// The blocks that checkpoint `number` needs, as (group, checkpoint).
fn needed(number: u64) -> BTreeSet<(u16, u64)> {
    let mut needed = BTreeSet::new();
    for (checkpoint, block) in (0..=number).flat_map(|number| blocks_of(number).into_iter().map(move |b| (number, b))) {
        if block.kind == BlockKind::Full {
            needed.retain(|(group, _)| *group != block.group.0);
        }
        needed.insert((block.group.0, checkpoint));
    }
    needed
}

/// Counts after each of 40 commits, of which the nth keeps `num_retained(n)` checkpoints.
fn keeps_what_is_needed(num_retained: impl Fn(u64) -> u32) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = start::open(directory.path(), 1 << 24).unwrap();
    store.begin_attempt().unwrap();
    let mut kept = Vec::new();
    for number in 0..40 {
        commit_blocks(&mut store, number, num_retained(number), blocks_of(number)).unwrap();
        kept.push(number);
        kept.drain(..kept.len().saturating_sub(num_retained(number) as usize));
        assert_eq!(counts(&store), expected_counts(&kept), "{kept:?}");
        if number % 7 == 0 {
            drop(store);
            store = start::open(directory.path(), 1 << 24).unwrap();
        }
    }
    while let Some(chosen) = kept.last() {
        store.go_back(CheckpointId(*chosen)).unwrap();
        assert_eq!(counts(&store), expected_counts(&kept), "{kept:?}, gone back");
        kept.pop();
    }
}

fn expected_counts(kept: &[u64]) -> (u64, u64) {
    let blocks: BTreeSet<_> = kept.iter().flat_map(|number| needed(*number)).collect();
    // An index came with the last checkpoint that changed the state.
    let changed = |number: &u64| (0..=*number).rfind(|one| !blocks_of(*one).is_empty());
    let indexes: BTreeSet<_> = kept.iter().map(changed).collect();
    (blocks.len() as u64, (kept.len() + indexes.len()) as u64)
}

#[test]
fn there_is_what_the_checkpoints_kept_need_and_nothing_else() {
    for num_retained in 1..=4 {
        keeps_what_is_needed(|_| num_retained);
        keeps_what_is_needed(|number| 1 + (number as u32 * 7 / 3 + num_retained) % 4);
    }
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
    let nothing = Standing { attempt: Attempt(0), newest: None, highest: None };
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

/// Group 2 begins late, and so does what is to be dropped of it.
fn blocks_with_a_late_group(number: u64) -> Vec<StateBlock> {
    let late = StateBlock { group: KeyGroup(2), kind: BlockKind::Full, entries: 1, bytes: vec![number as u8; 40_000] };
    blocks_of(number).into_iter().chain((number >= 3).then_some(late)).collect()
}

#[test]
fn once_a_pin_is_gone_nothing_is_left_of_it() {
    for num_retained in 1..4 {
        let counts_with = |pinned: Option<u64>| {
            let directory = tempfile::tempdir().unwrap();
            let mut store = start::open(directory.path(), 1 << 24).unwrap();
            store.begin_attempt().unwrap();
            let mut pin = None;
            for number in 0..30 {
                commit_blocks(&mut store, number, num_retained, blocks_with_a_late_group(number)).unwrap();
                match pinned {
                    Some(pinned) if pinned == number => pin = Some(store.pin().unwrap()),
                    Some(pinned) if pinned + 9 == number => pin = None,
                    _ => {}
                }
            }
            assert!(pin.is_none());
            counts(&store)
        };
        let without = counts_with(None);
        for pinned in [0, 3, 5] {
            assert_eq!(counts_with(Some(pinned)), without, "{num_retained} retained, checkpoint {pinned} pinned");
        }
    }
}

#[test]
fn a_directory_in_the_making_holds_no_checkpoint_yet() {
    for steps in [3, 4] {
        let (directory, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        die_after(steps, directory.path());
        let lmdb = crate::Lmdb::at(directory.path());
        lmdb.copy_to(copy.path()).unwrap();
        for place in [lmdb, crate::Lmdb::at(copy.path())] {
            let inspection = place.inspect().unwrap();
            assert_eq!((inspection.job(), inspection.checkpoints()), (None, vec![]), "after {steps} steps");
            let error = inspection.checkpoint(CheckpointId(0)).err().unwrap();
            assert_eq!(error.kind, StoreErrorKind::NotRetained, "{error}");
        }
        let store = start::open(directory.path(), 1 << 20).unwrap();
        Box::new(store).delete().unwrap();
        assert!(!directory.path().exists());
    }
}

#[cfg(unix)]
#[test]
fn the_table_of_readers_is_as_much_the_jobs_as_the_data() {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    };

    let directory = tempfile::tempdir().unwrap();
    drop(start::open(directory.path(), 1 << 20).unwrap());
    let (data, table) = (directory.path().join("data.mdb"), directory.path().join("lock.mdb"));
    let is_root = fs::metadata(&data).unwrap().uid() == 0;
    if is_root {
        chown(&data, Some(65_534), Some(65_534)).unwrap();
    }
    fs::set_permissions(&data, Permissions::from_mode(0o640)).unwrap();
    let look = || drop(crate::Lmdb::at(directory.path()).inspect().unwrap());
    let start = || drop(start::open(directory.path(), 1 << 20).unwrap());
    let first_comers: [&dyn Fn(); 2] = [&look, &start];
    for first_comer in first_comers {
        fs::remove_file(&table).unwrap();
        first_comer();
        let (data, table) = (fs::metadata(&data).unwrap(), fs::metadata(&table).unwrap());
        assert_eq!((table.uid(), table.gid(), table.mode()), (data.uid(), data.gid(), data.mode()));
        // Not sparse: a page of it that has no room yet would kill whoever touches it.
        assert!(table.blocks() * 512 >= table.len() && table.len() > 64 * 1024, "{table:?}");
        let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!names.into_iter().any(|name| name.to_string_lossy().starts_with('.')));
    }
}
