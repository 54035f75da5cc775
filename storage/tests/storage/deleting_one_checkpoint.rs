//! A checkpoint beside the newest can be deleted: the others stay whole, and nothing is left of it once its neighbours go.

use cofferdam_engine::{
    CheckpointId,
    checkpoint::{
        snapshot::{BlockKind, StateBlock},
        store::{CheckpointStore, StateBackend as _, StoreErrorKind},
    },
};
use cofferdam_storage::Lmdb;

use crate::support::*;

const RETAINED: u32 = 5;

fn blocks(number: u64) -> Vec<StateBlock> {
    // Each group is folded at another checkpoint; some change seldom.
    let of_group = |group: u16| match (number + u64::from(group)) % 4 {
        0 => Some(full(group, &[number as u8; 300])),
        1 | 2 if group.is_multiple_of(2) => Some(changes(group, &[number as u8; 20])),
        _ => None,
    };
    (0..GROUPS).filter_map(of_group).collect()
}

/// The state at checkpoint `last`, if all were committed from 0.
fn oracle(last: u64) -> Vec<Seen> {
    let mut groups = vec![Vec::new(); usize::from(GROUPS)];
    for block in (0..=last).flat_map(blocks) {
        let group: &mut Vec<Seen> = &mut groups[usize::from(block.group.0)];
        if block.kind == BlockKind::Full {
            group.clear();
        }
        group.push(seen(&block));
    }
    groups.into_iter().flatten().collect()
}

fn commit_up_to(store: &mut dyn CheckpointStore, numbers: std::ops::RangeInclusive<u64>) {
    let attempt = store.begin_attempt().unwrap();
    for number in numbers {
        store.commit(&retaining(RETAINED, attempt, number, vec![delta(number, "total", blocks(number))])).unwrap();
    }
}

fn assert_kept(lmdb: &Lmdb, expected: &[u64]) {
    let inspection = lmdb.inspect().unwrap();
    assert_eq!(inspection.checkpoints(), expected.iter().copied().map(CheckpointId).collect::<Vec<_>>());
    for number in expected {
        let checkpoint = inspection.checkpoint(CheckpointId(*number)).unwrap();
        assert_eq!(read_from(&*checkpoint.reader(), "total", ALL).unwrap(), oracle(*number), "checkpoint {number}");
    }
    drop(inspection);
    let retained = lmdb.open().unwrap().retained().unwrap();
    assert!(retained.iter().all(|one| one.metadata.is_ok()), "{retained:?}");
}

#[test]
fn leaves_the_others_whole_whichever_it_is() {
    for deleted in 6..10 {
        let directory = tempfile::tempdir().unwrap();
        let lmdb = Lmdb::at(directory.path());
        commit_up_to(&mut *lmdb.open().unwrap(), 0..=10);
        lmdb.delete_checkpoint(CheckpointId(deleted)).unwrap();
        let kept: Vec<_> = (6..=10).filter(|number| *number != deleted).collect();
        assert_kept(&lmdb, &kept);
        commit_up_to(&mut *lmdb.open().unwrap(), 11..=12);
        let kept: Vec<_> = (6..=12).filter(|number| *number != deleted).collect();
        assert_kept(&lmdb, &kept[kept.len() - RETAINED as usize..]);
        commit_up_to(&mut *lmdb.open().unwrap(), 13..=30);
        assert_kept(&lmdb, &[26, 27, 28, 29, 30]);
    }
}

#[test]
fn one_after_the_other_down_to_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let lmdb = Lmdb::at(directory.path());
    commit_up_to(&mut *lmdb.open().unwrap(), 0..=10);
    let before = lmdb.inspect().unwrap().stored_bytes(CheckpointId(10)).unwrap();
    for number in [8, 6, 9, 7] {
        lmdb.delete_checkpoint(CheckpointId(number)).unwrap();
    }
    assert_kept(&lmdb, &[10]);
    assert_eq!(lmdb.inspect().unwrap().stored_bytes(CheckpointId(10)).unwrap(), before);
    let mut store = lmdb.open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    for number in 11..=30 {
        commit(&mut *store, attempt, number, vec![delta(number, "total", blocks(number))]);
    }
    drop(store);
    assert_kept(&lmdb, &[30]);
}

#[test]
fn is_refused_for_the_newest_for_one_that_is_not_kept_and_under_an_owner() {
    let directory = tempfile::tempdir().unwrap();
    let lmdb = Lmdb::at(directory.path());
    let mut store = lmdb.open().unwrap();
    commit_up_to(&mut *store, 0..=10);
    assert_eq!(refusal(lmdb.delete_checkpoint(CheckpointId(7))).0, StoreErrorKind::InUse);
    drop(store);
    assert_eq!(refusal(lmdb.delete_checkpoint(CheckpointId(10))).0, StoreErrorKind::NotRetained);
    assert_eq!(refusal(lmdb.delete_checkpoint(CheckpointId(3))).0, StoreErrorKind::NotRetained);
    assert_kept(&lmdb, &[6, 7, 8, 9, 10]);
}

#[test]
fn survives_a_crash_between_the_commit_and_its_note() {
    let directory = tempfile::tempdir().unwrap();
    let (lmdb, note) = (Lmdb::at(directory.path()), directory.path().join("NOTE"));
    commit_up_to(&mut *lmdb.open().unwrap(), 0..=10);
    let before = std::fs::read(&note).unwrap();
    lmdb.delete_checkpoint(CheckpointId(8)).unwrap();
    std::fs::write(&note, before).unwrap();
    assert_kept(&lmdb, &[6, 7, 9, 10]);
    commit_up_to(&mut *lmdb.open().unwrap(), 11..=11);
    assert_kept(&lmdb, &[6, 7, 9, 10, 11]);
}

/// The newest stays when an older one goes, so that a note from before could not tell; when the newest goes it can.
#[test]
fn counts_the_attempt_up_and_going_back_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let lmdb = Lmdb::at(directory.path());
    commit_up_to(&mut *lmdb.open().unwrap(), 0..=10);
    let standing = || {
        let inspection = lmdb.inspect().unwrap();
        (inspection.attempt().0, inspection.highest().unwrap().0)
    };
    assert_eq!(standing(), (1, 10));
    lmdb.delete_checkpoint(CheckpointId(8)).unwrap();
    assert_eq!(standing(), (2, 10));
    lmdb.open().unwrap().go_back(CheckpointId(9)).unwrap();
    assert_eq!(standing(), (2, 10));
    assert_eq!(lmdb.open().unwrap().begin_attempt().unwrap().0, 3);
}
