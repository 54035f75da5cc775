//! A directory has one owner, in this process or any other, and the error names both.

use std::path::Path;

use cofferdam_engine::checkpoint::store::{StateBackend as _, StoreErrorKind};
use cofferdam_storage::Lmdb;

use crate::{child, support::*};

fn in_use(path: &Path) -> String {
    let (kind, message) = refusal(Lmdb::at(path).open());
    assert_eq!(kind, StoreErrorKind::InUse, "{message}");
    let directory = path.canonicalize().unwrap();
    assert!(message.contains(directory.to_str().unwrap()), "{message}");
    message
}

#[test]
fn in_the_same_process() {
    let directory = tempfile::tempdir().unwrap();
    let store = Lmdb::at(directory.path()).open().unwrap();
    let message = in_use(directory.path());
    assert!(message.contains(&format!("this process ({})", std::process::id())), "{message}");
    drop(store);
    Lmdb::at(directory.path()).open().unwrap();
}

#[test]
fn under_another_name() {
    let directory = tempfile::tempdir().unwrap();
    let (path, link) = (directory.path().join("state"), directory.path().join("link"));
    let _store = Lmdb::at(&path).open().unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    in_use(&link);
}

#[test]
fn in_another_process() {
    if let Some(place) = child::place() {
        println!("{}", in_use(&place));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut store = Lmdb::at(directory.path()).open().unwrap();
    store.begin_attempt().unwrap();
    let output = child::command("a_directory_is_open_once::in_another_process", directory.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("process {} holds its LOCK", std::process::id())), "{said}");
    // The other one's attempt took nothing from us.
    assert_eq!(store.begin_attempt().unwrap().0, 2);
}
