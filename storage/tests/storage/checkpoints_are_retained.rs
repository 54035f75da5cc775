//! As many checkpoints are kept as the commit says, each with its own state, and what none of them needs is gone.

use cofferdam_engine::{
    Attempt, CheckpointId,
    checkpoint::store::{CheckpointStore, StateBackend as _, StoreErrorKind},
};
use cofferdam_storage::Lmdb;

use crate::support::*;

/// Checkpoint `number`: group 0 in full, group 1 in full every third time, else its changes, group 2 only in the first.
fn commit_one(store: &mut dyn CheckpointStore, attempt: Attempt, number: u64, num_retained: u32) {
    let byte = number as u8;
    let third = if number.is_multiple_of(3) { full(1, &[byte; 20]) } else { changes(1, &[byte; 5]) };
    let mut blocks = vec![full(0, &[byte; 40_000]), third];
    if number == 0 {
        blocks.push(full(2, b"first"));
    }
    let deltas = vec![delta(number, "total", blocks)];
    store.commit(&retaining(num_retained, attempt, number, deltas)).unwrap();
}

/// What checkpoint `number` of those holds.
fn expected(number: u64) -> Vec<Seen> {
    let mut blocks = vec![full(0, &[number as u8; 40_000])];
    let since = number - number % 3;
    blocks.push(full(1, &[since as u8; 20]));
    blocks.extend((since + 1..=number).map(|number| changes(1, &[number as u8; 5])));
    blocks.push(full(2, b"first"));
    blocks.iter().map(seen).collect()
}

fn numbers(store: &mut dyn CheckpointStore) -> Vec<u64> {
    store.retained().unwrap().iter().map(|kept| kept.metadata.as_ref().unwrap().checkpoint.0).collect()
}

#[test]
fn the_last_ones_committed_are_kept_and_each_is_restored_as_it_was() {
    for num_retained in 1..=3 {
        each_backend(|backend| {
            let mut store = backend.open().unwrap();
            let attempt = store.begin_attempt().unwrap();
            for number in 0..8 {
                commit_one(&mut *store, attempt, number, num_retained);
                let oldest = (number + 1).saturating_sub(num_retained.into());
                assert_eq!(numbers(&mut *store), (oldest..=number).collect::<Vec<_>>());
                if number % 2 == 0 {
                    drop(store);
                    store = backend.open().unwrap();
                }
            }
            for number in (8 - u64::from(num_retained)..8).rev() {
                assert_eq!(store.go_back(CheckpointId(number)).unwrap(), metadata(attempt, number));
                assert_eq!(store.newest().unwrap(), Some(metadata(attempt, number)));
                assert_eq!(read(&mut *store, "total"), expected(number));
            }
            assert_eq!(numbers(&mut *store), [8 - u64::from(num_retained)]);
        });
    }
}

#[test]
fn fewer_are_kept_from_the_commit_on_that_says_so() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        for (number, num_retained, kept) in [(0, 3, 1), (1, 3, 2), (2, 3, 3), (3, 2, 2), (4, 1, 1), (5, 3, 2)] {
            commit_one(&mut *store, attempt, number, num_retained);
            assert_eq!(numbers(&mut *store), (number + 1 - kept..=number).collect::<Vec<_>>());
            assert_eq!(read(&mut *store, "total"), expected(number));
        }
    });
}

#[test]
fn a_number_is_not_used_again_after_going_back() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        (0..4).for_each(|number| commit_one(&mut *store, attempt, number, 3));
        store.go_back(CheckpointId(1)).unwrap();
        drop(store);
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        assert_eq!(store.highest().unwrap(), Some(CheckpointId(3)));
        for number in [2, 3] {
            let (kind, message) = refusal(store.commit(&checkpoint(attempt, number, vec![])));
            assert_eq!(kind, StoreErrorKind::Fenced);
            assert!(message.contains("checkpoint 3 was stored already"), "{message}");
        }
        store.commit(&retaining(3, attempt, 4, vec![delta(4, "total", vec![changes(1, b"new")])])).unwrap();
        let mut blocks = expected(1);
        blocks.insert(3, seen(&changes(1, b"new")));
        assert_eq!(read(&mut *store, "total"), blocks);
        assert_eq!(numbers(&mut *store), [1, 4]);
    });
}

#[test]
fn what_is_not_kept_cannot_be_gone_back_to_and_nothing_changes() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        assert_eq!(refusal(store.go_back(CheckpointId(0))).0, StoreErrorKind::NotRetained);
        let attempt = store.begin_attempt().unwrap();
        (0..4).for_each(|number| commit_one(&mut *store, attempt, number, 2));
        for number in [0, 1, 4] {
            let (kind, message) = refusal(store.go_back(CheckpointId(number)));
            assert_eq!(kind, StoreErrorKind::NotRetained);
            assert!(message.ends_with("keeps 2, 3"), "{message}");
        }
        assert_eq!(numbers(&mut *store), [2, 3]);
        assert_eq!(read(&mut *store, "total"), expected(3));
    });
}

/// A state that only a dropped checkpoint had is gone, and its place in keys may be taken by another.
#[test]
fn a_state_that_came_later_is_gone_after_going_back() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        commit_one(&mut *store, attempt, 0, 2);
        store.commit(&retaining(2, attempt, 1, vec![delta(1, "later", vec![full(0, b"later")])])).unwrap();
        store.go_back(CheckpointId(0)).unwrap();
        assert_eq!(read(&mut *store, "later"), []);
        store.commit(&retaining(2, attempt, 2, vec![delta(2, "other", vec![changes(0, b"other")])])).unwrap();
        assert_eq!(read(&mut *store, "other"), [seen(&changes(0, b"other"))]);
        assert_eq!(read(&mut *store, "later"), []);
        assert_eq!(read(&mut *store, "total"), expected(0));
    });
}

/// The file stops growing: what nobody needs is used again. A block of 40 KB is 10 pages.
#[test]
fn the_file_holds_what_is_kept_and_not_what_was() {
    for num_retained in 1..=3 {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Lmdb::at(directory.path()).open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        let length = || directory.path().join("data.mdb").metadata().unwrap().len();
        (0..20).for_each(|number| commit_one(&mut *store, attempt, number, num_retained));
        let settled = length();
        (20..200).for_each(|number| commit_one(&mut *store, attempt, number, num_retained));
        assert!(length() < settled + 100_000, "{num_retained} retained: {settled} bytes grew to {}", length());
    }
}
