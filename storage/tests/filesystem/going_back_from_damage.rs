//! A newest checkpoint that is damaged is refused, older ones that are whole are known, and going back to one restores exactly that.

use std::{fs, path::Path};

use cofferdam_engine::{
    CheckpointId,
    checkpoint::store::{CheckpointStore, StateBackend as _, StoreErrorKind},
};
use cofferdam_storage::FileSystem;

use crate::{
    files::{data, files, show},
    support::*,
};

/// Checkpoints 0 to 3, of which 1 to 3 are kept. Each has a block of its own, and shares group 5 with those before it.
fn prepare(path: &Path) {
    let mut store = FileSystem::at(path).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    for number in 0..4 {
        let mut blocks = vec![full(0, &own(number))];
        if number < 2 {
            blocks.push(full(5, &shared(number)));
        }
        store.commit(&retaining(3, attempt, number, vec![delta(number, "total", blocks)])).unwrap();
    }
}

fn own(number: u64) -> Vec<u8> {
    vec![0xa0 + number as u8; 60]
}

fn shared(number: u64) -> Vec<u8> {
    vec![0xb0 + number as u8; 70]
}

fn state(number: u64) -> Vec<Seen> {
    vec![seen(&full(0, &own(number))), seen(&full(5, &shared(number.min(1))))]
}

/// The data object of checkpoint `number`.
fn object(path: &Path, number: u64) -> std::path::PathBuf {
    let suffix = format!("-{number:020}");
    path.join(data(&files(path)).into_iter().find(|name| name.ends_with(&suffix)).unwrap())
}

fn flip_block(path: &Path, number: u64, needle: &[u8]) {
    let object = object(path, number);
    let mut bytes = fs::read(&object).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at] ^= 1;
    fs::write(object, bytes).unwrap();
}

/// Manifests are last.
fn flip_manifest(path: &Path, number: u64) {
    let object = object(path, number);
    let mut bytes = fs::read(&object).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(object, bytes).unwrap();
}

/// After `damage` a start without a choice is refused, just `whole` can be gone back to, and each of them is what it was.
fn leaves(whole: &[u64], damage: impl Fn(&Path)) {
    for chosen in [1, 2, 3] {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        assert_eq!(show(directory.path()).unwrap().1, state(3));
        damage(directory.path());
        for _ in 0..2 {
            assert_eq!(refusal(show(directory.path())).0, StoreErrorKind::Damaged);
        }
        let mut store = FileSystem::at(directory.path()).open().unwrap();
        let retained = store.retained().unwrap();
        assert_eq!(retained.iter().map(|kept| kept.checkpoint.0).collect::<Vec<_>>(), [1, 2, 3]);
        let found = retained.iter().filter(|kept| kept.metadata.is_ok()).map(|kept| kept.checkpoint.0);
        assert_eq!(found.collect::<Vec<_>>(), whole);
        if whole.contains(&chosen) {
            store.go_back(CheckpointId(chosen)).unwrap();
            goes_on(directory.path(), store, chosen);
        } else {
            assert_eq!(refusal(store.go_back(CheckpointId(chosen))).0, StoreErrorKind::Damaged);
            assert_eq!(store.retained().unwrap().len(), 3, "a refused choice changes nothing");
        }
    }
}

/// From checkpoint `chosen`, now and after a start, with commits that drop what was damaged.
fn goes_on(path: &Path, mut store: Box<dyn CheckpointStore>, chosen: u64) {
    assert_eq!(read(&mut *store, "total"), state(chosen));
    drop(store);
    assert_eq!(show(path).unwrap().1, state(chosen));
    let mut store = FileSystem::at(path).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    for number in 4..9 {
        let deltas = vec![delta(number, "total", vec![full(0, &own(number))])];
        store.commit(&retaining(3, attempt, number, deltas)).unwrap();
        assert_eq!(read(&mut *store, "total"), [state(number)[0].clone(), state(chosen)[1].clone()]);
    }
    assert!(store.retained().unwrap().iter().all(|kept| kept.metadata.is_ok()));
}

#[test]
fn of_a_block() {
    leaves(&[1, 2], |path| flip_block(path, 3, &own(3)));
}

#[test]
fn of_the_manifest() {
    leaves(&[1, 2], |path| flip_manifest(path, 3));
}

#[test]
fn of_the_whole_object() {
    leaves(&[1, 2], |path| fs::remove_file(object(path, 3)).unwrap());
    leaves(&[1, 2], |path| fs::write(object(path, 3), "").unwrap());
}

#[test]
fn of_two_checkpoints() {
    leaves(&[1], |path| {
        flip_block(path, 2, &own(2));
        flip_manifest(path, 3);
    });
    leaves(&[2], |path| {
        flip_manifest(path, 1);
        flip_block(path, 3, &own(3));
    });
}

#[test]
fn of_a_block_that_all_share() {
    leaves(&[], |path| flip_block(path, 1, &shared(1)));
}

#[test]
fn but_damage_of_older_ones_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    flip_manifest(directory.path(), 1);
    flip_block(directory.path(), 2, &own(2));
    assert_eq!(show(directory.path()).unwrap().1, state(3));
    goes_on(directory.path(), FileSystem::at(directory.path()).open().unwrap(), 3);
}

/// What a damaged manifest names is known from the root, too.
#[test]
fn but_what_a_damaged_checkpoint_needs_is_not_deleted() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let before = files(directory.path());
    flip_manifest(directory.path(), 3);
    assert!(show(directory.path()).is_err());
    assert_eq!(data(&files(directory.path())), data(&before));
}

#[test]
fn but_a_damaged_root_leaves_nothing_to_go_back_to_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let root = crate::files::log(&files(directory.path())).pop().unwrap();
    fs::write(directory.path().join(root), "").unwrap();
    let (kind, message) = refusal(FileSystem::at(directory.path()).open());
    assert_eq!(kind, StoreErrorKind::Damaged);
    assert!(message.contains("no checkpoint in it can be gone back to"), "{message}");
}
