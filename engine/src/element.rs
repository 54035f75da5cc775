//! What flows through a channel.

use std::collections::VecDeque;

use crate::{
    id::{Attempt, CheckpointId, ProcessingTime},
    mutation::{self, Mutation},
    record::Batch,
};

/// One element of a stream. On every channel elements follow the grammar
///
/// ```text
/// (Batch | Barrier)* (EndOfInput Barrier*)?
/// ```
///
/// with growing checkpoint numbers in the barriers. A channel is FIFO, and nothing but elements can reach a subtask's data:
/// that is what makes a barrier mean "all before me, nothing after me". A barrier that [overtakes](overtake) takes along copies of what it left behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StreamElement<B: InFlight = Box<dyn Batch>> {
    /// Records.
    Batch(B),
    /// The line between the records of two checkpoints. Beside it, copies of the batches in front of it that it has overtaken, and that will follow.
    Barrier(CheckpointBarrier, Vec<B::Copy>),
    /// No record will follow. Barriers may.
    EndOfInput,
}

impl<B: InFlight> StreamElement<B> {
    /// A barrier that has overtaken nothing.
    pub fn barrier(barrier: CheckpointBarrier) -> Self {
        Self::Barrier(barrier, Vec::new())
    }
}

/// Separates what belongs to a checkpoint from what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CheckpointBarrier {
    /// The checkpoint it is a line of.
    pub checkpoint: CheckpointId,
    /// The attempt that sent it.
    pub attempt: Attempt,
    /// When the coordinator triggered it.
    pub triggered: ProcessingTime,
    /// From when on it overtakes the records in front of it; `None`: never.
    pub overtakes: Option<ProcessingTime>,
    /// The job is being stopped: no record follows.
    pub halt: bool,
}

impl CheckpointBarrier {
    /// Whether it may overtake now.
    pub fn is_due(&self, now: ProcessingTime) -> bool {
        self.overtakes.is_some_and(|time| time <= now)
    }
}

/// Records that can become part of a checkpoint while they are on their way.
pub trait InFlight {
    /// What is stored of them.
    type Copy: Clone + std::fmt::Debug + PartialEq + Eq + std::hash::Hash;

    /// Copies them. Fails only if a user's `Serialize` does.
    fn copy(&self) -> Result<Self::Copy, crate::error::BoxError>;

    /// How many records.
    fn records(&self) -> u64;
}

impl InFlight for Box<dyn Batch> {
    type Copy = Vec<u8>;

    fn copy(&self) -> Result<Vec<u8>, crate::error::BoxError> {
        self.as_ref().encode().map_err(|error| format!("a record in flight cannot be encoded: {error}").into())
    }

    fn records(&self) -> u64 {
        self.as_ref().len() as u64
    }
}

/// Whether a barrier or an end is in a queue.
pub fn has_line<B: InFlight>(queue: &VecDeque<StreamElement<B>>) -> bool {
    queue.iter().any(|element| !matches!(element, StreamElement::Batch(_)))
}

/// Takes the first barrier of a queue that may overtake now, with copies of the batches in front of it. They stay where they are. Whatever becomes of the
/// clock, a barrier that has overtaken goes on overtaking. An older barrier that it passes goes: its checkpoint can no longer be completed.
pub fn overtake<B: InFlight>(
    queue: &mut VecDeque<StreamElement<B>>,
    now: ProcessingTime,
) -> Result<Option<(CheckpointBarrier, Vec<B::Copy>)>, crate::error::BoxError> {
    let is_due =
        |element: &StreamElement<B>| matches!(element, StreamElement::Barrier(barrier, _) if barrier.is_due(now));
    let Some(place) = queue.iter().position(is_due) else { return Ok(None) };
    let mut copies = Vec::new();
    for element in queue.iter().take(place) {
        if let StreamElement::Batch(batch) = element
            && !mutation::is(Mutation::OvertakenNotCopied)
        {
            copies.push(batch.copy()?);
        }
    }
    let Some(StreamElement::Barrier(mut barrier, behind)) = queue.remove(place) else { return Ok(None) };
    barrier.overtakes = Some(ProcessingTime::default());
    let mut left = place;
    queue.retain(|element| {
        let is_passed = left > 0 && matches!(element, StreamElement::Barrier(..));
        left = left.saturating_sub(1);
        !is_passed
    });
    copies.extend(behind);
    Ok(Some((barrier, copies)))
}

/// When the first barrier of a queue that ever overtakes may do so.
pub fn overtakes_at<B: InFlight>(queue: &VecDeque<StreamElement<B>>) -> Option<ProcessingTime> {
    queue.iter().find_map(|element| match element {
        StreamElement::Barrier(barrier, _) => barrier.overtakes,
        _ => None,
    })
}
