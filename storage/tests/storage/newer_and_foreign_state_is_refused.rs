//! State of a newer version, and what is not ours, is refused and left alone.

use std::{fs, path::Path};

use cofferdam_engine::checkpoint::store::{StateBackend as _, StoreErrorKind};
use cofferdam_storage::Lmdb;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    flip::{RECORD, checksum, record_key, values},
    support::*,
};

fn refused(path: &Path, expected: StoreErrorKind, part: &str) {
    let (kind, message) = refusal(Lmdb::at(path).open());
    assert_eq!(kind, expected, "{message}");
    assert!(message.contains(part), "{message}");
}

fn write_note_as(path: &Path, version: u8) {
    let path = path.join("NOTE");
    let mut note = fs::read(&path).unwrap();
    for slot in [0, 4096] {
        note[slot + 8] = version;
        let checksum = xxh3_64(&note[slot..slot + 120]);
        note[slot + 120..slot + 128].copy_from_slice(&checksum.to_le_bytes());
    }
    fs::write(&path, note).unwrap();
}

#[test]
fn a_note_of_another_version() {
    let directory = tempfile::tempdir().unwrap();
    directory_up_to(directory.path(), 1);
    for (version, kind) in [(1, StoreErrorKind::Older), (3, StoreErrorKind::Newer)] {
        write_note_as(directory.path(), version);
        refused(directory.path(), kind, &format!("NOTE has format {version}"));
    }
    write_note_as(directory.path(), 2);
    Lmdb::at(directory.path()).open().unwrap();
}

/// Writes a value as a newer version would: everything is right, but for the format.
fn reseal(path: &Path, database: &str, key: &[u8], start: &[u8], change: impl Fn(&mut [u8])) {
    let path = path.join("data.mdb");
    let mut data = fs::read(&path).unwrap();
    let values = values(&data, database, key, start);
    assert!(!values.is_empty());
    for value in values {
        change(&mut data[value.clone()]);
        let checksum = checksum(database, key, &data[value.clone()]);
        data[value.end..value.end + 8].copy_from_slice(&checksum);
    }
    fs::write(&path, data).unwrap();
}

#[test]
fn a_job_of_another_version() {
    for (format, kind) in [(b'2', StoreErrorKind::Older), (b'5', StoreErrorKind::Newer)] {
        let directory = tempfile::tempdir().unwrap();
        directory_up_to(directory.path(), 1);
        let find = b"{\"format\":4";
        reseal(directory.path(), "job", b"job", find, |value| value[find.len() - 1] = format);
        refused(directory.path(), kind, &format!("format {}", char::from(format)));
    }
}

#[test]
fn a_record_of_another_version() {
    for (format, kind) in [(2, StoreErrorKind::Older), (5, StoreErrorKind::Newer)] {
        let directory = tempfile::tempdir().unwrap();
        directory_up_to(directory.path(), 1);
        reseal(directory.path(), "checkpoint", &record_key(1), &RECORD, |value| value[0] = format);
        refused(directory.path(), kind, &format!("format {format}"));
    }
}

/// Ours, under other names.
#[test]
fn another_applications_environment() {
    let directory = tempfile::tempdir().unwrap();
    directory_up_to(directory.path(), 1);
    fs::remove_file(directory.path().join("NOTE")).unwrap();
    let path = directory.path().join("data.mdb");
    let mut data = fs::read(&path).unwrap();
    for at in 0..data.len() - 3 {
        if &data[at..at + 3] == b"job" {
            data[at..at + 3].copy_from_slice(b"jot");
        }
    }
    fs::write(&path, &data).unwrap();
    refused(directory.path(), StoreErrorKind::Foreign, "another application's");
    assert_eq!(fs::read(&path).unwrap(), data, "nothing is changed");
}

#[test]
fn a_file_that_is_no_environment() {
    let directory = tempfile::tempdir().unwrap();
    let hole = [vec![0; 1 << 17], b"content".to_vec()].concat();
    for content in [b"hello".to_vec(), vec![0xff; 3 * 4096], hole] {
        fs::write(directory.path().join("data.mdb"), &content).unwrap();
        refused(directory.path(), StoreErrorKind::Foreign, "data.mdb");
        assert_eq!(fs::read(directory.path().join("data.mdb")).unwrap(), content);
    }
}

#[test]
fn a_directory_with_other_files() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), "years of work").unwrap();
    refused(directory.path(), StoreErrorKind::Foreign, "thesis.tex");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is added");
}

#[test]
fn but_not_a_directory_with_hidden_files() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".gitignore"), "*").unwrap();
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    Lmdb::at(directory.path()).open().unwrap();
}
