//! Deleting removes our files and no others, and a deletion that was cut short is finished at the next start.

use std::{fs, sync::Arc};

use cofferdam_engine::checkpoint::store::{StateBackend as _, StoreErrorKind};
use cofferdam_storage::FileSystem;
use object_store::memory::InMemory;

use crate::{
    files::{files, lay},
    shim::{Fault, Shim},
    support::*,
};

fn prepare(path: &std::path::Path) {
    let mut store = FileSystem::at(path).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    for number in 0..3 {
        commit(&mut *store, attempt, number, vec![delta(number, "total", vec![full(number as u16, b"state")])]);
    }
}

#[test]
fn the_directory_goes_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    prepare(&path);
    FileSystem::at(&path).open().unwrap().delete().unwrap();
    assert!(!path.exists());
}

#[test]
fn other_files_stay() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    fs::write(directory.path().join("notes.txt"), "mine").unwrap();
    fs::write(directory.path().join("data/notes.txt"), "mine").unwrap();
    FileSystem::at(directory.path()).open().unwrap().delete().unwrap();
    let left: Vec<_> = files(directory.path()).into_keys().collect();
    assert_eq!(left, ["data/notes.txt", "notes.txt"]);
}

#[test]
fn a_deletion_cut_short_anywhere_is_finished_or_has_not_begun() {
    let mut begun = 0;
    for call in 0..12 {
        let inner = Arc::new(InMemory::new());
        {
            let mut store = FileSystem::object_store(inner.clone(), "job").open().unwrap();
            let attempt = store.begin_attempt().unwrap();
            commit(&mut *store, attempt, 0, vec![delta(0, "total", vec![full(0, b"state")])]);
        }
        let shim = Shim::new(inner.clone(), Fault::From(call));
        if let Ok(store) = FileSystem::object_store(shim, "job").open() {
            let _ = store.delete();
        }
        let mut store = FileSystem::object_store(inner.clone(), "job").open().unwrap();
        match newest(&mut *store) {
            Some(number) => assert_eq!((number, read(&mut *store, "total").len()), (0, 1)),
            None => {
                begun += 1;
                assert_eq!(store.begin_attempt().unwrap().0, 1);
            }
        }
    }
    assert!(begun > 0);
}

/// On a local disk the root that holds nothing goes last.
#[test]
fn whatever_files_a_crash_has_left_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    prepare(&path);
    let clean = files(&path);
    // With the data and the claims of the past gone in any order, and the last root there: what deleting makes of it before its last step.
    let shown = {
        let shim_free = Arc::new(object_store::local::LocalFileSystem::new_with_prefix(&path).unwrap());
        // Through a store that is not known to be local, it leaves the root that holds nothing, and the claims.
        FileSystem::object_store(shim_free, "").open().unwrap().delete().unwrap();
        files(&path)
    };
    let claims: Vec<_> = shown.keys().filter(|name| name.starts_with("log/")).cloned().collect();
    assert_eq!(claims.len(), 3, "{claims:?}");
    for data in clean.keys().filter(|name| name.starts_with("data/")) {
        let mut left = shown.clone();
        left.insert(data.clone(), clean[data].clone());
        lay(&path, &left);
        let mut store = FileSystem::at(&path).open().unwrap();
        assert_eq!(newest(&mut *store), None);
        assert_eq!(store.begin_attempt().unwrap().0, 1);
        assert!(files(&path).keys().all(|name| !name.starts_with("data/")));
    }
}

/// Where the newer start wins, an owner that was stopped before the deletion stays fenced after it.
#[test]
fn an_owner_from_before_does_not_come_back() {
    let inner = Arc::new(InMemory::new());
    let mut old = FileSystem::object_store(inner.clone(), "job").open().unwrap();
    let attempt = old.begin_attempt().unwrap();
    commit(&mut *old, attempt, 0, vec![]);
    FileSystem::object_store(inner.clone(), "job").open().unwrap().delete().unwrap();
    let mut new = FileSystem::object_store(inner, "job").open().unwrap();
    assert_eq!(refusal(old.commit(&checkpoint(attempt, 1, vec![]))).0, StoreErrorKind::Fenced);
    assert_eq!(newest(&mut *new), None);
}
