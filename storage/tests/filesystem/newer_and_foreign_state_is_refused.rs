//! State of another version, and what is not ours, is refused and left alone.

use std::{fs, sync::Arc};

use cofferdam_engine::checkpoint::store::{StateBackend as _, StoreErrorKind};
use cofferdam_storage::{FileSystem, Lmdb};
use object_store::{ObjectStoreExt as _, memory::InMemory};

use crate::{
    files::{checksum, files, lay, log},
    shim::{Fault, Shim},
    support::*,
};

fn prepare(path: &std::path::Path) {
    let mut store = FileSystem::at(path).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, 0, vec![delta(0, "total", vec![full(0, b"state")])]);
}

#[test]
fn an_entry_of_another_version() {
    for (format, kind) in [('0', StoreErrorKind::Older), ('3', StoreErrorKind::Newer)] {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let mut files = files(directory.path());
        let name = log(&files).pop().unwrap();
        let entry = files.get_mut(&name).unwrap();
        let (json, stored) = entry.split_at(entry.len() - 8);
        assert_eq!(stored, checksum(&name, json), "where its checksum is");
        let mut json = String::from_utf8(json.to_vec())
            .unwrap()
            .replace("\"format\":2", &format!("\"format\":{format}"))
            .into_bytes();
        let checksum = checksum(&name, &json);
        json.extend(checksum);
        *entry = json;
        lay(directory.path(), &files);
        let (found, message) = refusal(FileSystem::at(directory.path()).open());
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(&format!("format {format}")) && message.contains(&name), "{message}");
        assert_eq!(crate::files::files(directory.path()), {
            files.insert("LOCK".into(), format!("{}\n", std::process::id()).into_bytes());
            files
        });
    }
}

#[test]
fn a_directory_with_other_files() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("notes.txt"), "mine").unwrap();
    let (kind, message) = refusal(FileSystem::at(directory.path()).open());
    assert_eq!(kind, StoreErrorKind::Foreign);
    assert!(message.contains("notes.txt"), "{message}");
    assert_eq!(files(directory.path()).len(), 1);
}

#[test]
fn a_prefix_with_other_objects() {
    let inner = Arc::new(InMemory::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(inner.put(&"job/table/part-0".into(), "theirs".into())).unwrap();
    let (kind, message) = refusal(FileSystem::object_store(inner.clone(), "job").open());
    assert_eq!(kind, StoreErrorKind::Foreign);
    assert!(message.contains("table"), "{message}");
    FileSystem::object_store(inner, "job/cofferdam").open().unwrap();
}

/// Each backend's directory is foreign to the other.
#[test]
fn a_directory_of_lmdb() {
    let directory = tempfile::tempdir().unwrap();
    directory_up_to(directory.path(), 1);
    assert_eq!(refusal(FileSystem::at(directory.path()).open()).0, StoreErrorKind::Foreign);
    Lmdb::at(directory.path()).open().unwrap();
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    assert_eq!(refusal(Lmdb::at(directory.path()).open()).0, StoreErrorKind::Foreign);
    FileSystem::at(directory.path()).open().unwrap();
}

/// Nobody could be fenced there.
#[test]
fn a_store_that_ignores_conditions() {
    let inner = Arc::new(InMemory::new());
    let shim = Shim::new(inner, Fault::Unconditional);
    let (kind, message) = refusal(FileSystem::object_store(shim, "job").open());
    assert_eq!(kind, StoreErrorKind::Foreign);
    assert!(message.contains("replaces objects"), "{message}");
}
