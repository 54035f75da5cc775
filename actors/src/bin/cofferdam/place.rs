//! Which checkpoint of which directory, URI or file.

use std::path::{Path, PathBuf};

#[cfg(feature = "filesystem")]
use cofferdam::prelude::FileSystem;
use cofferdam::{
    Inspection, Savepoint, StoredCheckpoint,
    prelude::{CheckpointId, Lmdb},
};
use cofferdam_engine::checkpoint::store::{CheckpointStore, StateBackend as _};

use crate::failure::{Failure, Kind};

/// How often the newest checkpoint is looked for again that a job drops while it is read.
const TRIES: u32 = 10;

/// Where a job keeps its state.
pub enum Place {
    Lmdb(PathBuf),
    #[cfg(feature = "filesystem")]
    Files(FileSystem),
}

impl Place {
    /// What a path or a URI names. Of which kind a directory is shows in what it holds.
    #[cfg(feature = "filesystem")]
    pub fn named(named: &Path) -> Result<Self, Failure> {
        refuse_file(named)?;
        let files = match named.to_str() {
            Some(uri) => FileSystem::uri(uri).map_err(|error| Failure::new(Kind::Usage, error))?,
            None => FileSystem::at(named),
        };
        Ok(match files.path().filter(|path| !holds_files(path)).map(Path::to_owned) {
            Some(path) => Self::Lmdb(path),
            None => Self::Files(files),
        })
    }

    /// What a path names.
    #[cfg(not(feature = "filesystem"))]
    pub fn named(named: &Path) -> Result<Self, Failure> {
        refuse_file(named)?;
        Ok(Self::Lmdb(named.to_owned()))
    }

    pub fn inspect(&self) -> Result<Inspection, Failure> {
        match self {
            Self::Lmdb(path) => Ok(Lmdb::at(path).inspect()?),
            #[cfg(feature = "filesystem")]
            Self::Files(files) => Ok(files.inspect()?),
        }
    }

    pub fn backend(&self) -> &'static str {
        match self {
            Self::Lmdb(_) => "lmdb",
            #[cfg(feature = "filesystem")]
            Self::Files(_) => "filesystem",
        }
    }

    /// Whether a running job keeps others out: it holds a lock on a local disk.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Lmdb(_) => true,
            #[cfg(feature = "filesystem")]
            Self::Files(files) => files.path().is_some(),
        }
    }

    /// Takes the place over, as a start does.
    pub fn open(&self) -> Result<Box<dyn CheckpointStore>, Failure> {
        match self {
            Self::Lmdb(path) => Ok(Lmdb::at(path).open()?),
            #[cfg(feature = "filesystem")]
            Self::Files(files) => Ok(files.open()?),
        }
    }

    /// Deletes a checkpoint that is kept beside the newest; a start, too.
    pub fn delete_checkpoint(&self, number: CheckpointId) -> Result<(), Failure> {
        match self {
            Self::Lmdb(path) => Ok(Lmdb::at(path).delete_checkpoint(number)?),
            #[cfg(feature = "filesystem")]
            Self::Files(files) => Ok(files.delete_checkpoint(number)?),
        }
    }
}

/// Whether a directory is one of `FileSystem`, as far as its names say.
#[cfg(feature = "filesystem")]
fn holds_files(directory: &Path) -> bool {
    let has_lmdb = ["NOTE", "data.mdb"].iter().any(|name| directory.join(name).exists());
    !has_lmdb && ["log", "data"].iter().any(|name| directory.join(name).is_dir())
}

fn refuse_file(named: &Path) -> Result<(), Failure> {
    let what = "is a file, and no state directory: see `savepoint`";
    if named.is_file() { Err(Failure::not_found(format!("{} {what}", named.display()))) } else { Ok(()) }
}

/// Looks at a checkpoint of a directory or URI, the newest unless another is named, or at a savepoint's. If the job has dropped the newest before `look` was through, `look` is given the newer one.
pub fn look<R>(
    named: &Path,
    number: Option<u64>,
    mut look: impl FnMut(StoredCheckpoint) -> Result<R, Failure>,
) -> Result<R, Failure> {
    again(number, || look(checkpoint(named, number)?))
}

/// Tries again as long as what was to be seen goes, unless it was one in particular.
pub fn again<R>(number: Option<u64>, mut look: impl FnMut() -> Result<R, Failure>) -> Result<R, Failure> {
    for _ in 1..TRIES {
        match look() {
            Err(failure) if failure.kind == Kind::Dropped && number.is_none() => {}
            looked => return looked,
        }
    }
    look()
}

fn checkpoint(named: &Path, number: Option<u64>) -> Result<StoredCheckpoint, Failure> {
    if !named.is_file() {
        return kept(&Place::named(named)?.inspect()?, number);
    }
    match number {
        None => Ok(Savepoint::open(named)?.into()),
        Some(_) => {
            let what = "is a file: a savepoint has one checkpoint; leave out --checkpoint";
            Err(Failure::new(Kind::Usage, format!("{} {what}", named.display())))
        }
    }
}

/// A checkpoint that a place keeps, the newest unless another is named.
pub fn kept(inspection: &Inspection, number: Option<u64>) -> Result<StoredCheckpoint, Failure> {
    let newest = || inspection.checkpoints().last().copied();
    let number = number.map(CheckpointId).or_else(newest);
    let none = || Failure::not_found(format!("{} holds no checkpoint yet", inspection.place()));
    Ok(inspection.checkpoint(number.ok_or_else(none)?)?)
}
