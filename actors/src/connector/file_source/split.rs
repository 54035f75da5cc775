//! Which files a source reads, found once and checked ever after.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use cofferdam_engine::BoxError;
use serde::{Deserialize, Serialize};

use crate::connector::failure::{AtPath, failure};

/// One file of a [`FileSource`](super::FileSource), as it was when the job first started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSplit {
    /// As a checkpoint can hold it on every system: hence no `PathBuf`.
    pub(super) path: String,
    /// Bytes on disk, compressed if it is.
    pub(super) size: u64,
    pub(super) gzip: bool,
    /// Drawn at random when the file was found: no other split, of this job or of any other, has the same.
    pub(super) token: u64,
}

impl FileSplit {
    pub(super) fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    /// Its one spelling without symbolic links, to find out whether two splits are of one file.
    pub fn canonical_path(&self) -> PathBuf {
        fs::canonicalize(&self.path).unwrap_or_else(|_| self.path().to_owned())
    }

    fn new(path: &Path) -> Result<Self, BoxError> {
        // The job may be started again from another directory.
        let path = &std::path::absolute(path).at("find", path)?;
        let size = fs::metadata(path).at("look at", path)?.len();
        let gzip = is_gzip(path).at("read", path)?;
        let path = path.to_str().ok_or_else(|| not_unicode(path))?.to_owned();
        Ok(Self { path, size, gzip, token: getrandom::u64()? })
    }

    /// An error if the file can no longer give what it once gave.
    pub(super) fn check(&self) -> Result<(), BoxError> {
        let size = match fs::metadata(self.path()) {
            Ok(metadata) if !metadata.is_file() => return Err(not_regular(self.path())),
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!("file '{}' was there when the job first started, and has vanished", self.path);
                return Err(failure(message, error));
            }
            Err(error) => return Err(error).at("look at", self.path()),
        };
        if size < self.size {
            let Self { path, size: then, .. } = self;
            let message =
                format!("file '{path}' had {then} bytes when the job first started, and has shrunk to {size}");
            return Err(message.into());
        }
        Ok(())
    }
}

/// The files that a pattern names, sorted by path.
pub(super) fn find(pattern: &Path) -> Result<Vec<FileSplit>, BoxError> {
    let mut paths = paths(pattern)?;
    if paths.is_empty() {
        return Err(format!("no file matches '{}'", pattern.display()).into());
    }
    paths.sort();
    paths.iter().map(|path| FileSplit::new(path)).collect()
}

fn paths(pattern: &Path) -> Result<Vec<PathBuf>, BoxError> {
    // A name may hold characters that mean something in a glob; a file of exactly that name is meant.
    if pattern.is_dir() {
        let pattern = pattern.display();
        return Err(format!("'{pattern}' is a directory: name its files, as in '{pattern}/*'").into());
    }
    if pattern.is_file() {
        return Ok(vec![pattern.to_owned()]);
    }
    if pattern.exists() {
        return Err(not_regular(pattern));
    }
    let glob = pattern.to_str().ok_or_else(|| not_unicode(pattern))?;
    let matches = glob::glob(glob).map_err(|cause| failure(format!("'{glob}' is not a valid glob"), cause))?;
    let mut paths = Vec::new();
    for path in matches {
        let path = path.map_err(|cause| failure(format!("cannot list what matches '{glob}'"), cause))?;
        if path.is_file() {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn is_gzip(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(2).read_to_end(&mut start)?;
    Ok(start == [0x1f, 0x8b])
}

/// A pipe or a device: what was read from it cannot be read again.
fn not_regular(path: &Path) -> BoxError {
    format!("'{}' is not a regular file: it could not be read a second time after a failure", path.display()).into()
}

fn not_unicode(path: &Path) -> BoxError {
    format!("the name of file '{}' is not Unicode, and cannot be kept in a checkpoint: rename it", path.display())
        .into()
}
