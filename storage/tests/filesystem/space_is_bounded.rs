//! However long a job runs, its place holds a small multiple of its state, in not too many objects.

use std::path::Path;

use cofferdam_engine::checkpoint::store::{CheckpointStore, StateBackend as _};
use cofferdam_storage::FileSystem;

use crate::{
    files::{data, files},
    support::*,
};

fn size(path: &Path) -> usize {
    files(path).values().map(Vec::len).sum()
}

fn open(path: &Path) -> (Box<dyn CheckpointStore>, cofferdam_engine::Attempt) {
    let mut store = FileSystem::at(path).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    (store, attempt)
}

/// One small group in each large object stays needed: without copying, every object would stay.
#[test]
fn though_a_small_block_is_left_in_each_large_object() {
    for num_retained in [1, 3] {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, attempt) = open(directory.path());
        for number in 0..200 {
            let mut blocks = vec![full(0, &[number as u8; 50_000])];
            blocks.push(full(1 + (number % 7) as u16, &[number as u8; 100]));
            let deltas = vec![delta(number, "total", blocks)];
            store.commit(&retaining(num_retained, attempt, number, deltas)).unwrap();
            let (size, objects) = (size(directory.path()), data(&files(directory.path())).len());
            assert!(size < 60_000 * (num_retained as usize + 4), "checkpoint {number}: {size} bytes");
            assert!(objects < num_retained as usize + 9, "checkpoint {number}: {objects} objects");
        }
        let mut expected = vec![seen(&full(0, &[199; 50_000]))];
        expected.extend((1..8).map(|group: u16| {
            let newest = (0..200).rev().find(|number| number % 7 + 1 == group).unwrap();
            seen(&full(group, &[newest as u8; 100]))
        }));
        assert_eq!(read(&mut *store, "total"), expected);
    }
}

/// Changes that are never folded: pieces are merged, so that neither objects nor the manifest grow with their number.
#[test]
fn though_changes_are_never_folded() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, attempt) = open(directory.path());
    let mut written = 0;
    for number in 0..600 {
        let deltas = vec![delta(number, "total", vec![changes((number % 3) as u16, &number.to_le_bytes())])];
        written += store.commit(&checkpoint(attempt, number, deltas)).unwrap().bytes;
    }
    let objects = data(&files(directory.path())).len();
    assert!(objects < 100, "{objects} objects");
    let (mut last, commits) = (0, 600);
    for number in commits..commits + 10 {
        last = store.commit(&checkpoint(attempt, number, vec![])).unwrap().bytes;
    }
    assert!(last < 4_000, "a checkpoint of nothing takes {last} bytes");
    assert!(written < commits * 6_000, "{written} bytes for {commits} small checkpoints");
    drop(store);
    let expected: Vec<_> = (0..3)
        .flat_map(|group| (0..commits).filter(move |number| number % 3 == group))
        .map(|number| seen(&changes((number % 3) as u16, &number.to_le_bytes())))
        .collect();
    assert_eq!(read(&mut *FileSystem::at(directory.path()).open().unwrap(), "total"), expected);
}

/// A commit writes what is new, and not what is there.
#[test]
fn as_commits_are_incremental() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, attempt) = open(directory.path());
    let large = (0..GROUPS).map(|group| full(group, &vec![group as u8; 3_000_000])).collect();
    assert!(commit(&mut *store, attempt, 0, vec![delta(0, "total", large)]).bytes > 24_000_000);
    let small = commit(&mut *store, attempt, 1, vec![delta(1, "total", vec![changes(3, &[1; 100])])]);
    assert!(small.bytes < 2_000, "{}", small.bytes);
}
