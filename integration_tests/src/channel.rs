//! One input channel: a FIFO that insists on the grammar of streams; bounded, unless it comes round in a loop.

use cofferdam_engine::{
    BoxError, ChannelQueue, CheckpointBarrier, CheckpointId, Copied, NewScratch, ProcessingTime, StreamElement,
    Watermark,
};

use crate::order::EdgeDigest;

pub(crate) struct Channel {
    queue: ChannelQueue,
    capacity: usize,
    /// A barrier or an end finds room in any case, and so does what is in front of it.
    admits_lines: bool,
    last_barrier: CheckpointId,
    ended: bool,
    mark: Watermark,
    /// Told what passes, if somebody wants to know.
    digest: Option<EdgeDigest>,
}

impl Channel {
    pub(crate) fn new(capacity: usize, admits_lines: bool, digest: Option<EdgeDigest>) -> Self {
        let queue = ChannelQueue::new();
        Self {
            queue,
            capacity,
            admits_lines,
            last_barrier: CheckpointId(0),
            ended: false,
            mark: Watermark::NONE,
            digest,
        }
    }

    /// One that comes round in the loop of this name, and keeps so many batches in memory.
    pub(crate) fn feedback(name: &str, mark: usize, scratch: NewScratch, digest: Option<EdgeDigest>) -> Self {
        // Small segments, so that some are dropped.
        let queue = ChannelQueue::in_segments(name, mark, scratch, 64);
        Self { queue, ..Self::new(usize::MAX, true, digest) }
    }

    pub(crate) fn has_room(&self, is_line: bool) -> bool {
        self.queue.len() < self.capacity || (is_line && self.admits_lines)
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn push(&mut self, element: StreamElement) -> Result<(), BoxError> {
        match &element {
            StreamElement::Batch(batch) => {
                assert!(!self.ended, "a batch behind the end of input");
                assert!(!batch.is_empty(), "an empty batch");
                if let Some(digest) = &self.digest {
                    batch.encode_each(&mut |record| digest.add(record));
                }
            }
            StreamElement::Watermark(mark) => {
                assert!(!self.ended, "a watermark behind the end of input");
                assert!(mark.time >= self.mark.time, "time falls from {:?} to {mark:?}", self.mark);
                self.mark = *mark;
            }
            StreamElement::Barrier(barrier, _) => {
                assert!(barrier.checkpoint > self.last_barrier, "barriers grow");
                self.last_barrier = barrier.checkpoint;
            }
            StreamElement::EndOfInput => assert!(!std::mem::replace(&mut self.ended, true), "the input ends once"),
        }
        self.queue.push(element)
    }

    /// Takes a barrier that may overtake now, with copies of what is in front of it.
    pub(crate) fn overtake(
        &mut self,
        now: ProcessingTime,
    ) -> Result<Option<(CheckpointBarrier, Vec<Copied<Vec<u8>>>)>, BoxError> {
        self.queue.overtake(now)
    }

    /// Whether a barrier or an end waits.
    pub(crate) fn has_line(&self) -> bool {
        self.queue.has_line()
    }

    pub(crate) fn has_batch_next(&self) -> bool {
        self.queue.has_batch_next()
    }

    /// When the first barrier that waits may overtake.
    pub(crate) fn overtakes_at(&self) -> Option<ProcessingTime> {
        self.queue.overtakes_at()
    }

    pub(crate) fn pop(&mut self) -> Result<Option<StreamElement>, BoxError> {
        self.queue.pop()
    }
}
