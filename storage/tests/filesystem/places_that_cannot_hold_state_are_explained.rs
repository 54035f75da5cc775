//! A path or URI that cannot hold state is refused with its name and the reason.

use std::{fs, os::unix::fs::symlink, path::Path};

use cofferdam_engine::checkpoint::store::{StateBackend as _, StoreErrorKind};
use cofferdam_storage::FileSystem;

use crate::{child, support::*};

fn refused(path: &Path, expected: StoreErrorKind, part: &str) {
    let (kind, message) = refusal(FileSystem::at(path).open());
    assert_eq!(kind, expected, "{message}");
    assert!(message.contains(part) && message.contains(path.to_str().unwrap()), "{message}");
}

#[test]
fn missing_directories_are_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b c/d%20e");
    FileSystem::uri(&format!("file://{}", directory.path().join("f").display())).unwrap().open().unwrap();
    FileSystem::uri(path.to_str().unwrap()).unwrap().open().unwrap();
    assert!(path.join("log").exists() && directory.path().join("f/log").exists());
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
    refused(&path, StoreErrorKind::Io, "follow");
}

/// They would lead past the lock.
#[test]
fn linked_folders_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    drop(FileSystem::at(&theirs).open().unwrap());
    fs::create_dir(&ours).unwrap();
    symlink(theirs.join("log"), ours.join("log")).unwrap();
    refused(&ours, StoreErrorKind::Foreign, "not a directory");
}

#[test]
fn unknown_schemes_and_missing_features_are_named() {
    for (uri, part) in [
        ("gopher://state", "gopher://"),
        ("file://host/state", "no file of this machine"),
        ("s3://", if cfg!(feature = "s3") { "no bucket" } else { "cargo feature 's3'" }),
        ("hdfs://", if cfg!(feature = "hdfs") { "no host" } else { "cargo feature 'hdfs'" }),
    ] {
        let (kind, message) = refusal(FileSystem::uri(uri));
        assert_eq!(kind, StoreErrorKind::Foreign);
        assert!(message.contains(uri) && message.contains(part), "{message}");
    }
    #[cfg(not(feature = "s3"))]
    assert!(!refusal(FileSystem::uri("s3://bucket/state")).1.contains("choose a place of its own"));
    let directory = tempfile::tempdir().unwrap();
    let (_, message) = refusal(FileSystem::at(directory.path()).with_option("region", "x").open());
    assert!(message.contains("'region'"), "{message}");
}

#[test]
fn a_directory_that_is_open_names_its_holder() {
    if let Some(place) = child::place() {
        let (kind, message) = refusal(FileSystem::at(place).open());
        assert_eq!(kind, StoreErrorKind::InUse);
        println!("{message}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut store = FileSystem::at(directory.path()).open().unwrap();
    store.begin_attempt().unwrap();
    let name = "places_that_cannot_hold_state_are_explained::a_directory_that_is_open_names_its_holder";
    let output = child::command(name, directory.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("process {} holds its LOCK", std::process::id())), "{said}");
    // The other one's attempt took nothing from us.
    assert_eq!(store.begin_attempt().unwrap().0, 2);
}

#[test]
fn a_uri_that_would_mean_another_place_is_refused() {
    for (uri, part) in [
        ("file:///state/hash#1", "%23"),
        ("file:///state/query?x", "%3F"),
        ("hdfs://host/state?x", "%3F"),
        ("s3://bucket/state#2", "%23"),
        ("s3://key:secret@bucket/state", "credentials"),
        ("s3://bucket:9000/state", "AWS_ENDPOINT"),
        ("s3:/bucket/prefix", "two slashes"),
        ("S3A:bucket", "two slashes"),
        ("hdfs:h", "two slashes"),
        ("file:/absolute", "two slashes"),
    ] {
        let (kind, message) = refusal(FileSystem::uri(uri));
        assert_eq!(kind, StoreErrorKind::Foreign, "{uri}");
        assert!(message.contains(uri) && message.contains(part), "{message}");
    }
}

#[test]
fn schemes_may_be_written_in_any_case_and_names_may_have_a_colon() {
    let path = |uri: &str| FileSystem::uri(uri).unwrap().path().unwrap().to_owned();
    assert_eq!(path("FILE:///state"), std::path::Path::new("/state"));
    assert_eq!(path("File:///state/%23"), std::path::Path::new("/state/#"));
    assert_eq!(path("state:of:us"), std::path::Path::new("state:of:us"));
    assert_eq!(path("./s3:bucket"), std::path::Path::new("./s3:bucket"));
}

#[test]
fn an_applications_own_folders_are_not_taken_for_ours() {
    for (folder, file) in [("data", "users.db"), ("log", "messages")] {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(folder)).unwrap();
        fs::write(directory.path().join(folder).join(file), "theirs").unwrap();
        refused(directory.path(), StoreErrorKind::Foreign, &format!("{folder}/{file}"));
        fs::write(directory.path().join("main.rs"), "theirs").unwrap();
        refused(directory.path(), StoreErrorKind::Foreign, "other files");
        assert!(!directory.path().join("LOCK").exists());
    }
}
