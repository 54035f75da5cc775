//! A directory that lost a piece is damaged, never new.

use std::{fs, path::Path};

use cofferdam_engine::checkpoint::store::{StateBackend as _, StoreErrorKind};
use cofferdam_storage::Lmdb;

use crate::{flip::show, support::*};

fn damaged(path: &Path, part: &str) {
    let (kind, message) = refusal(show(path));
    assert_eq!(kind, StoreErrorKind::Damaged, "{message}");
    assert!(message.contains(part) && message.contains("delete it to start over"), "{message}");
}

fn prepared() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    directory_up_to(directory.path(), 2);
    directory
}

#[test]
fn without_its_note() {
    let directory = prepared();
    fs::remove_file(directory.path().join("NOTE")).unwrap();
    damaged(directory.path(), "NOTE");
}

#[test]
fn without_its_data() {
    let directory = prepared();
    fs::remove_file(directory.path().join("data.mdb")).unwrap();
    damaged(directory.path(), "data.mdb");
    assert!(!directory.path().join("data.mdb").exists(), "nothing is made in its place");
}

#[test]
fn cut_short_anywhere() {
    let directory = prepared();
    let path = directory.path().join("data.mdb");
    let data = fs::read(&path).unwrap();
    for length in (0..data.len()).step_by(2048).chain([1, 100, data.len() - 1]) {
        fs::write(&path, &data[..length]).unwrap();
        damaged(directory.path(), "data.mdb");
        assert_eq!(fs::read(&path).unwrap(), &data[..length], "nothing is changed");
    }
    fs::write(&path, &data).unwrap();
    show(directory.path()).unwrap();
}

#[test]
fn with_an_empty_or_short_note() {
    let directory = prepared();
    let path = directory.path().join("NOTE");
    let note = fs::read(&path).unwrap();
    for length in [0, 1, 100] {
        fs::write(&path, &note[..length]).unwrap();
        damaged(directory.path(), "NOTE");
    }
}

#[test]
fn with_data_of_another_directory() {
    let (directory, other) = (prepared(), tempfile::tempdir().unwrap());
    directory_up_to(other.path(), 4);
    fs::copy(other.path().join("data.mdb"), directory.path().join("data.mdb")).unwrap();
    damaged(directory.path(), "NOTE");
}

#[test]
fn but_not_without_locks_which_are_made_anew() {
    let directory = prepared();
    fs::remove_file(directory.path().join("LOCK")).unwrap();
    fs::remove_file(directory.path().join("lock.mdb")).unwrap();
    assert_eq!(newest(&mut *Lmdb::at(directory.path()).open().unwrap()), Some(2));
}

/// What a crash within the first moments leaves behind counts as new.
#[test]
fn but_not_before_anything_was_committed() {
    let directory = tempfile::tempdir().unwrap();
    for content in [vec![], vec![0; 4096], vec![0; 8192]] {
        fs::write(directory.path().join("data.mdb"), content).unwrap();
        let mut store = Lmdb::at(directory.path()).open().unwrap();
        assert_eq!(store.newest().unwrap(), None);
        assert_eq!(store.begin_attempt().unwrap().0, 1);
        store.delete().unwrap();
        fs::create_dir_all(directory.path()).unwrap();
    }
    fs::write(directory.path().join("NOTE.new"), "half a note").unwrap();
    fs::write(directory.path().join("LOCK"), "4711").unwrap();
    assert_eq!(newest(&mut *Lmdb::at(directory.path()).open().unwrap()), None);
}
