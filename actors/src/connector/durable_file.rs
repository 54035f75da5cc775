//! Files that are still there, and whole, after the power failed.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use cofferdam_engine::BoxError;

use super::failure::AtPath;

/// Makes the names in a directory durable: a synced file whose name is lost is lost.
pub(super) fn sync_dir(dir: &Path) -> Result<(), BoxError> {
    // Elsewhere a directory cannot be opened as a file, and a rename is durable by itself or not at all.
    if cfg!(unix) {
        File::open(dir).and_then(|dir| dir.sync_all()).at("sync directory", dir)?;
    }
    Ok(())
}

/// Creates a directory and those above it that are missing, durably.
pub(super) fn create_dir_durably(dir: &Path) -> Result<(), BoxError> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = parent(dir) {
        create_dir_durably(parent)?;
    }
    match fs::create_dir(dir) {
        // Another subtask or sink was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        result => result.at("create directory", dir)?,
    }
    parent(dir).map_or(Ok(()), sync_dir)
}

/// Replaces a file's content: afterwards, and after a crash, it holds the old content or the new one, never a part.
pub(super) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), BoxError> {
    let temporary = write_beside(path, content)?;
    fs::rename(&temporary, path).at("put in place", path)?;
    parent(path).map_or(Ok(()), sync_dir)
}

/// Creates a file with its content, whole or not at all; `false` if there is one already. Of several that try at once one succeeds.
pub(super) fn create_atomically(path: &Path, content: &[u8]) -> Result<bool, BoxError> {
    let temporary = write_beside(path, content)?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).at("remove", &temporary)?;
    let created = match linked {
        // Not every file system has links: there, what a crash cuts off is seen to be damaged.
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
            File::create_new(path).and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        }
        linked => linked,
    };
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        created => created.at("create", path)?,
    }
    parent(path).map_or(Ok(()), sync_dir)?;
    Ok(true)
}

/// Writes to a name that nobody else uses, durably but for the name.
fn write_beside(path: &Path, content: &[u8]) -> Result<PathBuf, BoxError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{:016x}.tmp", getrandom::u64()?));
    let temporary = PathBuf::from(temporary);
    let mut file = File::create_new(&temporary).at("create", &temporary)?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).at("write", &temporary);
    if written.is_err() {
        // On a full disk every byte helps. What could not be written may be impossible to remove too.
        let _ = fs::remove_file(&temporary);
    }
    written.map(|()| temporary)
}

/// The directory a path is in. That of a bare name is the current one, which `Path` writes as nothing at all.
fn parent(path: &Path) -> Option<&Path> {
    path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_directories_are_created_all_the_way_down() {
        let temp = tempfile::tempdir().unwrap();
        let deep = temp.path().join("a/b/c");
        create_dir_durably(&deep).unwrap();
        create_dir_durably(&deep).unwrap();
        assert!(deep.is_dir());
    }

    #[test]
    fn a_file_in_the_way_of_a_directory_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = create_dir_durably(&file).unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
    }

    #[test]
    fn an_atomic_write_replaces_what_was_there_and_leaves_nothing_beside_it() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("owner");
        write_atomically(&path, b"first").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_many_that_create_a_file_at_once_one_does_and_it_is_whole() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("owner");
        let create = |i: usize| create_atomically(&path, format!("{i}").repeat(1000).as_bytes()).unwrap();
        let created: Vec<bool> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || create(i))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(created.iter().filter(|created| **created).count(), 1);
        let winner = created.iter().position(|created| *created).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), winner.to_string().repeat(1000));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
