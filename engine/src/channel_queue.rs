//! What waits in a channel: a FIFO, in memory or, beyond a mark, outside of it.
//!
//! # Invariants
//! - What is pushed is popped, in the same order, wherever it waited, but for watermarks that were replaced.
//! - Batches in memory are at most as many as the mark; watermarks, barriers and ends are always in memory.
//! - No watermark waits behind another one: the first goes.
//! - With nothing spilled, nothing is kept outside of memory.

use std::collections::VecDeque;

use crate::{
    element::{CheckpointBarrier, Copied, InFlight, StreamElement, has_line, overtake, overtakes_at, push_or_replace},
    error::BoxError,
    id::ProcessingTime,
    mutation::{self, Mutation},
    record::{Batch, Decoder},
    scratch::NewScratch,
    spill::{Run, Spill},
};

/// Bytes after which another scratch is begun, so that one that was read can go.
const SEGMENT: u64 = 64 << 20;

/// See the module.
#[derive(Default)]
pub struct ChannelQueue {
    elements: VecDeque<StreamElement<Waiting>>,
    /// Batches in runs, beside the first of each.
    folded: usize,
    has_line: bool,
    feedback: Option<Feedback>,
}

/// What the queue of a channel that comes round has beside.
struct Feedback {
    name: String,
    mark: usize,
    spill: Spill,
    circulating: Circulating,
}

/// What waits at the head of a loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circulating {
    /// Records that wait, wherever.
    pub records: u64,
    /// Batches that wait in memory.
    pub in_memory: u64,
    /// The most batches that have waited in memory at once, on any one channel.
    pub most_in_memory: u64,
    /// Bytes of temporary files.
    pub on_disk: u64,
    /// Bytes that were written to temporary files.
    pub spilled: u64,
}

impl std::ops::Add for Circulating {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            in_memory: self.in_memory + other.in_memory,
            most_in_memory: self.most_in_memory.max(other.most_in_memory),
            on_disk: self.on_disk + other.on_disk,
            spilled: self.spilled + other.spilled,
        }
    }
}

/// Batches in a queue.
enum Waiting {
    InMemory(Box<dyn Batch>),
    Spilled(Run),
}

/// Copies of [`Waiting`] ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Encoded(Vec<u8>),
    Spilled(Run),
}

impl InFlight for Waiting {
    type Copy = Piece;

    fn copy(&self) -> Result<Piece, BoxError> {
        match self {
            Self::InMemory(batch) => batch.copy().map(Piece::Encoded),
            Self::Spilled(run) => Ok(Piece::Spilled(*run)),
        }
    }

    fn records(&self) -> u64 {
        match self {
            Self::InMemory(batch) => batch.records(),
            // Not known before it is read, and nobody asks.
            Self::Spilled(_) => 0,
        }
    }
}

/// Spilling has failed.
#[derive(Debug, thiserror::Error)]
#[error("what circulates in loop '{name}' cannot be kept outside of memory")]
struct SpillError {
    name: String,
    #[source]
    cause: BoxError,
}

impl ChannelQueue {
    /// An empty queue in memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty queue for what circulates in the loop of this name, that keeps at most `mark` batches in memory.
    pub fn spilling(name: impl Into<String>, mark: usize, scratch: NewScratch) -> Self {
        Self::in_segments(name, mark, scratch, SEGMENT)
    }

    /// [`spilling`](Self::spilling), with another scratch after so many bytes.
    pub fn in_segments(name: impl Into<String>, mark: usize, scratch: NewScratch, bytes: u64) -> Self {
        let spill = Spill::new(scratch, bytes);
        let feedback = Feedback { name: name.into(), mark, spill, circulating: Circulating::default() };
        Self { feedback: Some(feedback), ..Self::default() }
    }

    /// Elements that wait.
    pub fn len(&self) -> usize {
        self.elements.len() + self.folded
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Whether a barrier or an end waits.
    pub fn has_line(&self) -> bool {
        self.has_line
    }

    /// Whether what is next is a batch.
    pub fn has_batch_next(&self) -> bool {
        matches!(self.elements.front(), Some(StreamElement::Batch(_)))
    }

    /// When the first barrier that ever overtakes may do so.
    pub fn overtakes_at(&self) -> Option<ProcessingTime> {
        if self.has_line { overtakes_at(&self.elements) } else { None }
    }

    /// What circulates, if this queue is part of a loop.
    pub fn circulating(&self) -> Option<Circulating> {
        self.feedback.as_ref().map(|feedback| feedback.circulating)
    }

    /// Adds an element. Fails if it has to be spilled and cannot be.
    pub fn push(&mut self, element: StreamElement) -> Result<(), BoxError> {
        let element = match element {
            StreamElement::Batch(batch) => {
                let Some(batch) = self.spill(batch)? else { return Ok(()) };
                StreamElement::Batch(Waiting::InMemory(batch))
            }
            StreamElement::Barrier(barrier, copies) => {
                self.has_line = true;
                let piece = |copied| match copied {
                    Copied::Batch(bytes) => Copied::Batch(Piece::Encoded(bytes)),
                    Copied::Watermark(watermark) => Copied::Watermark(watermark),
                };
                StreamElement::Barrier(barrier, copies.into_iter().map(piece).collect())
            }
            StreamElement::Watermark(watermark) => {
                push_or_replace(&mut self.elements, watermark);
                return Ok(());
            }
            StreamElement::EndOfInput => {
                self.has_line = true;
                StreamElement::EndOfInput
            }
        };
        self.elements.push_back(element);
        Ok(())
    }

    /// Spills a batch, or gives it back if it may wait in memory.
    fn spill(&mut self, batch: Box<dyn Batch>) -> Result<Option<Box<dyn Batch>>, BoxError> {
        let Some(feedback) = &mut self.feedback else { return Ok(Some(batch)) };
        feedback.circulating.records += batch.records();
        if feedback.has_room() {
            feedback.put_in_memory();
            return Ok(Some(batch));
        }
        let at = feedback.append(&batch, batch.decoder())?;
        if let Some(StreamElement::Batch(Waiting::Spilled(run))) = self.elements.back_mut() {
            run.batches += 1;
            self.folded += 1;
        } else {
            self.elements.push_back(StreamElement::Batch(Waiting::Spilled(Run { at, batches: 1 })));
        }
        Ok(None)
    }

    /// Takes the oldest element. Fails if it was spilled and cannot be read.
    pub fn pop(&mut self) -> Result<Option<StreamElement>, BoxError> {
        if let (Some(StreamElement::Batch(Waiting::Spilled(run))), Some(feedback)) =
            (self.elements.front_mut(), &mut self.feedback)
        {
            let batch = feedback.take(run)?;
            match run.batches {
                0 => drop(self.elements.pop_front()),
                _ => self.folded -= 1,
            }
            return Ok(Some(StreamElement::Batch(batch)));
        }
        let Some(element) = self.elements.pop_front() else { return Ok(None) };
        Ok(Some(match element {
            StreamElement::Batch(Waiting::Spilled(_)) => unreachable!("only queues of loops spill"),
            StreamElement::Batch(Waiting::InMemory(batch)) => {
                if let Some(feedback) = &mut self.feedback {
                    feedback.circulating.in_memory -= 1;
                    feedback.circulating.records -= batch.records();
                }
                StreamElement::Batch(batch)
            }
            StreamElement::Watermark(watermark) => StreamElement::Watermark(watermark),
            StreamElement::Barrier(barrier, copies) => {
                self.has_line = has_line(&self.elements);
                StreamElement::Barrier(barrier, self.encoded(copies)?)
            }
            StreamElement::EndOfInput => {
                self.has_line = has_line(&self.elements);
                StreamElement::EndOfInput
            }
        }))
    }

    /// Takes a barrier that may [overtake](crate::overtake) now, with copies of the batches and watermarks in front of it, wherever they wait.
    pub fn overtake(
        &mut self,
        now: ProcessingTime,
    ) -> Result<Option<(CheckpointBarrier, Vec<Copied<Vec<u8>>>)>, BoxError> {
        if !self.has_line {
            return Ok(None);
        }
        let Some((barrier, copies)) = overtake(&mut self.elements, now)? else { return Ok(None) };
        self.has_line = has_line(&self.elements);
        Ok(Some((barrier, self.encoded(copies)?)))
    }

    fn encoded(&mut self, copies: Vec<Copied<Piece>>) -> Result<Vec<Copied<Vec<u8>>>, BoxError> {
        let mut all = Vec::with_capacity(copies.len());
        for copy in copies {
            match (copy, &mut self.feedback) {
                (Copied::Watermark(watermark), _) => all.push(Copied::Watermark(watermark)),
                (Copied::Batch(Piece::Encoded(bytes)), _) => all.push(Copied::Batch(bytes)),
                (Copied::Batch(Piece::Spilled(_)), _) if mutation::is(Mutation::SpilledNotCopied) => {}
                (Copied::Batch(Piece::Spilled(run)), Some(feedback)) => {
                    let mut batches = Vec::new();
                    feedback.copy(run, &mut batches)?;
                    all.extend(batches.into_iter().map(Copied::Batch));
                }
                (Copied::Batch(Piece::Spilled(_)), None) => unreachable!("only queues of loops spill"),
            }
        }
        Ok(all)
    }
}

impl Feedback {
    fn has_room(&self) -> bool {
        self.circulating.in_memory < self.mark as u64
    }

    fn put_in_memory(&mut self) {
        self.circulating.in_memory += 1;
        self.circulating.most_in_memory = self.circulating.most_in_memory.max(self.circulating.in_memory);
    }

    fn append(&mut self, batch: &impl InFlight<Copy = Vec<u8>>, decoder: Decoder) -> Result<u64, BoxError> {
        let encoded = batch.copy()?;
        let appended = self.spill.append(&encoded, decoder);
        (self.circulating.on_disk, self.circulating.spilled) = self.spill.bytes();
        appended.map_err(|cause| self.error(cause))
    }

    fn take(&mut self, run: &mut Run) -> Result<Box<dyn Batch>, BoxError> {
        let batch = self.spill.take(run).map_err(|cause| self.error(cause))?;
        (self.circulating.on_disk, _) = self.spill.bytes();
        self.circulating.records -= batch.records();
        Ok(batch)
    }

    fn copy(&mut self, run: Run, copies: &mut Vec<Vec<u8>>) -> Result<(), BoxError> {
        self.spill.copy(run, copies).map_err(|cause| self.error(cause))
    }

    fn error(&self, cause: BoxError) -> BoxError {
        SpillError { name: self.name.clone(), cause }.into()
    }
}
