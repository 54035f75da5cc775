//! Deleting removes our files and no others, and a deletion that was cut short is finished at the next start.

use std::fs;

use cofferdam_engine::checkpoint::store::StateBackend as _;
use cofferdam_storage::Lmdb;

use crate::support::*;

#[test]
fn the_directory_goes_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    directory_up_to(&path, 1);
    Lmdb::at(&path).open().unwrap().delete().unwrap();
    assert!(!path.exists());
}

#[test]
fn other_files_stay() {
    let directory = tempfile::tempdir().unwrap();
    directory_up_to(directory.path(), 1);
    fs::write(directory.path().join("notes.txt"), "mine").unwrap();
    Lmdb::at(directory.path()).open().unwrap().delete().unwrap();
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["notes.txt"]);
}

#[test]
fn a_deletion_cut_short_is_finished() {
    // Each prefix of: mark, data, LMDB's lock.
    for removed in 0..3 {
        let directory = tempfile::tempdir().unwrap();
        directory_up_to(directory.path(), 1);
        fs::rename(directory.path().join("NOTE"), directory.path().join("NOTE.deleted")).unwrap();
        for name in &["data.mdb", "lock.mdb"][..removed] {
            fs::remove_file(directory.path().join(name)).unwrap();
        }
        let mut store = Lmdb::at(directory.path()).open().unwrap();
        assert_eq!(newest(&mut *store), None);
        assert_eq!(store.begin_attempt().unwrap().0, 1);
    }
}
