//! What flows through a channel.

use crate::{
    id::{Attempt, CheckpointId},
    record::Batch,
};

/// One element of a stream. On every channel elements follow the grammar
///
/// ```text
/// (Batch | Barrier)* (EndOfInput Barrier*)?
/// ```
///
/// with growing checkpoint numbers in the barriers. A channel is FIFO, and nothing but elements can reach a subtask's data:
/// that is what makes a barrier mean "all before me, nothing after me".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StreamElement<B = Box<dyn Batch>> {
    /// Records.
    Batch(B),
    /// The line between the records of two checkpoints.
    Barrier(CheckpointBarrier),
    /// No record will follow. Barriers may.
    EndOfInput,
}

/// Separates what belongs to a checkpoint from what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CheckpointBarrier {
    /// The checkpoint it is a line of.
    pub checkpoint: CheckpointId,
    /// The attempt that sent it.
    pub attempt: Attempt,
    /// The job is being stopped: no record follows.
    pub halt: bool,
}
