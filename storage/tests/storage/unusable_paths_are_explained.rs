//! A path that cannot hold state is refused with its name and the reason.

use std::{fs, os::unix::fs::symlink, path::Path};

use cofferdam_engine::checkpoint::store::{StateBackend as _, StoreErrorKind};
use cofferdam_storage::Lmdb;

use crate::support::*;

fn refused(path: &Path, expected: StoreErrorKind, part: &str) {
    let (kind, message) = refusal(Lmdb::at(path).open());
    assert_eq!(kind, expected, "{message}");
    assert!(message.contains(part) && message.contains(path.to_str().unwrap()), "{message}");
}

#[test]
fn missing_directories_are_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/c");
    Lmdb::at(&path).open().unwrap();
    assert!(path.join("NOTE").exists());
}

#[test]
fn a_file_is_no_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "content").unwrap();
    refused(&path, StoreErrorKind::Foreign, "not a directory");
    refused(&path.join("below"), StoreErrorKind::Io, "create the directory");
    assert_eq!(fs::read(&path).unwrap(), b"content");
}

#[test]
fn an_empty_path_is_none() {
    refused(Path::new(""), StoreErrorKind::Foreign, "empty");
}

#[test]
fn a_link_to_nothing_leads_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    symlink(directory.path().join("missing"), &path).unwrap();
    refused(&path, StoreErrorKind::Io, "symbolic link");
}

#[test]
fn a_link_to_a_directory_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (target, link) = (directory.path().join("state"), directory.path().join("link"));
    directory_up_to(&target, 1);
    symlink(&target, &link).unwrap();
    assert_eq!(newest(&mut *Lmdb::at(&link).open().unwrap()), Some(1));
}

/// It would lead past the lock.
#[test]
fn linked_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    directory_up_to(&theirs, 1);
    fs::create_dir(&ours).unwrap();
    for name in ["NOTE", "data.mdb"] {
        symlink(theirs.join(name), ours.join(name)).unwrap();
    }
    refused(&ours, StoreErrorKind::Foreign, "not a regular file");
}

#[test]
fn a_directory_without_permission_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write everywhere.
    if fs::write(path.join("probe"), "").is_err() {
        refused(&path, StoreErrorKind::Io, "LOCK");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
}
