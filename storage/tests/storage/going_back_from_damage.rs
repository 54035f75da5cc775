//! A newest checkpoint that is damaged is refused, older ones that are whole are known, and going back to one restores exactly that.

use std::{fs, path::Path};

use cofferdam_engine::{
    CheckpointId,
    checkpoint::store::{StateBackend as _, StoreErrorKind},
};
use cofferdam_storage::Lmdb;

use crate::{
    flip::{RECORD, index_key, record_key, show, values},
    support::*,
};

/// Checkpoints 0 to 3, of which 1 to 3 are kept. Each has a block of its own, and shares group 5 with those before it.
fn prepare(path: &Path) {
    let mut store = Lmdb::at(path).open().unwrap();
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

/// Flips a bit wherever `needle` is.
fn flip(path: &Path, needle: &[u8]) {
    edit(path, |data| {
        let places: Vec<_> = (0..data.len() - needle.len()).filter(|at| data[*at..].starts_with(needle)).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|at| data[at] ^= 1);
    });
}

/// Flips a bit of the value at `key` of database `checkpoint`.
fn flip_value(path: &Path, key: &[u8], start: &[u8]) {
    edit(path, |data| {
        let values = values(data, "checkpoint", key, start);
        assert!(!values.is_empty());
        values.into_iter().for_each(|value| data[value.end - 1] ^= 1);
    });
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = path.join("data.mdb");
    let mut data = fs::read(&path).unwrap();
    change(&mut data);
    fs::write(path, data).unwrap();
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
        let mut store = Lmdb::at(directory.path()).open().unwrap();
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
fn goes_on(path: &Path, mut store: Box<dyn cofferdam_engine::checkpoint::store::CheckpointStore>, chosen: u64) {
    assert_eq!(read(&mut *store, "total"), state(chosen));
    drop(store);
    assert_eq!(show(path).unwrap().1, state(chosen));
    let mut store = Lmdb::at(path).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    for number in 4..9 {
        store
            .commit(&retaining(3, attempt, number, vec![delta(number, "total", vec![full(0, &own(number))])]))
            .unwrap();
        assert_eq!(read(&mut *store, "total"), [state(number)[0].clone(), state(chosen)[1].clone()]);
    }
    assert!(store.retained().unwrap().iter().all(|kept| kept.metadata.is_ok()));
}

#[test]
fn of_a_block() {
    leaves(&[1, 2], |path| flip(path, &own(3)));
}

#[test]
fn of_the_record() {
    leaves(&[1, 2], |path| flip_value(path, &record_key(3), &RECORD));
}

#[test]
fn of_an_index() {
    leaves(&[1, 2], |path| flip_value(path, &index_key(0, 3), &[2, 0]));
}

#[test]
fn of_two_checkpoints() {
    leaves(&[1], |path| {
        flip(path, &own(2));
        flip_value(path, &record_key(3), &RECORD);
    });
    leaves(&[2], |path| {
        flip_value(path, &record_key(1), &RECORD);
        flip(path, &own(3));
    });
}

#[test]
fn of_a_block_that_all_share() {
    leaves(&[], |path| flip(path, &shared(1)));
}

#[test]
fn but_damage_of_older_ones_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    flip_value(directory.path(), &record_key(1), &RECORD);
    flip(directory.path(), &own(2));
    assert_eq!(show(directory.path()).unwrap().1, state(3));
    goes_on(directory.path(), Lmdb::at(directory.path()).open().unwrap(), 3);
}

#[test]
fn but_damage_of_whole_files_leaves_nothing_to_go_back_to_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    for (file, at) in [("NOTE", None), ("data.mdb", Some(16 + 128))] {
        let path = directory.path().join(file);
        let content = fs::read(&path).unwrap();
        let mut damaged = content.clone();
        match at {
            Some(at) => damaged[at] ^= 0x40,
            None => damaged.fill(0),
        }
        fs::write(&path, damaged).unwrap();
        let (kind, message) = refusal(Lmdb::at(directory.path()).open());
        assert_eq!(kind, StoreErrorKind::Damaged);
        assert!(message.contains("no checkpoint in it can be gone back to"), "{message}");
        fs::write(&path, content).unwrap();
    }
}
