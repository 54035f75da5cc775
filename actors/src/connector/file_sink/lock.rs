//! The one running job that publishes into a directory: a copy of its state bears the same job id, and the owner file lets it in.
//!
//! Advisory locks of the operating system, one for each operator, so that they go with the process that holds them, however that ends.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use cofferdam_engine::BoxError;
use parking_lot::Mutex;

use super::directory::Directory;
use crate::connector::{failure::AtPath, file_name};

/// A job that has ended in this process gives up its sinks a moment after it said so.
const PATIENCE: Duration = Duration::from_secs(1);

/// The locks that a sink holds, by operator. Held until the sink is dropped, over all attempts.
#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<BTreeMap<String, Lock>>);

#[derive(Debug)]
struct Lock {
    file: File,
    path: PathBuf,
}

impl Locks {
    /// Takes the operator's lock unless it is held already. The directory must be there.
    pub(super) fn acquire(&self, directory: &Directory, operator: &str) -> Result<(), BoxError> {
        let mut locks = self.0.lock();
        // If the directory was taken away and made anew, the lock is on a file without a name and keeps nobody out.
        if locks.get(operator).is_some_and(Lock::is_in_place) {
            return Ok(());
        }
        let lock = Lock::acquire(directory, operator)?;
        locks.insert(operator.to_owned(), lock);
        Ok(())
    }
}

impl Lock {
    fn acquire(directory: &Directory, operator: &str) -> Result<Self, BoxError> {
        let path = directory.lock(&file_name::part(operator));
        let begun = Instant::now();
        loop {
            let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = open.at("open", &path)?;
            match file.try_lock() {
                Ok(()) => {
                    let lock = Self { file, path: path.clone() };
                    if lock.is_in_place() {
                        return Ok(lock);
                    }
                }
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::WouldBlock) => return Err(held(directory, operator, &path)),
                Err(TryLockError::Error(cause)) if cause.kind() == io::ErrorKind::Unsupported => {
                    log::warn!("'{}' cannot be locked: nothing keeps a copy of this job's state out", path.display());
                    return Ok(Self { file, path });
                }
                Err(TryLockError::Error(cause)) => return Err(cause).at("lock", &path),
            }
        }
    }

    /// Whether the file that is locked is the one that others would lock.
    fn is_in_place(&self) -> bool {
        is_same(&self.file, &self.path).unwrap_or(false)
    }
}

impl Drop for Lock {
    /// Closing is not enough: a child that the process has forked may hold the descriptor, too.
    fn drop(&mut self) {
        if let Err(cause) = self.file.unlock() {
            log::debug!("cannot unlock '{}': {cause}", self.path.display());
        }
    }
}

fn held(directory: &Directory, operator: &str, path: &Path) -> BoxError {
    format!(
        "another running job holds directory '{directory}' for sink '{operator}' (its lock is on '{}'): two jobs that go on from \
         copies of one state would publish the same rows twice. Stop the other, or give this one its own state and directory",
        path.display()
    )
    .into()
}

#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let (open, named) = (file.metadata()?, fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
}

/// Where an open file cannot be deleted.
#[cfg(not(unix))]
fn is_same(_file: &File, path: &Path) -> io::Result<bool> {
    fs::exists(path)
}
