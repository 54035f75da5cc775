//! What a crash has left is deleted at the next start; what a checkpoint kept needs, what is a successor's, and what is not ours stays.

use std::{collections::BTreeSet, fs, sync::Arc};

use cofferdam_engine::checkpoint::store::StateBackend as _;
use cofferdam_storage::FileSystem;
use futures_util::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, memory::InMemory};

use crate::{
    files::{files, show},
    shim::{Fault, Shim},
    support::*,
};

#[test]
fn of_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    {
        let mut store = FileSystem::at(path).open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        for number in 0..4 {
            let blocks = vec![full(number as u16, &[number as u8; 40])];
            store.commit(&retaining(2, attempt, number, vec![delta(number, "total", blocks)])).unwrap();
        }
    }
    let expected = show(path).unwrap();
    let before = files(path);
    let (data, log) = (path.join("data"), path.join("log"));
    let name = |generation: u64, checkpoint: u64| format!("{generation:020}-{checkpoint:020}");
    // A commit that was cut short, and files that were being written.
    fs::write(data.join(name(1, 4)), "orphan").unwrap();
    fs::write(data.join(format!("{}#1", name(1, 5))), "unfinished").unwrap();
    fs::write(log.join(format!("{:020}#1", 7)), "unfinished").unwrap();
    // A successor's, and a stranger's.
    let stays = [name(99, 5), "notes.txt".into(), "mine#1".into()];
    for name in &stays {
        fs::write(data.join(name), "stays").unwrap();
    }
    fs::write(path.join("notes.txt"), "stays").unwrap();
    assert_eq!(show(path).unwrap(), expected);
    let after = files(path);
    let left: BTreeSet<_> = after.keys().filter(|name| !before.contains_key(*name)).cloned().collect();
    let mut known: BTreeSet<_> = stays.iter().map(|name| format!("data/{name}")).collect();
    known.extend(["notes.txt".to_owned()]);
    // And the claim of the start itself.
    let claims: Vec<_> = left.difference(&known).collect();
    assert!(claims.len() == 1 && claims[0].starts_with("log/"), "{claims:?}");
    assert!(known.is_subset(&left), "{left:?}");
    assert!(before.keys().all(|name| after.contains_key(name)), "nothing that is needed goes");
}

fn names(store: &Arc<InMemory>) -> BTreeSet<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let listed = runtime.block_on(store.list(None).try_collect::<Vec<_>>()).unwrap();
    listed.into_iter().map(|object| object.location.to_string()).collect()
}

/// An owner that died anywhere within a commit leaves nothing behind that the next start does not remove.
#[test]
fn of_a_commit_that_was_cut_short_anywhere() {
    for call in 0..12 {
        let inner = Arc::new(InMemory::new());
        let attempt = {
            let mut store = FileSystem::object_store(inner.clone(), "job").open().unwrap();
            let attempt = store.begin_attempt().unwrap();
            commit(&mut *store, attempt, 0, vec![delta(0, "total", vec![full(0, b"zero"), full(1, b"one")])]);
            attempt
        };
        let shim = Shim::new(inner.clone(), Fault::From(call));
        if let Ok(mut store) = FileSystem::object_store(shim, "job").open() {
            let next = checkpoint(attempt, 1, vec![delta(1, "total", vec![full(0, b"one")])]);
            let _ = store.commit(&next);
        }
        let mut store = FileSystem::object_store(inner.clone(), "job").open().unwrap();
        let found = newest(&mut *store).unwrap();
        let names = names(&inner);
        let data: Vec<_> = names.iter().filter(|name| name.starts_with("job/data/")).collect();
        assert_eq!(data.len() as u64, 1 + found, "{data:?}");
        let log = names.len() - data.len();
        assert!(log <= 4, "three claims and the root, {names:?}");
    }
}

/// An object that could not be deleted goes later.
#[test]
fn and_a_deletion_that_failed_is_tried_again() {
    let inner = Arc::new(InMemory::new());
    // Its deletions fail, as those of somebody who may not delete.
    let calls = {
        let shim = Shim::new(inner.clone(), Fault::None);
        let mut store = FileSystem::object_store(shim.clone(), "job").open().unwrap();
        store.begin_attempt().unwrap();
        shim.calls()
    };
    // The third call of a commit deletes.
    let inner = Arc::new(InMemory::new());
    let shim = Shim::new(inner.clone(), Fault::Before(calls + 2));
    let mut store = FileSystem::object_store(shim, "job").open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, 0, vec![]);
    let roots = |names: &BTreeSet<String>| names.iter().filter(|name| name.starts_with("job/log/")).count();
    assert_eq!(roots(&names(&inner)), 3, "the claim, the root that was replaced, the root");
    commit(&mut *store, attempt, 1, vec![]);
    assert_eq!(roots(&names(&inner)), 2);
}

#[test]
fn a_place_of_its_own_within_a_bucket_touches_nothing_else() {
    let inner = Arc::new(InMemory::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let others = ["job2/data/x", "other/log/00000000000000000001", "job-log"];
    for name in others {
        runtime.block_on(inner.put(&name.into(), "theirs".into())).unwrap();
    }
    let mut store = FileSystem::object_store(inner.clone(), "job").open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, 0, vec![]);
    store.delete().unwrap();
    let names = names(&inner);
    assert!(others.iter().all(|name| names.contains(*name)), "{names:?}");
}
