//! A flipped bit in any stored value is noticed, and the error says where.

use std::{fs, ops::Range, path::Path};

use cofferdam_engine::checkpoint::store::StateBackend as _;
use cofferdam_storage::Lmdb;

use crate::{
    flip::{RECORD, index_key, record_key, show, survey, values},
    support::*,
};

/// Checkpoints whose blocks are easily found: 0 in full, 1 a large block and a change.
fn prepare(path: &Path) {
    let mut store = Lmdb::at(path).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, 0, vec![delta(0, "total", vec![full(0, &[0xa1; 60]), full(5, &[0xa2; 60])])]);
    let blocks = vec![changes(0, &[0xb1; 50]), full(3, &[0xb2; 40_000])];
    commit(&mut *store, attempt, 1, vec![delta(1, "total", blocks)]);
}

/// Where `needle` is in `hay`; all places, as old pages may still bear it.
fn find(hay: &[u8], needle: &[u8]) -> Vec<usize> {
    hay.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle).map(|(at, _)| at).collect()
}

fn flip(find: impl Fn(&[u8]) -> Vec<Range<usize>>, stride: usize) {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    prepare(&original);
    let data = fs::read(original.join("data.mdb")).unwrap();
    let mut refused = 0;
    for value in find(&data) {
        let survey = survey(&original, "data.mdb", &data, value.step_by(stride).flat_map(|at| [(at, 1), (at, 0x80)]));
        // An older copy of the value matters to nobody.
        assert!(survey.refused == 0 || survey.accepted == 0, "{survey:?}");
        refused += survey.refused;
    }
    assert!(refused > 0);
}

fn flip_block(needle: &[u8], before: usize, length: usize, stride: usize) {
    flip(|data| find(data, needle).into_iter().map(|at| at - before..at - before + length).collect(), stride);
}

fn flip_value(database: &str, key: &[u8], start: &[u8]) {
    let whole = |value: Range<usize>| value.start..value.end + CHECKSUM;
    flip(|data| values(data, database, key, start).into_iter().map(whole).collect(), 1);
}

/// Kind, entries and length come before the bytes, the checksum after.
const HEAD: usize = 13;
const CHECKSUM: usize = 8;

#[test]
fn of_a_full_block() {
    flip_block(&[0xa1; 60], HEAD, HEAD + 60 + CHECKSUM, 1);
}

#[test]
fn of_a_block_of_changes() {
    flip_block(&[0xb1; 50], HEAD, HEAD + 50 + CHECKSUM, 1);
}

#[test]
fn of_a_block_in_parts() {
    let needle = [&40_000u32.to_le_bytes()[..], &40_000u64.to_le_bytes()].concat();
    flip_block(&needle, 1, 16_368, 83);
}

#[test]
fn of_the_job() {
    flip_value("job", b"job", b"{\"format\":4");
}

#[test]
fn of_the_record() {
    flip_value("checkpoint", &record_key(1), &RECORD);
}

#[test]
fn of_an_index() {
    // Three groups, the first of them 0.
    flip_value("checkpoint", &index_key(0, 1), &[3, 0]);
}

#[test]
fn the_error_names_the_state_and_the_group() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let path = directory.path().join("data.mdb");
    let mut data = fs::read(&path).unwrap();
    for at in find(&data, &[0xb1; 50]) {
        data[at] ^= 1;
    }
    fs::write(&path, data).unwrap();
    let (_, message) = refusal(show(directory.path()));
    assert!(message.contains("count/total") && message.contains("key group 0"), "{message}");
    assert!(message.contains(directory.path().to_str().unwrap()), "{message}");
}
