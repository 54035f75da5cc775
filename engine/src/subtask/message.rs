//! What a subtask is told, and what it wants done.

use std::time::Duration;

use crate::{
    checkpoint::coordinator::SubtaskReport,
    element::{CheckpointBarrier, Copied, StreamElement},
    error::BoxError,
    id::{AlignmentGroup, ChannelIndex, CheckpointId},
    operator::PreCommit,
    output::Commit,
    request::{Request, RequestId},
    time::Timestamp,
};

/// What can happen to a subtask.
#[derive(Debug)]
pub enum SubtaskInput {
    /// An element came off a channel.
    Element(ChannelIndex, StreamElement),
    /// A barrier has [overtaken](crate::element::overtake) what is in its channel, with copies of it.
    Overtaken(ChannelIndex, CheckpointBarrier, Vec<Copied<Vec<u8>>>),
    /// The subtask may go on with what it has.
    Resume,
    /// A message of the coordinator's.
    Control(Control),
    /// Something asked for by an effect has returned.
    Completion(Completion),
}

/// What the coordinator tells subtasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// Sources: begin a checkpoint.
    Trigger(CheckpointBarrier),
    /// Sources: the input ends here.
    EndInput,
    /// Heads of loops: nothing will come round any more.
    EndLoop,
    /// Sources of an alignment group: how far the slowest of the others is.
    Limit(AlignmentGroup, Timestamp),
    /// The checkpoint is durable.
    Completed(CheckpointId),
    /// The checkpoint will not be.
    Aborted(CheckpointId),
}

/// What an asynchronous effect came to.
#[derive(Debug)]
pub enum Completion {
    /// [`SubtaskEffect::PreCommit`].
    PreCommitted {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// What was prepared.
        result: Result<Option<Vec<u8>>, BoxError>,
        /// What it took.
        took: Duration,
    },
    /// [`SubtaskEffect::Publish`].
    Published {
        /// Up to where.
        checkpoint: CheckpointId,
        /// Whether it worked.
        result: Result<(), BoxError>,
    },
    /// The future of [`SubtaskEffect::Ask`] is done.
    Answered(RequestId),
}

/// What a subtask wants done.
pub enum SubtaskEffect {
    /// Run this where it may block; report with [`Completion::PreCommitted`].
    PreCommit(CheckpointId, PreCommit),
    /// Run this where it may block, after this pause; report with [`Completion::Published`].
    Publish(CheckpointId, Commit, Duration),
    /// Poll this, beside others; report with [`Completion::Answered`] when it is ready. Drop it when the attempt is over.
    Ask(RequestId, Request),
    /// Drop the future of this request, if it is not ready: nobody waits for it any more.
    Forget(RequestId),
    /// Tell the coordinator.
    Report(SubtaskReport),
}

pub(super) type Effects = Vec<SubtaskEffect>;
