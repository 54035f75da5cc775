//! A savepoint's name: it appears when everything under it is durable, and never in place of another file.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::error::{Error, ErrorKind};

/// How many left-over names are tried past.
const TRIES: u32 = 10_000;

/// A file that is being written beside the name it will have. Dropped before it has that, it is removed.
#[derive(Debug)]
pub struct SavepointFile {
    path: PathBuf,
    partial: PathBuf,
    file: File,
}

impl SavepointFile {
    /// Makes an empty file beside `path`. Fails if there is something at `path` already, or nothing can be written there. Blocks.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, Error> {
        let failed = |path: &Path, cause| error(path, "cannot be written", cause);
        let path = std::path::absolute(path.as_ref()).map_err(|cause| failed(path.as_ref(), cause))?;
        refuse_taken(&path)?;
        let (partial, file) = create_beside(&path).map_err(|cause| failed(&path, cause))?;
        Ok(Self { path, partial, file })
    }

    /// The name that it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets `write` write the file, and makes that durable; not the name.
    pub(super) fn write<R>(&mut self, write: impl FnOnce(&mut dyn Write) -> Result<R, Error>) -> Result<R, Error> {
        let mut buffered = BufWriter::with_capacity(1 << 17, &self.file);
        let result = write(&mut buffered)?;
        let flushed = buffered.flush();
        drop(buffered);
        flushed.and_then(|()| self.file.sync_all()).map_err(|cause| self.failed(cause))?;
        Ok(result)
    }

    pub(super) fn failed(&self, cause: io::Error) -> Error {
        error(&self.path, "could not be written", cause)
    }

    /// Gives the file its name, durably.
    pub(super) fn publish(self) -> Result<(), Error> {
        // A link takes no other file's place. Where there are no links, somebody else's file may appear between the look and the renaming.
        match fs::hard_link(&self.partial, &self.path) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return Err(taken(&self.path)),
            Err(_) => {
                refuse_taken(&self.path)?;
                fs::rename(&self.partial, &self.path).map_err(|cause| self.failed(cause))?;
            }
        }
        sync_directory(&self.path).map_err(|cause| self.failed(cause))
    }
}

impl Drop for SavepointFile {
    fn drop(&mut self) {
        // It may have been renamed; and what cannot be removed is nobody's savepoint.
        let _ = fs::remove_file(&self.partial);
    }
}

/// The first name that no killed process has left: `NAME.<process>-<number>.partial`.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let process = std::process::id();
    for number in 0..TRIES {
        let mut beside = OsString::from(name);
        beside.push(format!(".{process}-{number}.partial"));
        let partial = path.with_file_name(beside);
        match OpenOptions::new().write(true).create_new(true).open(&partial) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (partial, file)),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{TRIES} files beside it end in '.partial': remove them")))
}

fn refuse_taken(path: &Path) -> Result<(), Error> {
    match path.symlink_metadata() {
        Ok(_) => Err(taken(path)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(error(path, "cannot be written", cause)),
    }
}

fn taken(path: &Path) -> Error {
    let message = format!("savepoint '{}': there is something of that name, which is not overwritten", path.display());
    Error::new(ErrorKind::Savepoint, message, None)
}

fn error(path: &Path, what: &str, cause: io::Error) -> Error {
    let message = format!("savepoint '{}' {what}", path.display());
    Error::new(ErrorKind::Savepoint, message, Some(Box::new(cause)))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        // Elsewhere a directory cannot be opened as a file.
        Some(directory) if cfg!(unix) => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}
