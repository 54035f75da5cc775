//! What is said when the directory cannot be used: what failed, where, and the way out.

use std::{fmt::Display, io, ops::RangeInclusive, path::Path};

use cofferdam_engine::{
    BoxError,
    checkpoint::store::{StoreError, StoreErrorKind},
};
use heed::MdbError;

/// Part of a checkpoint is not whole.
pub(super) fn damaged(directory: &Path, what: impl Display) -> StoreError {
    damaged_by(directory, what, None)
}

/// What all checkpoints are found through is not whole.
pub(super) fn ruined(directory: &Path, what: impl Display) -> StoreError {
    ruined_by(directory, what, None)
}

/// What all checkpoints are found through is not whole, as `cause` shows.
pub(super) fn ruined_by(directory: &Path, what: impl Display, cause: Option<BoxError>) -> StoreError {
    damaged_by(directory, format!("{what}, and no checkpoint in it can be gone back to without that"), cause)
}

/// Part of a checkpoint is not whole, as `cause` shows.
pub(super) fn damaged_by(directory: &Path, what: impl Display, cause: Option<BoxError>) -> StoreError {
    let directory = directory.display();
    let message = format!(
        "state in {directory} is damaged: {what}; restore the directory from a copy, or delete it to start over"
    );
    StoreError::new(StoreErrorKind::Damaged, message, cause)
}

/// Refuses a format that is not among the `known` ones.
pub(super) fn check_format(
    directory: &Path,
    what: impl Display,
    found: u64,
    known: RangeInclusive<u64>,
) -> Result<(), StoreError> {
    if found > *known.end() {
        Err(newer(directory, what, found, *known.end()))
    } else if found < *known.start() {
        Err(older(directory, what, found, *known.start()))
    } else {
        Ok(())
    }
}

/// Something was written by an older version of this crate, in a format that is gone.
pub(super) fn older(directory: &Path, what: impl Display, found: u64, oldest: u64) -> StoreError {
    let directory = directory.display();
    let message = format!(
        "state in {directory} is too old for this program: {what} has format {found}, and {oldest} is the oldest read here; \
         run the version that wrote it, or delete the directory to start over"
    );
    StoreError::new(StoreErrorKind::Older, message, None)
}

/// Something was written by a newer version of this crate.
pub(super) fn newer(directory: &Path, what: impl Display, found: u64, known: u64) -> StoreError {
    let directory = directory.display();
    let message = format!(
        "state in {directory} is newer than this program: {what} has format {found}, and {known} is the newest known here; \
         run the version that wrote it, or delete the directory to start over"
    );
    StoreError::new(StoreErrorKind::Newer, message, None)
}

/// There is nothing to look at.
pub(super) fn no_state(directory: &Path) -> StoreError {
    let message = format!("{} holds no state of Cofferdam's: there is no NOTE in it", directory.display());
    StoreError::new(StoreErrorKind::Foreign, message, None)
}

/// The job did not let anybody look.
pub(super) fn restless(directory: &Path) -> StoreError {
    let directory = directory.display();
    let message = format!("{directory} was committed to each time while it was looked at; try again");
    StoreError::new(StoreErrorKind::Io, message, None)
}

/// The directory is not ours.
pub(super) fn foreign(directory: &Path, what: impl Display) -> StoreError {
    let message = format!("{} cannot hold state: {what}; choose a directory of its own", directory.display());
    StoreError::new(StoreErrorKind::Foreign, message, None)
}

/// The disk failed at `doing`.
pub(super) fn io(directory: &Path, doing: impl Display, cause: io::Error) -> StoreError {
    let message = format!("cannot {doing} in {}", directory.display());
    StoreError::new(StoreErrorKind::Io, message, Some(cause.into()))
}

/// LMDB failed at a commit. A write that the disk cut short, as a full one does, it calls `EIO`.
pub(super) fn commit(directory: &Path, cause: heed::Error) -> StoreError {
    match &cause {
        heed::Error::Io(error) if cfg!(unix) && error.raw_os_error() == Some(EIO) => {
            lmdb(directory, "commit, perhaps for want of room,", cause)
        }
        _ => lmdb(directory, "commit", cause),
    }
}

const EIO: i32 = 5;

/// LMDB failed at `doing`.
pub(super) fn lmdb(directory: &Path, doing: impl Display, cause: heed::Error) -> StoreError {
    match cause {
        heed::Error::Io(cause) => io(directory, doing, cause),
        heed::Error::EnvAlreadyOpened => {
            let message = format!("{} is open already, in this process", directory.display());
            StoreError::new(StoreErrorKind::InUse, message, None)
        }
        heed::Error::Mdb(
            MdbError::PageNotFound
            | MdbError::Corrupted
            | MdbError::Invalid
            | MdbError::VersionMismatch
            | MdbError::Incompatible
            | MdbError::CursorFull
            | MdbError::NotFound,
        ) => ruined_by(directory, format!("LMDB could not {doing}"), Some(cause.into())),
        cause => {
            let message = format!("cannot {doing} in {}", directory.display());
            StoreError::new(StoreErrorKind::Io, message, Some(cause.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_engine::Error;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = || io::Error::other("no space left");
        let faults = [
            io(Path::new("state"), "write NOTE", cause()),
            lmdb(Path::new("state"), "commit", heed::Error::Io(cause())),
            lmdb(Path::new("state"), "commit", heed::Error::Mdb(MdbError::MapFull)),
            lmdb(Path::new("state"), "commit", heed::Error::Mdb(MdbError::Corrupted)),
        ];
        for fault in faults {
            let cause = fault.cause.as_ref().map(ToString::to_string).unwrap();
            let told = Error::from(fault).to_string();
            assert_eq!(told.matches(&cause).count(), 1, "{told}");
        }
    }
}
