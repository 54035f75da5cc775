//! What the coordinator hears, and what it wants done.

use crate::{
    checkpoint::{
        snapshot::{CheckpointCommit, SubtaskId, SubtaskSnapshot},
        source_alignment::Limit,
        stats::CheckpointStats,
        store::CommitStats,
    },
    element::{CheckpointBarrier, Watermark},
    id::{AlignmentGroup, CheckpointId},
};

/// How a job ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobEnd {
    /// The input ended, and everything is published.
    Finished,
    /// Stopped by the host behind a last checkpoint: the next start goes on from there.
    Stopped,
    /// Cancelled by the host.
    Cancelled,
}

/// What a subtask tells the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubtaskReport {
    /// It has frozen and prepared its part of a checkpoint.
    Acknowledged(CheckpointId, Box<SubtaskSnapshot>),
    /// It cannot take part in a checkpoint, and why.
    Declined(CheckpointId, String),
    /// Its two-phase sink has published everything up to a checkpoint.
    Published(CheckpointId),
    /// Its input has ended, and it has sent all that it led to.
    Finished,
    /// State that no checkpoint holds takes more of its heap than its share: the next checkpoint may come at once.
    HeapSpent,
    /// How far the slowest split is that it reads for an alignment group.
    SourceTime(AlignmentGroup, Watermark),
}

/// One request for a savepoint, as whoever passes it on counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SavepointTicket(pub u64);

/// What can happen to the coordinator.
#[derive(Clone, Debug)]
pub enum CoordinatorInput {
    /// Time has passed.
    Tick,
    /// A subtask of this attempt reports.
    Report(SubtaskId, SubtaskReport),
    /// The store has made a checkpoint durable.
    Committed(CheckpointId, CommitStats),
    /// The store could not take a checkpoint, for want of room as a rule, and has not changed.
    NotStored(CheckpointId, String),
    /// The host wants a last checkpoint, and no record behind it.
    Stop,
    /// The host wants the input to end.
    Drain,
    /// The host wants a checkpoint to write a savepoint from. Answered once: by [`CommitSavepoint`](CoordinatorEffect::CommitSavepoint) or
    /// [`SavepointFailed`](CoordinatorEffect::SavepointFailed), unless the attempt ends before.
    Savepoint(SavepointTicket),
}

/// What the coordinator wants done.
#[derive(Debug)]
pub enum CoordinatorEffect {
    /// Tell every source subtask.
    Trigger(CheckpointBarrier),
    /// Tell every source subtask to end its input.
    EndInput,
    /// Tell every subtask of this chain, the head of a loop, that the loop is empty for good.
    EndLoop(u32),
    /// Hand to the store; report with [`CoordinatorInput::Committed`].
    Commit(Box<CheckpointCommit>),
    /// As [`Commit`](Self::Commit); and pin the checkpoint before anything else is committed, and write these savepoints from it.
    CommitSavepoint(Box<CheckpointCommit>, Vec<SavepointTicket>),
    /// There will be no checkpoint for these savepoints, and why.
    SavepointFailed(Vec<SavepointTicket>, String),
    /// Tell the subtask that it names.
    Limit(Limit),
    /// Tell every subtask.
    Completed(CheckpointId),
    /// Tell every subtask.
    Aborted(CheckpointId),
    /// Remember.
    Record(Box<CheckpointStats>),
    /// The job is done.
    Done(JobEnd),
}

pub(super) type Effects = Vec<CoordinatorEffect>;
