//! What is said when the place cannot be used: what failed, where, and the way out.

use std::{fmt::Display, io, ops::RangeInclusive, path::Path};

use cofferdam_engine::{
    BoxError, CheckpointId,
    checkpoint::store::{StoreError, StoreErrorKind},
};

/// Part of a checkpoint is not whole.
pub(super) fn damaged(place: &str, what: impl Display) -> StoreError {
    damaged_by(place, what, None)
}

/// What all checkpoints are found through is not whole.
pub(super) fn ruined(place: &str, what: impl Display, cause: Option<BoxError>) -> StoreError {
    damaged_by(place, format!("{what}, and no checkpoint in it can be gone back to without that"), cause)
}

/// Part of a checkpoint is not whole, as `cause` shows.
pub(super) fn damaged_by(place: &str, what: impl Display, cause: Option<BoxError>) -> StoreError {
    let message =
        format!("state in {place} is damaged: {what}; restore what is there from a copy, or delete it to start over");
    StoreError::new(StoreErrorKind::Damaged, message, cause)
}

/// Refuses a format that is not among the `known` ones.
pub(super) fn check_format(
    place: &str,
    what: impl Display,
    found: u64,
    known: RangeInclusive<u64>,
) -> Result<(), StoreError> {
    let (oldest, newest) = known.into_inner();
    let (kind, compared) = match found {
        _ if found > newest => (StoreErrorKind::Newer, "newer than this program"),
        _ if found < oldest => (StoreErrorKind::Older, "too old for this program"),
        _ => return Ok(()),
    };
    let message = format!(
        "state in {place} is {compared}: {what} has format {found}, and {oldest} to {newest} are read here; run the version that wrote it, or \
         delete what is there to start over"
    );
    Err(StoreError::new(kind, message, None))
}

/// The place is not ours, or is none.
pub(super) fn foreign(place: &str, what: impl Display) -> StoreError {
    foreign_by(place, what, None)
}

/// The place is not ours, or is none, as `cause` shows.
pub(super) fn foreign_by(place: &str, what: impl Display, cause: Option<BoxError>) -> StoreError {
    let message = format!("{place} cannot hold state: {what}; choose a place of its own");
    StoreError::new(StoreErrorKind::Foreign, message, cause)
}

/// A URI that names no place that can be reached from here.
pub(super) fn no_place(uri: &str, why: impl Display) -> StoreError {
    StoreError::new(StoreErrorKind::Foreign, format!("{uri} names no place for state: {why}"), None)
}

/// Nothing of ours is there.
pub(super) fn no_state(place: &str, why: impl Display) -> StoreError {
    StoreError::new(StoreErrorKind::Foreign, format!("{place} holds no state of Cofferdam's: {why}"), None)
}

/// The job did not let anybody look.
pub(super) fn restless(place: &str) -> StoreError {
    let message = format!("{place} was committed to each time while it was looked at; try again");
    StoreError::new(StoreErrorKind::Io, message, None)
}

/// The job has dropped `checkpoint` while it was read.
pub(super) fn dropped(place: &str, checkpoint: CheckpointId) -> StoreError {
    let message = format!(
        "{place} does not keep checkpoint {checkpoint} any more: a newer one has taken its place while it was read; look again, and should that \
         happen each time, let the job keep more checkpoints (`num_retained`) or take a savepoint"
    );
    StoreError::new(StoreErrorKind::NotRetained, message, None)
}

/// Another start took the place over.
pub(super) fn fenced(place: &str, what: impl Display) -> StoreError {
    let message = format!("{place} was taken over by another start: {what}; this one may write there no more");
    StoreError::new(StoreErrorKind::Fenced, message, None)
}

/// What lies below failed at `doing`.
pub(super) fn failed(place: &str, doing: impl Display, cause: object_store::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Io, format!("cannot {doing} in {place}"), Some(cause.into()))
}

/// What failed in `error`, and it is sure that nothing has changed.
pub(super) fn not_stored(error: StoreError) -> StoreError {
    let kind = if error.kind == StoreErrorKind::Io { StoreErrorKind::NotStored } else { error.kind };
    StoreError { kind, ..error }
}

/// The disk failed at `doing`.
pub(super) fn io(directory: &Path, doing: impl Display, cause: io::Error) -> StoreError {
    let message = format!("cannot {doing} in {}", directory.display());
    StoreError::new(StoreErrorKind::Io, message, Some(cause.into()))
}
