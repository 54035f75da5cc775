//! Flips bits of a stored file and looks what becomes of it.

use std::{fs, ops::Range, path::Path};

use cofferdam_engine::checkpoint::{
    snapshot::CheckpointMetadata,
    store::{StateBackend as _, StoreError, StoreErrorKind},
};
use cofferdam_storage::Lmdb;
use xxhash_rust::xxh3::Xxh3Default;

use crate::support::*;

/// How many flips went which way.
#[derive(Debug, Default)]
pub struct Survey {
    pub refused: usize,
    pub accepted: usize,
}

type State = (Option<CheckpointMetadata>, Vec<Seen>);

/// All that a store shows.
pub fn show(path: &Path) -> Result<State, StoreError> {
    let mut store = Lmdb::at(path).open()?;
    Ok((store.newest()?, try_read(&mut *store, "total")?))
}

/// Opens a copy of the directory `original` for each flip of `file`, which holds `content`, and fails if any shows something else.
pub fn survey(original: &Path, file: &str, content: &[u8], flips: impl Iterator<Item = (usize, u8)>) -> Survey {
    let expected = show(original).unwrap();
    let copy = original.with_file_name("copy");
    let mut survey = Survey::default();
    copy_directory(original, &copy);
    for (at, mask) in flips {
        // A start may write the note anew.
        fs::copy(original.join("NOTE"), copy.join("NOTE")).unwrap();
        let mut flipped = content.to_vec();
        flipped[at] ^= mask;
        fs::write(copy.join(file), &flipped).unwrap();
        match show(&copy) {
            Ok(state) => {
                assert!(state == expected, "{file}: byte {at} flipped by {mask:#x} shows another state");
                survey.accepted += 1;
            }
            Err(error) => {
                assert!(
                    matches!(error.kind, StoreErrorKind::Damaged | StoreErrorKind::Newer),
                    "{file}: byte {at} flipped by {mask:#x}: {error}"
                );
                assert!(error.message.contains("delete"), "no way out: {error}");
                survey.refused += 1;
            }
        }
    }
    fs::remove_dir_all(&copy).unwrap();
    assert!(survey.refused + survey.accepted > 50, "{survey:?}");
    survey
}

/// What a record begins with: the format, then the first bytes of the job id.
pub const RECORD: [u8; 6] = [4, 0, 0xee, 0xff, 0x83, 0x06];

/// Where the record of `checkpoint` is, in database `checkpoint`.
pub fn record_key(checkpoint: u64) -> Vec<u8> {
    [&b"record"[..], &checkpoint.to_be_bytes()].concat()
}

/// Where the index of state number `state` is that came with `checkpoint`, in database `checkpoint`.
pub fn index_key(state: u32, checkpoint: u64) -> Vec<u8> {
    [&b"state"[..], &state.to_be_bytes(), &checkpoint.to_be_bytes()].concat()
}

/// What ends the value `bytes` at `key` of `database`.
pub fn checksum(database: &str, key: &[u8], bytes: &[u8]) -> [u8; 8] {
    let mut hash = Xxh3Default::new();
    for part in [&[database.len() as u8, key.len() as u8][..], database.as_bytes(), key, bytes] {
        hash.update(part);
    }
    hash.digest().to_le_bytes()
}

/// Where in `data` there are values at `key` of `database` that begin with `start`; without their checksums. Old pages may bear some.
pub fn values(data: &[u8], database: &str, key: &[u8], start: &[u8]) -> Vec<Range<usize>> {
    let places = data.windows(start.len()).enumerate().filter(|(_, window)| *window == start).map(|(at, _)| at);
    places
        .filter_map(|at| {
            let mut ends = at + start.len()..(at + 1000).min(data.len() - 8);
            Some(at..ends.find(|end| data[*end..end + 8] == checksum(database, key, &data[at..*end]))?)
        })
        .collect()
}
