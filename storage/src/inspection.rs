//! A look at a place from outside: of a job that runs, or of none.

use std::time::SystemTime;

use cofferdam_engine::{Attempt, CheckpointId, JobId, checkpoint::store::StoreError, state::StoredCheckpoint};

use crate::plan::{self, Standing};

/// Checkpoints in a place, as they were when [`Lmdb::inspect`](crate::Lmdb::inspect) or [`FileSystem::inspect`](crate::FileSystem::inspect) looked.
///
/// A job may have the place open, in another process. It is not kept from anything: of LMDB's file it uses no page again as long as this lives, and what files or objects a commit makes superfluous go. So this is to be
/// dropped soon.
pub struct Inspection {
    pub(crate) found: Found,
    pub(crate) look: Box<dyn Look>,
}

/// What was seen at once.
pub(crate) struct Found {
    pub(crate) place: String,
    pub(crate) standing: Standing,
    pub(crate) last_commit: SystemTime,
    pub(crate) length: u64,
    pub(crate) checkpoints: Vec<CheckpointId>,
}

/// What is read when it is asked for. `checkpoint` is one that was found.
pub(crate) trait Look: Send + Sync {
    fn checkpoint(&self, checkpoint: CheckpointId) -> Result<StoredCheckpoint, StoreError>;
    fn stored_bytes(&self, checkpoint: CheckpointId) -> Result<u64, StoreError>;
}

impl Inspection {
    /// What was looked at: a directory, without links, or a URI.
    pub fn place(&self) -> &str {
        &self.found.place
    }

    /// Whose it is; `None` before checkpoint 0.
    pub fn job(&self) -> Option<JobId> {
        self.found.standing.newest.map(|(job, _)| job)
    }

    /// The newest attempt.
    pub fn attempt(&self) -> Attempt {
        self.found.standing.attempt
    }

    /// The highest number that a checkpoint ever had.
    pub fn highest(&self) -> Option<CheckpointId> {
        self.found.standing.highest
    }

    /// When something was last committed: the newest checkpoint, or a start since.
    pub fn last_commit(&self) -> SystemTime {
        self.found.last_commit
    }

    /// What the place takes up, in bytes: `data.mdb`, or all files or objects.
    pub fn length(&self) -> u64 {
        self.found.length
    }

    /// The checkpoints that are kept, the oldest first.
    pub fn checkpoints(&self) -> Vec<CheckpointId> {
        self.found.checkpoints.clone()
    }

    /// One of them. An error if it is not kept, or its record or an index is damaged; whether its state is whole shows when that is read. Of files or objects the job may have deleted what is read, here or later:
    /// then the error is of kind [`NotRetained`](cofferdam_engine::checkpoint::store::StoreErrorKind::NotRetained), and another look finds newer checkpoints. In a local directory that does not happen to a checkpoint
    /// once it was returned, if it has no more than some hundred files.
    pub fn checkpoint(&self, checkpoint: CheckpointId) -> Result<StoredCheckpoint, StoreError> {
        self.check(checkpoint)?;
        self.look.checkpoint(checkpoint)
    }

    /// How many bytes a checkpoint has stored, those that it shares with others included. Looks at no value.
    pub fn stored_bytes(&self, checkpoint: CheckpointId) -> Result<u64, StoreError> {
        self.check(checkpoint)?;
        self.look.stored_bytes(checkpoint)
    }

    fn check(&self, checkpoint: CheckpointId) -> Result<(), StoreError> {
        match self.found.checkpoints.contains(&checkpoint) {
            true => Ok(()),
            false => Err(plan::not_retained(self.place(), checkpoint, self.found.checkpoints.iter().copied())),
        }
    }
}
