//! Where completed checkpoints are kept.

use std::{fmt, io, sync::Arc};

use crate::{
    checkpoint::snapshot::{BlockKind, CheckpointCommit, CheckpointMetadata, StateAddress},
    error::BoxError,
    id::{Attempt, CheckpointId},
    key_group::{KeyGroup, KeyGroupRange},
    state::Values,
};

/// A choice of where state is kept. Opening it takes exclusive ownership of the place.
pub trait StateBackend: Send + Sync + 'static {
    /// Opens the place, or refuses to. Writes nothing that could not be mistaken for a place never used. May block on the disk.
    fn open(&self) -> Result<Box<dyn CheckpointStore>, StoreError>;

    /// The place, for messages: a directory, or "memory".
    fn place(&self) -> String;

    /// Whether checkpoints outlive the process.
    fn is_durable(&self) -> bool;

    /// How many bytes of the heap live state may take, for all subtasks together; `None`: all that it needs. With a limit the store gives a [look-up](CheckpointStore::lookup).
    fn heap_limit(&self) -> Option<u64> {
        None
    }
}

/// One job's checkpoints. Owned by one caller at a time, and called on a thread that may block.
///
/// # Contract
/// | call | promise |
/// |---|---|
/// | [`newest`](CheckpointStore::newest) | the newest checkpoint committed or gone back to, `None` only for a place never used; damage is an error, never an older checkpoint |
/// | [`highest`](CheckpointStore::highest) | never goes down |
/// | [`begin_attempt`](CheckpointStore::begin_attempt), [`begin_attempt_after`](CheckpointStore::begin_attempt_after) | a number greater than any before, durable on return |
/// | [`commit`](CheckpointStore::commit) | durable and whole on return; after an error unknown: drop the store, open it again and ask `newest`; with kind `NotStored` nothing has changed |
/// | [`reader`](CheckpointStore::reader) | shows the newest checkpoint; not used once the next has been committed |
/// | [`pin`](CheckpointStore::pin) | shows the checkpoint that is the newest now until it is dropped, whatever is committed: that checkpoint is kept beside the others for so long |
/// | [`retained`](CheckpointStore::retained) | the last `num_retained` committed, fewer after going back, and those pinned; each is whole or says what is not |
/// | [`go_back`](CheckpointStore::go_back) | the chosen one is the newest, durably, or nothing has changed; after an error with kind `Io` unknown, as after `commit` |
pub trait CheckpointStore: Send {
    /// The newest completed checkpoint.
    fn newest(&mut self) -> Result<Option<CheckpointMetadata>, StoreError>;

    /// Counts the attempt up. Commits of earlier attempts are refused from now on.
    fn begin_attempt(&mut self) -> Result<Attempt, StoreError> {
        self.begin_attempt_after(Attempt(0))
    }

    /// The same, to a number greater than `taken` as well: a job that comes from elsewhere may have had attempts that are not counted here.
    fn begin_attempt_after(&mut self, taken: Attempt) -> Result<Attempt, StoreError>;

    /// The highest number that a checkpoint was ever committed with: above the newest one's after going back. `None` only for a place never used.
    fn highest(&mut self) -> Result<Option<CheckpointId>, StoreError>;

    /// Makes a checkpoint the newest: blocks and metadata in one atomic, durable step. Refused with [`StoreErrorKind::Fenced`] if the commit's
    /// attempt is not the newest, or its number is not above the highest ever committed. Blocks of deltas at or below the newest
    /// checkpoint are stored already and skipped. In the same step all but the newest [`num_retained`](CheckpointCommit::num_retained) checkpoints go, with
    /// what they alone need, unless they are pinned.
    fn commit(&mut self, commit: &CheckpointCommit) -> Result<CommitStats, StoreError>;

    /// Reads the newest checkpoint's keyed state.
    fn reader(&mut self) -> Result<Arc<dyn StateReader>, StoreError>;

    /// Looks keys up in whatever checkpoint is the newest; `None` if the backend has no [heap limit](StateBackend::heap_limit).
    fn lookup(&mut self) -> Result<Option<Arc<dyn StateLookup>>, StoreError> {
        Ok(None)
    }

    /// Reads the keyed state of the checkpoint that is the newest now, for as long as the reader lives: what is committed meanwhile takes nothing of it. Several may
    /// live at once, on any thread. Once the store is dropped or deleted, or has gone back behind that checkpoint, reading may fail; it never shows another checkpoint.
    fn pin(&mut self) -> Result<Arc<dyn StateReader>, StoreError>;

    /// Every checkpoint that is kept, the oldest first. Reads all state of each to find out whether it is whole.
    fn retained(&mut self) -> Result<Vec<RetainedCheckpoint>, StoreError>;

    /// Makes `checkpoint` the newest, in one atomic, durable step, and returns it: newer ones go, whole or not. Their numbers stay used. Refused if it is not kept
    /// ([`StoreErrorKind::NotRetained`]) or not whole ([`StoreErrorKind::Damaged`]); nothing has changed then.
    fn go_back(&mut self, checkpoint: CheckpointId) -> Result<CheckpointMetadata, StoreError>;

    /// Deletes all that was stored, and gives up the place.
    fn delete(self: Box<Self>) -> Result<(), StoreError>;
}

/// Reads the keyed state of one checkpoint.
pub trait StateReader: Send + Sync {
    /// Calls `visit` with every block of `state` in `range`: group by group, in each group the oldest first, the full block (if any) before
    /// the changes. Fails if a block is missing, damaged, or `visit` fails.
    fn read(
        &self,
        state: &StateAddress,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError>;
}

/// Looks single keys up in the newest checkpoint, while others are committed: for state that is not all on the heap. When a commit has returned, what is found is at least as
/// new as it.
pub trait StateLookup: Send + Sync {
    /// Calls `visit` with each of `keys` that has a value: with its place among them, and the bytes of the value with what they are. `keys` grow, by group and then by the key's encoding.
    /// An error of `visit`'s is of kind [`Unreadable`](StoreErrorKind::Unreadable).
    fn get_many(
        &self,
        state: &StateAddress,
        keys: &[(KeyGroup, &[u8])],
        visit: &mut dyn FnMut(usize, Values, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError>;
}

/// A completed checkpoint that is kept.
#[derive(Debug)]
pub struct RetainedCheckpoint {
    /// Its number.
    pub checkpoint: CheckpointId,
    /// Its record if it is whole, or what is damaged.
    pub metadata: Result<CheckpointMetadata, StoreError>,
}

/// What a commit wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitStats {
    /// Bytes written for this checkpoint: blocks and metadata, those that fold older ones included.
    pub bytes: u64,
}

/// Why a store could not do as asked.
#[derive(Debug, thiserror::Error)]
pub struct StoreError {
    /// What sort of thing it is.
    pub kind: StoreErrorKind,
    /// What failed, where, and the way out.
    pub message: String,
    /// The error underneath.
    #[source]
    pub cause: Option<BoxError>,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What sort of thing a [`StoreError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Somebody else has the place open.
    InUse,
    /// What is stored is not whole.
    Damaged,
    /// What is stored is whole, and cannot be read as the type that it is to have.
    Unreadable,
    /// Written by a newer version.
    Newer,
    /// Written by an older version, in a format that is not read any more.
    Older,
    /// The checkpoint named is not kept.
    NotRetained,
    /// Not a place of this engine's, or of another job.
    Foreign,
    /// An older attempt, or an older checkpoint, tried to commit.
    Fenced,
    /// The disk, or what lies below, failed. What was being written may or may not be there.
    Io,
    /// A commit could not be stored, for want of room as a rule, and it is sure that nothing has changed. The store goes on.
    NotStored,
}

/// What lies below the store failed.
impl From<BoxError> for StoreError {
    fn from(cause: BoxError) -> Self {
        Self::new(StoreErrorKind::Io, "what lies below the store failed", Some(cause))
    }
}

impl StoreError {
    /// What failed before anything was written.
    pub fn before_writing(cause: BoxError) -> Self {
        let is_full = cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::StorageFull);
        if is_full {
            return Self::new(StoreErrorKind::NotStored, "there is no room", Some(cause));
        }
        cause.into()
    }

    /// An error with its way out.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>, cause: Option<BoxError>) -> Self {
        Self { kind, message: message.into(), cause }
    }

    /// Whether trying again would be refused again.
    pub fn is_refusal(&self) -> bool {
        !matches!(self.kind, StoreErrorKind::Io | StoreErrorKind::Fenced | StoreErrorKind::NotStored)
    }
}
