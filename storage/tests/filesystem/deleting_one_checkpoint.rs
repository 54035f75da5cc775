//! A checkpoint beside the newest can be deleted: the others stay whole, and an owner that lives is kept out or fenced, never corrupted.

use std::sync::Arc;

use cofferdam_engine::{
    Attempt, CheckpointId,
    checkpoint::store::{CheckpointStore, StateBackend as _, StoreErrorKind},
};
use cofferdam_storage::FileSystem;
use object_store::{ObjectStore, memory::InMemory};

use crate::support::*;

fn commit_up_to(store: &mut dyn CheckpointStore, attempt: Attempt, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let blocks = vec![full((number % 4) as u16, &[number as u8; 3_000]), changes(7, &[number as u8])];
        store.commit(&retaining(5, attempt, number, vec![delta(number, "total", blocks)])).unwrap();
    }
}

/// By a backend that keeps them in another place.
fn expected(number: u64) -> Vec<Seen> {
    let mut groups = vec![Vec::new(); usize::from(GROUPS)];
    for number in 0..=number {
        groups[(number % 4) as usize] = vec![seen(&full((number % 4) as u16, &[number as u8; 3_000]))];
        groups[7].push(seen(&changes(7, &[number as u8])));
    }
    groups.into_iter().flatten().collect()
}

fn assert_kept(files: &FileSystem, numbers: &[u64]) {
    let inspection = files.inspect().unwrap();
    assert_eq!(inspection.checkpoints(), numbers.iter().copied().map(CheckpointId).collect::<Vec<_>>());
    for number in numbers {
        let checkpoint = inspection.checkpoint(CheckpointId(*number)).unwrap();
        assert_eq!(read_from(&*checkpoint.reader(), "total", ALL).unwrap(), expected(*number), "checkpoint {number}");
    }
}

#[test]
fn leaves_the_others_whole_whichever_it_is() {
    for deleted in 6..10 {
        let directory = tempfile::tempdir().unwrap();
        let files = FileSystem::at(directory.path());
        let mut store = files.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        commit_up_to(&mut *store, attempt, 0..=10);
        drop(store);
        files.delete_checkpoint(CheckpointId(deleted)).unwrap();
        let kept: Vec<_> = (6..=10).filter(|number| *number != deleted).collect();
        assert_kept(&files, &kept);
        let mut store = files.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        commit_up_to(&mut *store, attempt, 11..=12);
        let kept: Vec<_> = (6..=12).filter(|number| *number != deleted).collect();
        assert_kept(&files, &kept[kept.len() - 5..]);
    }
}

#[test]
fn is_refused_for_the_newest_for_one_that_is_not_kept_and_under_an_owner_on_a_local_disk() {
    let directory = tempfile::tempdir().unwrap();
    let files = FileSystem::at(directory.path());
    let mut store = files.open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit_up_to(&mut *store, attempt, 0..=10);
    let (kind, message) = refusal(files.delete_checkpoint(CheckpointId(7)));
    assert_eq!(kind, StoreErrorKind::InUse, "{message}");
    commit_up_to(&mut *store, attempt, 11..=11);
    drop(store);
    assert_eq!(refusal(files.delete_checkpoint(CheckpointId(11))).0, StoreErrorKind::NotRetained);
    assert_eq!(refusal(files.delete_checkpoint(CheckpointId(3))).0, StoreErrorKind::NotRetained);
    assert_kept(&files, &[7, 8, 9, 10, 11]);
}

/// Elsewhere it is a start like any other.
#[test]
fn fences_an_owner_that_still_lives_and_leaves_its_state_whole() {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let shared = || FileSystem::object_store(objects.clone(), "job");
    let mut owner = shared().open().unwrap();
    let attempt = owner.begin_attempt().unwrap();
    commit_up_to(&mut *owner, attempt, 0..=10);
    shared().delete_checkpoint(CheckpointId(8)).unwrap();
    let blocks = vec![full(0, &[1])];
    let late = owner.commit(&retaining(5, attempt, 11, vec![delta(11, "total", blocks)]));
    assert_eq!(refusal(late).0, StoreErrorKind::Fenced);
    drop(owner);
    assert_kept(&shared(), &[6, 7, 9, 10]);
    let mut next = shared().open().unwrap();
    let attempt = next.begin_attempt().unwrap();
    commit_up_to(&mut *next, attempt, 11..=11);
    drop(next);
    assert_kept(&shared(), &[6, 7, 9, 10, 11]);
}
