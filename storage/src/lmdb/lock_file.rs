//! `LOCK`: whoever holds it owns the directory.
//!
//! An advisory lock of the operating system, so that it goes with the process that holds it, however that ends. The file's
//! content is the holder's process id, for the message of whoever comes second.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use cofferdam_engine::checkpoint::store::{StoreError, StoreErrorKind};

use super::{directory, fault};

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Takes the lock, or says who has it.
    pub(crate) fn acquire(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(directory::LOCK);
        loop {
            let file = open(&path).map_err(|cause| fault::io(directory, "open LOCK", cause))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(in_use(directory, &path)),
                Err(TryLockError::Error(cause)) => return Err(fault::io(directory, "lock LOCK", cause)),
            }
            // Whoever deleted the state took the file away: a lock on what has no name keeps nobody out.
            if is_same(&file, &path) {
                let mut lock = Self { file, path };
                lock.write_holder().map_err(|cause| fault::io(directory, "write LOCK", cause))?;
                return Ok(lock);
            }
        }
    }

    fn write_holder(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        writeln!(self.file, "{}", std::process::id())
    }

    /// Takes the file away while still holding it, so that nobody locks one that is about to go.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

impl Drop for LockFile {
    /// Closing is not enough: a child that the host has just forked holds the descriptor, too, until it has started its program.
    fn drop(&mut self) {
        if let Err(cause) = self.file.unlock() {
            log::warn!("cannot unlock {}: {cause}", self.path.display());
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn in_use(directory: &Path, path: &Path) -> StoreError {
    let holder = fs::read_to_string(path).unwrap_or_default();
    let holder = match holder.trim() {
        "" => "a process".to_owned(),
        own if own == std::process::id().to_string() => format!("this process ({own})"),
        other => format!("process {other}"),
    };
    let message = format!(
        "{} is open already: {holder} holds its LOCK; stop that job first, or choose another directory",
        directory.display()
    );
    StoreError::new(StoreErrorKind::InUse, message, None)
}

#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

/// Elsewhere a file that is open cannot be removed.
#[cfg(not(unix))]
fn is_same(_file: &File, _path: &Path) -> bool {
    true
}
