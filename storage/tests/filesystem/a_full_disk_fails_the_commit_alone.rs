//! Without room for a commit the place stays as it was, the store goes on, and the next commit for which there is room is stored.

use std::path::Path;

use cofferdam_engine::checkpoint::store::{StateBackend as _, StoreErrorKind};
use cofferdam_storage::FileSystem;
use rlimit::Resource;

use crate::{child, files::files, support::*};

/// What there is no room for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Full {
    /// A single byte.
    Data,
    /// The root, which is longer than the data object before it.
    Root,
}

/// No file of this process may have more than `bytes`; writing more is an error.
fn limit(bytes: u64) {
    let (_, hard) = Resource::FSIZE.get().unwrap();
    Resource::FSIZE.set(bytes.min(hard), hard).unwrap();
}

/// The length of the longest file in one of the place's folders.
fn length(place: &Path, folder: &str) -> u64 {
    let files = files(place);
    files.iter().filter(|(name, _)| name.starts_with(folder)).map(|(_, bytes)| bytes.len() as u64).max().unwrap()
}

fn fill(place: &Path, full: Full) {
    let mut store = FileSystem::at(place).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, 0, vec![]);
    let blocks =
        |number| if full == Full::Root { vec![] } else { vec![delta(number, "total", vec![changes(1, &[1])])] };
    let before = files(place);
    let (data, root) = (length(place, "data/"), length(place, "log/"));
    assert!(data + 100 < root, "{data} and {root}");
    limit(if full == Full::Root { data + 50 } else { 0 });
    for number in 1..=2 {
        let error = store.commit(&checkpoint(attempt, number, blocks(number))).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::NotStored, "{error}");
        let what = if full == Full::Root { "cannot write log/" } else { "cannot write data/" };
        assert!(error.message.contains(what), "{error}");
        assert_eq!(newest(&mut *store), Some(0));
        assert!(files(place) == before, "nothing of it stays");
    }
    limit(u64::MAX);
    commit(&mut *store, attempt, 3, vec![delta(3, "total", vec![changes(1, &[3])])]);
    assert_eq!(read(&mut *store, "total"), [seen(&changes(1, &[3]))]);
    println!("\ngone on");
}

fn fills(test: &str, full: Full) {
    if let Some(place) = child::place() {
        return fill(&place, full);
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = child::command(&format!("a_full_disk_fails_the_commit_alone::{test}"), directory.path());
    let output = child::with_file_limit(&mut command, 1_000_000).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("gone on"), "{said}");
    let mut store = FileSystem::at(directory.path()).open().unwrap();
    assert_eq!(newest(&mut *store), Some(3));
    assert_eq!(read(&mut *store, "total"), [seen(&changes(1, &[3]))]);
}

#[test]
fn when_there_is_none_for_the_data_object() {
    fills("when_there_is_none_for_the_data_object", Full::Data);
}

#[test]
fn when_there_is_none_for_the_root() {
    fills("when_there_is_none_for_the_root", Full::Root);
}
