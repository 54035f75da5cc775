//! A crash between a commit and its note loses nothing; an older environment is not taken for the newest.

use std::{fs, path::Path};

use cofferdam_engine::{
    Attempt,
    checkpoint::store::{StateBackend as _, StoreErrorKind},
};
use cofferdam_storage::Lmdb;

use crate::{flip::show, support::*};

/// What `step` does to a directory with checkpoint 0, with the note from before it, as if the process had died in between.
fn die_before_the_note(path: &Path, step: impl Fn(&Path)) {
    directory_up_to(path, 0);
    let note = fs::read(path.join("NOTE")).unwrap();
    step(path);
    fs::write(path.join("NOTE"), note).unwrap();
}

fn commit_one(path: &Path) {
    let mut store = Lmdb::at(path).open().unwrap();
    let attempt = Attempt(1);
    commit(&mut *store, attempt, 1, vec![delta(1, "total", vec![full(0, b"new")])]);
}

#[test]
fn a_commit_that_was_not_noted_is_there() {
    let directory = tempfile::tempdir().unwrap();
    die_before_the_note(directory.path(), commit_one);
    for _ in 0..2 {
        let (metadata, state) = show(directory.path()).unwrap();
        assert_eq!(metadata.unwrap().checkpoint.0, 1);
        assert_eq!(state[0], seen(&full(0, b"new")));
    }
}

#[test]
fn an_attempt_that_was_not_noted_counts() {
    let directory = tempfile::tempdir().unwrap();
    die_before_the_note(directory.path(), |path| {
        assert_eq!(Lmdb::at(path).open().unwrap().begin_attempt().unwrap().0, 2);
    });
    assert_eq!(Lmdb::at(directory.path()).open().unwrap().begin_attempt().unwrap().0, 3);
}

#[test]
fn the_first_attempt_counts_too() {
    let directory = tempfile::tempdir().unwrap();
    drop(Lmdb::at(directory.path()).open().unwrap());
    let note = fs::read(directory.path().join("NOTE")).unwrap();
    Lmdb::at(directory.path()).open().unwrap().begin_attempt().unwrap();
    fs::write(directory.path().join("NOTE"), note).unwrap();
    assert_eq!(Lmdb::at(directory.path()).open().unwrap().begin_attempt().unwrap().0, 2);
}

#[test]
fn and_the_first_one_of_a_job_that_comes_from_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    drop(Lmdb::at(directory.path()).open().unwrap());
    let note = fs::read(directory.path().join("NOTE")).unwrap();
    Lmdb::at(directory.path()).open().unwrap().begin_attempt_after(Attempt(41)).unwrap();
    fs::write(directory.path().join("NOTE"), note).unwrap();
    assert_eq!(Lmdb::at(directory.path()).open().unwrap().begin_attempt().unwrap(), Attempt(43));
}

#[test]
fn the_first_checkpoint_is_there_too() {
    let directory = tempfile::tempdir().unwrap();
    Lmdb::at(directory.path()).open().unwrap().begin_attempt().unwrap();
    let note = fs::read(directory.path().join("NOTE")).unwrap();
    let mut store = Lmdb::at(directory.path()).open().unwrap();
    commit(&mut *store, Attempt(1), 0, vec![]);
    drop(store);
    fs::write(directory.path().join("NOTE"), note).unwrap();
    assert_eq!(newest(&mut *Lmdb::at(directory.path()).open().unwrap()), Some(0));
}

#[test]
fn two_commits_that_were_not_noted_are_no_crash() {
    let directory = tempfile::tempdir().unwrap();
    die_before_the_note(directory.path(), |path| {
        commit_one(path);
        Lmdb::at(path).open().unwrap().begin_attempt().unwrap();
    });
    assert_eq!(refusal(show(directory.path())).0, StoreErrorKind::Damaged);
}

#[test]
fn an_older_environment_under_a_newer_note_is_refused() {
    for steps in 1..4 {
        let directory = tempfile::tempdir().unwrap();
        directory_up_to(directory.path(), 3);
        let older = fs::read(directory.path().join("data.mdb")).unwrap();
        for _ in 0..steps {
            Lmdb::at(directory.path()).open().unwrap().begin_attempt().unwrap();
        }
        fs::write(directory.path().join("data.mdb"), older).unwrap();
        let (kind, message) = refusal(show(directory.path()));
        assert_eq!(kind, StoreErrorKind::Damaged);
        assert!(message.contains("NOTE"), "{message}");
    }
}

/// The transaction number of the older meta page raised above the newer one's: the shortest way to an older checkpoint.
#[test]
fn an_older_meta_page_that_poses_as_the_next_is_refused() {
    for last in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        directory_up_to(directory.path(), last);
        let path = directory.path().join("data.mdb");
        let mut data = fs::read(&path).unwrap();
        let at = |page: usize| page * 4096 + 16 + 128;
        let number = |data: &[u8], page| u64::from_ne_bytes(data[at(page)..at(page) + 8].try_into().unwrap());
        let (newer, older) = if number(&data, 0) > number(&data, 1) { (0, 1) } else { (1, 0) };
        assert_eq!(number(&data, newer), number(&data, older) + 1, "where transaction numbers are");
        let next = number(&data, newer) + 1;
        data[at(older)..at(older) + 8].copy_from_slice(&next.to_ne_bytes());
        fs::write(&path, data).unwrap();
        assert_eq!(refusal(show(directory.path())).0, StoreErrorKind::Damaged);
    }
}
