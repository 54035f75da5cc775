//! Which checkpoint of which directory or file.

use std::path::Path;

use cofferdam::{Inspection, Savepoint, StoredCheckpoint, prelude::*};

use crate::Failure;

/// Looks at a state directory. LMDB's is the one kind that there is.
pub fn inspect(directory: &Path) -> Result<Inspection, Failure> {
    Ok(Lmdb::at(directory).inspect()?)
}

/// A checkpoint of a directory, the newest unless another is named; or a savepoint's.
pub fn checkpoint(place: &Path, number: Option<u64>) -> Result<StoredCheckpoint, Failure> {
    if !place.is_file() {
        return kept(&inspect(place)?, number);
    }
    match number {
        None => Ok(Savepoint::open(place)?.into()),
        Some(_) => {
            Err(format!("{} is a file: a savepoint has one checkpoint; leave out --checkpoint", place.display()).into())
        }
    }
}

/// A checkpoint that a directory keeps, the newest unless another is named.
pub fn kept(inspection: &Inspection, number: Option<u64>) -> Result<StoredCheckpoint, Failure> {
    let newest = || inspection.checkpoints().last().copied();
    let number = number.map(CheckpointId).or_else(newest);
    let number = number.ok_or_else(|| format!("{} holds no checkpoint yet", inspection.directory().display()))?;
    Ok(inspection.checkpoint(number)?)
}
