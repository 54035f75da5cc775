//! One input channel: a bounded FIFO that insists on the grammar of streams.

use std::collections::VecDeque;

use cofferdam_engine::{
    BoxError, CheckpointBarrier, CheckpointId, ProcessingTime, StreamElement, has_line, overtake, overtakes_at,
};

use crate::order::EdgeDigest;

pub(crate) struct Channel {
    queue: VecDeque<StreamElement>,
    capacity: usize,
    /// A barrier or an end finds room in any case, and so does what is in front of it.
    admits_lines: bool,
    last_barrier: CheckpointId,
    ended: bool,
    /// Told what passes, if somebody wants to know.
    digest: Option<EdgeDigest>,
}

impl Channel {
    pub(crate) fn new(capacity: usize, admits_lines: bool, digest: Option<EdgeDigest>) -> Self {
        Self { queue: VecDeque::new(), capacity, admits_lines, last_barrier: CheckpointId(0), ended: false, digest }
    }

    pub(crate) fn has_room(&self, is_line: bool) -> bool {
        self.queue.len() < self.capacity || (is_line && self.admits_lines)
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn push(&mut self, element: StreamElement) {
        match &element {
            StreamElement::Batch(batch) => {
                assert!(!self.ended, "a batch behind the end of input");
                assert!(!batch.is_empty(), "an empty batch");
                if let Some(digest) = &self.digest {
                    batch.encode_each(&mut |record| digest.add(record));
                }
            }
            StreamElement::Barrier(barrier, _) => {
                assert!(barrier.checkpoint > self.last_barrier, "barriers grow");
                self.last_barrier = barrier.checkpoint;
            }
            StreamElement::EndOfInput => assert!(!std::mem::replace(&mut self.ended, true), "the input ends once"),
        }
        self.queue.push_back(element);
    }

    /// Takes a barrier that may overtake now, with copies of what is in front of it.
    pub(crate) fn overtake(
        &mut self,
        now: ProcessingTime,
    ) -> Result<Option<(CheckpointBarrier, Vec<Vec<u8>>)>, BoxError> {
        overtake(&mut self.queue, now)
    }

    /// Whether a barrier or an end waits.
    pub(crate) fn has_line(&self) -> bool {
        has_line(&self.queue)
    }

    /// When the first barrier that waits may overtake.
    pub(crate) fn overtakes_at(&self) -> Option<ProcessingTime> {
        overtakes_at(&self.queue)
    }

    pub(crate) fn pop(&mut self) -> Option<StreamElement> {
        self.queue.pop_front()
    }
}
