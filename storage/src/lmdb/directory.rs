//! The directory: what is ours in it, and whether it may become ours.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use cofferdam_engine::checkpoint::store::StoreError;

use super::fault;

pub(super) const LOCK: &str = "LOCK";
pub(super) const NOTE: &str = "NOTE";
/// A note that is being written for the first time.
pub(super) const NOTE_NEW: &str = "NOTE.new";
/// A note whose directory is being deleted: what is left goes at the next start.
pub(super) const NOTE_DELETED: &str = "NOTE.deleted";
pub(super) const DATA: &str = "data.mdb";
/// LMDB's table of readers.
pub(super) const LMDB_LOCK: &str = "lock.mdb";

const OURS: [&str; 6] = [LOCK, NOTE, NOTE_NEW, NOTE_DELETED, DATA, LMDB_LOCK];

/// Makes sure that `path` is a directory that is ours or may become ours, and returns where it really is.
pub(super) fn prepare(path: &Path) -> Result<PathBuf, StoreError> {
    if path.as_os_str().is_empty() {
        return Err(fault::foreign(path, "the path is empty"));
    }
    if fs::symlink_metadata(path).is_err() {
        fs::create_dir_all(path).map_err(|cause| fault::io(path, "create the directory", cause))?;
    }
    let metadata = fs::metadata(path).map_err(|cause| match fs::symlink_metadata(path) {
        Ok(link) if link.is_symlink() => fault::io(path, "follow the symbolic link", cause),
        _ => fault::io(path, "look", cause),
    })?;
    if !metadata.is_dir() {
        return Err(fault::foreign(path, "it is not a directory"));
    }
    let directory = path.canonicalize().map_err(|cause| fault::io(path, "look", cause))?;
    check_entries(&directory)?;
    Ok(directory)
}

fn check_entries(directory: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|cause| fault::io(directory, "list the files", cause))?;
    let mut stranger = None;
    for entry in &entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if OURS.contains(&name.as_str()) {
            check_regular(directory, entry, &name)?;
        } else if !name.starts_with('.') && name != "lost+found" {
            stranger = Some(name);
        }
    }
    let used = entries.iter().any(|entry| [NOTE, NOTE_DELETED, DATA].iter().any(|ours| entry.file_name() == *ours));
    match stranger {
        Some(name) if !used => Err(fault::foreign(directory, format!("it holds other files, such as '{name}'"))),
        _ => Ok(()),
    }
}

/// A link would lead two directories to one environment, past the lock.
fn check_regular(directory: &Path, entry: &fs::DirEntry, name: &str) -> Result<(), StoreError> {
    match entry.file_type() {
        Ok(kind) if kind.is_file() => Ok(()),
        Ok(_) => Err(fault::foreign(directory, format!("its '{name}' is not a regular file"))),
        Err(cause) => Err(fault::io(directory, format!("look at {name}"), cause)),
    }
}

/// Removes a file that may be missing.
pub(super) fn remove(directory: &Path, name: &str) -> Result<(), StoreError> {
    match fs::remove_file(directory.join(name)) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(fault::io(directory, format!("remove {name}"), cause))
        }
        _ => Ok(()),
    }
}

/// Makes files that came and went durable.
pub(super) fn sync(directory: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|cause| fault::io(directory, "sync the directory", cause))?;
    }
    Ok(())
}
