//! After a write that failed the store refuses every call, and opening it again shows what is true.

use std::fs;

use cofferdam_engine::{
    Attempt,
    checkpoint::store::{StateBackend as _, StoreErrorKind},
};
use cofferdam_storage::Lmdb;

use crate::support::*;

/// Meta pages that cannot be read back for the note are a failure after the commit, at the worst moment.
#[test]
fn after_a_failed_commit() {
    let directory = tempfile::tempdir().unwrap();
    directory_up_to(directory.path(), 1);
    let mut store = Lmdb::at(directory.path()).open().unwrap();
    let next = checkpoint(Attempt(1), 2, vec![delta(2, "total", vec![full(0, b"new")])]);
    // The job's entry, changed in the page cache that LMDB maps.
    let path = directory.path().join("data.mdb");
    let clean = fs::read(&path).unwrap();
    overwrite(&path, &String::from_utf8_lossy(&clean).replace("\"format\":4", "\"format\":7"), &clean);
    assert!(store.commit(&next).is_err());
    overwrite(&path, "", &clean);

    for (kind, message) in
        [refusal(store.newest()), refusal(store.begin_attempt()), refusal(store.commit(&next)), refusal(store.reader())]
    {
        assert_eq!(kind, StoreErrorKind::Io);
        assert!(message.contains("drop it and open it again"), "{message}");
    }
    drop(store);
    let mut store = Lmdb::at(directory.path()).open().unwrap();
    assert_eq!(newest(&mut *store), Some(1));
    store.commit(&next).unwrap();
    assert_eq!(newest(&mut *store), Some(2));
}

/// Flips the format digits that differ, in place: the file keeps its length, as it is mapped.
fn overwrite(path: &std::path::Path, changed: &str, clean: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let needle = b"\"format\":4";
    for (at, window) in clean.windows(needle.len()).enumerate() {
        if window == needle {
            let digit: &[u8] = if changed.is_empty() { b"4" } else { b"7" };
            file.write_all_at(digit, (at + needle.len() - 1) as u64).unwrap();
        }
    }
}
