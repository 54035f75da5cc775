//! A directory of the local disk: whether it is ours or may become ours, and what of it is not seen through `object_store`.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use cofferdam_engine::checkpoint::store::StoreError;

use super::{fault, name};

const LOCK: &str = "LOCK";

/// Makes sure that `path` is a directory that is ours or may become ours, and returns where it really is.
pub(super) fn prepare(path: &Path) -> Result<PathBuf, StoreError> {
    let foreign = |what: &str| fault::foreign(&path.display().to_string(), what);
    if path.as_os_str().is_empty() {
        return Err(foreign("the path is empty"));
    }
    if fs::symlink_metadata(path).is_err() {
        fs::create_dir_all(path).map_err(|cause| fault::io(path, "create the directory", cause))?;
    }
    let metadata = fs::metadata(path).map_err(|cause| fault::io(path, "follow the path", cause))?;
    if !metadata.is_dir() {
        return Err(foreign("it is not a directory"));
    }
    let directory = path.canonicalize().map_err(|cause| fault::io(path, "look", cause))?;
    check_entries(&directory)?;
    Ok(directory)
}

/// Where a directory really is that somebody looks at. Makes none.
pub(super) fn find(path: &Path) -> Result<PathBuf, StoreError> {
    let directory = path.canonicalize().map_err(|cause| fault::io(path, "look", cause))?;
    let metadata = fs::metadata(&directory).map_err(|cause| fault::io(path, "look", cause))?;
    match metadata.is_dir() {
        true => Ok(directory),
        false => Err(fault::no_state(&path.display().to_string(), "it is not a directory")),
    }
}

fn check_entries(directory: &Path) -> Result<(), StoreError> {
    let foreign = |what: String| fault::foreign(&directory.display().to_string(), what);
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let (mut stranger, mut used) = (None, false);
    for entry in entries.map_err(|cause| fault::io(directory, "list the files", cause))? {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(|cause| fault::io(directory, format!("look at {name}"), cause))?;
        // A link would lead two directories to one place, past the lock.
        match name.as_str() {
            LOCK if !kind.is_file() => return Err(foreign("its 'LOCK' is not a regular file".into())),
            name::LOG | name::DATA if !kind.is_dir() => {
                return Err(foreign(format!("its '{name}' is not a directory")));
            }
            LOCK => {}
            name::LOG | name::DATA => match first_entry(directory, &name)? {
                None => {}
                Some(Ok(())) => used = true,
                Some(Err(other)) => stranger = Some(format!("{name}/{other}")),
            },
            other if other.starts_with('.') || other == "lost+found" => {}
            _ => stranger = Some(name),
        }
    }
    match stranger.filter(|_| !used) {
        Some(name) => Err(foreign(format!("it holds other files, such as '{name}'"))),
        None => Ok(()),
    }
}

/// Whether a folder holds an entry of ours, or else a name that is none; `None` if it is as good as empty. Others have folders of such names, too.
fn first_entry(directory: &Path, folder: &str) -> Result<Option<Result<(), String>>, StoreError> {
    let failed = |cause| fault::io(directory, format!("list {folder}"), cause);
    let mut other = None;
    for entry in fs::read_dir(directory.join(folder)).map_err(failed)? {
        let file = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        let whole = file.split_once('#').map_or(&*file, |(whole, _)| whole);
        if name::parse(&format!("{folder}/{whole}")).is_some() {
            return Ok(Some(Ok(())));
        }
        if !file.starts_with('.') {
            other = Some(Err(file));
        }
    }
    Ok(other)
}

/// Makes the directory's own name durable; what is in it is synced as it is written.
pub(super) fn sync_parent(directory: &Path) -> Result<(), StoreError> {
    if cfg!(unix)
        && let Some(parent) = directory.parent()
    {
        let synced = File::open(parent).and_then(|parent| parent.sync_all());
        synced.map_err(|cause| fault::io(parent, "sync the directory", cause))?;
    }
    Ok(())
}

/// Removes what was being written, under names that `object_store` hides.
pub(super) fn remove_unfinished(directory: &Path) -> Result<(), StoreError> {
    for folder in [name::LOG, name::DATA] {
        let entries = match fs::read_dir(directory.join(folder)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|cause| fault::io(directory, format!("list {folder}"), cause))?,
        };
        for entry in entries.flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let is_ours =
                file.split_once('#').is_some_and(|(whole, _)| name::parse(&format!("{folder}/{whole}")).is_some());
            if is_ours {
                fs::remove_file(entry.path()).map_err(|cause| fault::io(directory, format!("remove {file}"), cause))?;
            }
        }
    }
    Ok(())
}

/// Removes both folders, unless others have put files there.
pub(super) fn remove_folders(directory: &Path) {
    for folder in [name::DATA, name::LOG] {
        let _ = fs::remove_dir(directory.join(folder));
    }
}
