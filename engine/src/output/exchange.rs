//! How records travel to the next chain.

use crate::{
    element::{CheckpointBarrier, Copied, StreamElement, Watermark},
    error::BoxError,
    id::{ChannelIndex, ProcessingTime},
    key::Key,
    key_group::{KeyGroup, owners},
    operator::{Stateful, StepError},
    output::{Tail, TailControl, lane::Lane},
    panic_site::running,
    record::Record,
    slice::Flow,
    time::{Stamp, Stamped},
    topology::graph::StepIndex,
};

/// A tail made of lanes, and the rule by which a record finds its lane.
pub(crate) struct Exchange<T, S, R> {
    lanes: Vec<Lane<T, S>>,
    rule: R,
}

/// Finds the lanes of a record.
pub(crate) trait Rule<T>: Send + 'static {
    fn route<S: Stamp>(&mut self, lanes: &mut [Lane<T, S>], record: Stamped<T, S>) -> Flow;
}

impl<T: Record, S: Stamp, R: Rule<T>> Exchange<T, S, R> {
    pub(crate) fn new(lanes: usize, batch_size: usize, rule: R) -> Self {
        Self { lanes: (0..lanes).map(|_| Lane::new(batch_size)).collect(), rule }
    }
}

impl<T: Record, S: Stamp, R: Rule<T>> Stateful for Exchange<T, S, R> {}

impl<T: Record, S: Stamp, R: Rule<T>> Tail<T, S> for Exchange<T, S, R> {
    #[inline]
    fn accept(&mut self, record: T, time: S) -> Flow {
        self.rule.route(&mut self.lanes, Stamped { record, time })
    }
}

impl<T: Record, S: Stamp, R: Rule<T>> TailControl for Exchange<T, S, R> {
    fn flush(&mut self) -> bool {
        self.lanes.iter_mut().fold(false, |any, lane| lane.flush() | any)
    }

    fn mark(&mut self, mark: Watermark, all: bool, now: ProcessingTime) -> bool {
        // Where records have no time, nobody asks for it.
        let lanes = if S::IS_TIMED { self.lanes.iter_mut() } else { [].iter_mut() };
        match all {
            true => lanes.fold(false, |any, lane| lane.mark(mark, now) | any),
            false => lanes.fold(false, |any, lane| lane.mark_ready(mark, now) | any),
        }
    }

    fn send_all(&mut self, element: &dyn Fn() -> StreamElement) {
        self.lanes.iter_mut().for_each(|lane| lane.send(element()));
    }

    fn channels(&self) -> usize {
        self.lanes.len()
    }

    fn has_ready(&self, channel: ChannelIndex) -> bool {
        self.lanes[channel.index()].is_blocked()
    }

    fn take_ready(&mut self, channel: ChannelIndex) -> Option<StreamElement> {
        self.lanes[channel.index()].take_ready()
    }

    fn take_overtaking(
        &mut self,
        channel: ChannelIndex,
        now: ProcessingTime,
    ) -> Result<Option<(CheckpointBarrier, Vec<Copied<Vec<u8>>>)>, BoxError> {
        self.lanes[channel.index()].take_overtaking(now)
    }

    fn has_line(&self, channel: ChannelIndex) -> bool {
        self.lanes[channel.index()].has_line()
    }

    fn overtakes_at(&self) -> Option<ProcessingTime> {
        self.lanes.iter().filter_map(Lane::overtakes_at).min()
    }

    fn is_blocked(&self) -> bool {
        self.lanes.iter().any(Lane::is_blocked)
    }

    fn take_records_out(&mut self) -> u64 {
        self.lanes.iter_mut().map(Lane::take_records_out).sum()
    }
}

/// To the subtask that owns the key's group.
pub(crate) struct ByKey {
    owners: Vec<u32>,
    pub(crate) max_parallelism: u16,
}

impl ByKey {
    pub(crate) fn new(parallelism: u32, max_parallelism: u16) -> Self {
        Self { owners: owners(parallelism, max_parallelism), max_parallelism }
    }

    #[inline]
    pub(crate) fn lane(&self, group: KeyGroup) -> usize {
        self.owners[usize::from(group.0)] as usize
    }
}

impl<K: Key, T: Record> Rule<(K, T)> for ByKey {
    #[inline]
    fn route<S: Stamp>(&mut self, lanes: &mut [Lane<(K, T), S>], record: Stamped<(K, T), S>) -> Flow {
        let group = KeyGroup::of_hash(record.record.0.hash64(), self.max_parallelism);
        lanes[self.lane(group)].push(record)
    }
}

/// To each lane in turn; with one lane, straight on.
pub(crate) struct InTurn {
    next: usize,
}

impl InTurn {
    /// Subtask `first` starts with lane `first`, so that many slow streams do not all go to lane 0.
    pub(crate) fn starting_at(first: usize) -> Self {
        Self { next: first }
    }
}

impl<T: Record> Rule<T> for InTurn {
    #[inline]
    fn route<S: Stamp>(&mut self, lanes: &mut [Lane<T, S>], record: Stamped<T, S>) -> Flow {
        if self.next >= lanes.len() {
            self.next = 0;
        }
        let lane = self.next;
        self.next += 1;
        lanes[lane].push(record)
    }
}

/// A copy to every lane.
pub(crate) struct ToAll;

impl<T: Record + Clone> Rule<T> for ToAll {
    fn route<S: Stamp>(&mut self, lanes: &mut [Lane<T, S>], record: Stamped<T, S>) -> Flow {
        let Some((last, others)) = lanes.split_last_mut() else { return Ok(()) };
        let mut flow = Ok(());
        for lane in others {
            flow = flow.and(lane.push(record.clone()));
        }
        flow.and(last.push(record))
    }
}

/// A copy to every consumer of a stream used more than once; in turn over the lanes that lead to one consumer.
pub(crate) struct ToConsumers {
    /// For each consumer its lanes, and the next one.
    pub(crate) consumers: Vec<(std::ops::Range<usize>, InTurn)>,
}

impl<T: Record + Clone> Rule<T> for ToConsumers {
    fn route<S: Stamp>(&mut self, lanes: &mut [Lane<T, S>], record: Stamped<T, S>) -> Flow {
        let Some(((last_range, last), others)) = self.consumers.split_last_mut() else { return Ok(()) };
        let mut flow = Ok(());
        for (range, rule) in others {
            flow = flow.and(rule.route(&mut lanes[range.clone()], record.clone()));
        }
        flow.and(last.route(&mut lanes[last_range.clone()], record))
    }
}

/// To the one of several streams that a function names; in turn over the lanes that lead there.
pub(crate) struct ToOne<F> {
    pub(crate) step: StepIndex,
    pub(crate) function: F,
    /// For each stream its lanes, and the next one.
    pub(crate) parts: Vec<(std::ops::Range<usize>, InTurn)>,
}

impl<T: Record, F: FnMut(&T) -> usize + Send + 'static> Rule<T> for ToOne<F> {
    #[inline]
    fn route<S: Stamp>(&mut self, lanes: &mut [Lane<T, S>], record: Stamped<T, S>) -> Flow {
        let Self { step, function, parts } = self;
        let part = running(*step, || function(&record.record));
        match parts.get_mut(part) {
            Some((range, rule)) => rule.route(&mut lanes[range.clone()], record),
            None => Err(StepError::stop(*step, no_such_part(part, parts.len()))),
        }
    }
}

#[cold]
fn no_such_part(part: usize, parts: usize) -> BoxError {
    format!("its function gave a record to part {part} of {parts}, which are numbered from 0").into()
}
