//! What flows through a channel.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    error::BoxError,
    id::{Attempt, CheckpointId, ProcessingTime},
    mutation::{self, Mutation},
    record::Batch,
    time::Timestamp,
};

/// One element of a stream. On every channel elements follow the grammar
///
/// ```text
/// (Batch | Watermark | Barrier)* (EndOfInput Barrier*)?
/// ```
///
/// with growing checkpoint numbers in the barriers, and times in the watermarks that never fall. A channel is FIFO, and nothing but elements can reach a subtask's data:
/// that is what makes a barrier mean "all before me, nothing after me". A barrier that [overtakes](overtake) takes along copies of what it left behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StreamElement<B: InFlight = Box<dyn Batch>> {
    /// Records.
    Batch(B),
    /// What the channel says of time from here on: it replaces what was said before.
    Watermark(Watermark),
    /// The line between the records of two checkpoints. Beside it, copies of what was in front of it, was overtaken, and will follow.
    Barrier(CheckpointBarrier, Vec<Copied<B::Copy>>),
    /// No record will follow. Barriers may.
    EndOfInput,
}

impl<B: InFlight> StreamElement<B> {
    /// A barrier that has overtaken nothing.
    pub fn barrier(barrier: CheckpointBarrier) -> Self {
        Self::Barrier(barrier, Vec::new())
    }
}

/// How far event time has come. A state, not an event: said twice it means what it meant once, and of two in a row the first may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Watermark {
    /// No record behind it is earlier, but for late ones.
    pub time: Timestamp,
    /// Nothing comes for now, and time should not wait for it. A record ends that.
    pub is_idle: bool,
}

/// What the encoding of a watermark in flight begins with: MessagePack, and so every batch, never does.
const MARK: u8 = 0xc1;

impl Watermark {
    /// What holds of a channel on which nothing was said.
    pub const NONE: Self = Self { time: Timestamp::MIN, is_idle: false };
    /// What the end of the input means.
    pub const END: Self = Self { time: Timestamp::MAX, is_idle: false };

    /// What two in a row say, this one and `next`. After a restart a sender may begin lower than it was.
    pub(crate) fn replace(&mut self, next: Self) {
        *self = Self { time: self.time.max(next.time), is_idle: next.is_idle };
    }

    /// As it is stored among batches in flight: `c1`, a byte of flags (bit 0: idle), the time as a little-endian `i64`.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![MARK, u8::from(self.is_idle)];
        bytes.extend(self.time.0.to_le_bytes());
        bytes
    }

    /// The watermark that is stored in `bytes`; `None` if they are anything else, such as a batch.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let [MARK, flags @ (0 | 1), time @ ..] = bytes else { return None };
        let time = Timestamp(i64::from_le_bytes(time.try_into().ok()?));
        Some(Self { time, is_idle: *flags == 1 })
    }
}

/// A copy of what a barrier has overtaken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Copied<C> {
    /// Of a batch.
    Batch(C),
    /// Of a watermark.
    Watermark(Watermark),
}

impl Copied<Vec<u8>> {
    /// As it is stored in flight.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Batch(bytes) => bytes,
            Self::Watermark(watermark) => watermark.to_bytes(),
        }
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
    fn copy(&self) -> Result<Self::Copy, BoxError>;

    /// How many records.
    fn records(&self) -> u64;
}

impl InFlight for Box<dyn Batch> {
    type Copy = Vec<u8>;

    fn copy(&self) -> Result<Vec<u8>, BoxError> {
        self.as_ref().encode().map_err(|error| format!("a record in flight cannot be encoded: {error}").into())
    }

    fn records(&self) -> u64 {
        self.as_ref().len() as u64
    }
}

/// Whether a barrier or an end is in a queue.
pub fn has_line<B: InFlight>(queue: &VecDeque<StreamElement<B>>) -> bool {
    queue.iter().any(|element| matches!(element, StreamElement::Barrier(..) | StreamElement::EndOfInput))
}

/// Puts a watermark at the end of a queue. One that is there already goes, so that queues do not grow with watermarks; whether there was one.
pub(crate) fn push_or_replace<B: InFlight>(queue: &mut VecDeque<StreamElement<B>>, mark: Watermark) -> bool {
    if let Some(StreamElement::Watermark(last)) = queue.back_mut() {
        last.replace(mark);
        return true;
    }
    queue.push_back(StreamElement::Watermark(mark));
    false
}

/// A copy of an element that can be in flight; `None` of a barrier or an end.
pub(crate) fn copy<B: InFlight>(element: &StreamElement<B>) -> Result<Option<Copied<B::Copy>>, BoxError> {
    Ok(match element {
        StreamElement::Batch(batch) => Some(Copied::Batch(batch.copy()?)),
        StreamElement::Watermark(_) if mutation::is(Mutation::MarkOvertakenNotCopied) => None,
        StreamElement::Watermark(watermark) => Some(Copied::Watermark(*watermark)),
        StreamElement::Barrier(..) | StreamElement::EndOfInput => None,
    })
}

/// Takes the first barrier of a queue that may overtake now, with copies of the batches and watermarks in front of it. They stay where they are. Whatever becomes of the
/// clock, a barrier that has overtaken goes on overtaking. An older barrier that it passes goes: its checkpoint can no longer be completed.
pub fn overtake<B: InFlight>(
    queue: &mut VecDeque<StreamElement<B>>,
    now: ProcessingTime,
) -> Result<Option<(CheckpointBarrier, Vec<Copied<B::Copy>>)>, BoxError> {
    let is_due =
        |element: &StreamElement<B>| matches!(element, StreamElement::Barrier(barrier, _) if barrier.is_due(now));
    let Some(place) = queue.iter().position(is_due) else { return Ok(None) };
    let mut copies = Vec::new();
    for element in queue.iter().take(place) {
        if !mutation::is(Mutation::OvertakenNotCopied) {
            copies.extend(copy(element)?);
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
