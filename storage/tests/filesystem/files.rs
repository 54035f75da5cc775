//! Looks at a place's files, and changes them.

use std::{collections::BTreeMap, fs, path::Path};

use cofferdam_engine::checkpoint::{
    snapshot::CheckpointMetadata,
    store::{StateBackend as _, StoreError},
};
use cofferdam_storage::FileSystem;
use xxhash_rust::xxh3::Xxh3Default;

use crate::support::*;

/// Every file below `path`, by its name there.
pub fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// Makes `path` hold just those files.
pub fn lay(path: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let _ = fs::remove_dir_all(path);
    fs::create_dir_all(path).unwrap();
    for (name, bytes) in files {
        fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
        fs::write(path.join(name), bytes).unwrap();
    }
}

/// All that a store shows.
pub fn show(path: &Path) -> Result<(Option<CheckpointMetadata>, Vec<Seen>), StoreError> {
    let mut store = FileSystem::at(path).open()?;
    Ok((store.newest()?, try_read(&mut *store, "total")?))
}

/// The names of the log's entries, the oldest first.
pub fn log(files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    files.keys().filter(|name| name.starts_with("log/")).cloned().collect()
}

/// The names of data objects, the oldest generation first.
pub fn data(files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    files.keys().filter(|name| name.starts_with("data/")).cloned().collect()
}

/// What ends an entry of the log.
pub fn checksum(name: &str, bytes: &[u8]) -> [u8; 8] {
    let mut hash = Xxh3Default::new();
    for part in [&[name.len() as u8], name.as_bytes(), bytes] {
        hash.update(part);
    }
    hash.digest().to_le_bytes()
}
