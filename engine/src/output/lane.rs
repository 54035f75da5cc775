//! One output channel's elements on their way out.

use std::{collections::VecDeque, time::Duration};

use crate::{
    element::{CheckpointBarrier, Copied, StreamElement, Watermark, has_line, overtake, overtakes_at, push_or_replace},
    error::BoxError,
    id::ProcessingTime,
    mutation::{self, Mutation},
    record::Record,
    slice::{Flow, Stop},
    time::{Stamp, Stamped},
};

pub(crate) struct Lane<T, S> {
    filling: Vec<Stamped<T, S>>,
    ready: VecDeque<StreamElement>,
    batch_size: usize,
    records_out: u64,
    /// What the channel was last told of time, with what is ready.
    marked: Watermark,
    marked_at: ProcessingTime,
    has_ended: bool,
}

/// How long what is ready may go without a newer watermark behind it: an element costs its receiver as much as some twenty records.
const MARK_AGE: Duration = Duration::from_millis(1);

impl<T: Record, S: Stamp> Lane<T, S> {
    pub(crate) fn new(batch_size: usize) -> Self {
        Self {
            filling: Vec::new(),
            ready: VecDeque::new(),
            batch_size,
            records_out: 0,
            marked: Watermark::NONE,
            marked_at: ProcessingTime::default(),
            has_ended: false,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, record: Stamped<T, S>) -> Flow {
        if self.filling.capacity() == 0 {
            self.filling.reserve_exact(self.batch_size);
        }
        self.filling.push(record);
        if self.filling.len() < self.batch_size {
            return Ok(());
        }
        self.flush();
        Err(Stop::Yield)
    }

    pub(crate) fn flush(&mut self) -> bool {
        if self.filling.is_empty() {
            return false;
        }
        self.records_out += self.filling.len() as u64;
        self.ready.push_back(StreamElement::Batch(Box::new(std::mem::take(&mut self.filling))));
        // Who gets a batch takes its channel for awake.
        self.marked.is_idle = false;
        true
    }

    /// Puts a watermark behind all records, if the channel does not know it; whether something became ready.
    pub(crate) fn mark(&mut self, mark: Watermark, now: ProcessingTime) -> bool {
        let is_known = mark == self.marked && (!mark.is_idle || self.filling.is_empty());
        if is_known || self.has_ended {
            return false;
        }
        self.flush();
        push_or_replace(&mut self.ready, mark);
        (self.marked, self.marked_at) = (mark, now);
        true
    }

    /// [`mark`](Self::mark), if something is ready anyway and the last watermark is old enough.
    pub(crate) fn mark_ready(&mut self, mark: Watermark, now: ProcessingTime) -> bool {
        self.is_blocked() && now >= self.marked_at.after(MARK_AGE) && self.mark(mark, now)
    }

    pub(crate) fn send(&mut self, element: StreamElement) {
        if mutation::is(Mutation::BarrierBeforeRecords) && matches!(element, StreamElement::Barrier(..)) {
            return self.ready.push_back(element);
        }
        self.flush();
        self.has_ended |= matches!(element, StreamElement::EndOfInput);
        self.ready.push_back(element);
    }

    pub(crate) fn take_ready(&mut self) -> Option<StreamElement> {
        self.ready.pop_front()
    }

    /// Takes a barrier that may leave before what is in front of it, with copies of that.
    pub(crate) fn take_overtaking(
        &mut self,
        now: ProcessingTime,
    ) -> Result<Option<(CheckpointBarrier, Vec<Copied<Vec<u8>>>)>, BoxError> {
        overtake(&mut self.ready, now)
    }

    /// Whether a barrier or an end waits here.
    pub(crate) fn has_line(&self) -> bool {
        has_line(&self.ready)
    }

    /// When the first barrier that waits here may overtake.
    pub(crate) fn overtakes_at(&self) -> Option<ProcessingTime> {
        overtakes_at(&self.ready)
    }

    /// Records in batches made ready since the last call.
    pub(crate) fn take_records_out(&mut self) -> u64 {
        std::mem::take(&mut self.records_out)
    }

    pub(crate) fn is_blocked(&self) -> bool {
        !self.ready.is_empty()
    }
}
