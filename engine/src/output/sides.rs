//! Side outputs: what a step of a chain gives elsewhere than to the next step.
//!
//! Each has lanes of its own, as the end of the chain has. They are lent to the [`Slice`](crate::slice::Slice) while the chain runs, so that any step reaches them by a
//! [tag](SideTag), and no step has to know their types. Barriers, watermarks and the end go to all of them, in line with their records.

use std::{any::Any, fmt, marker::PhantomData, sync::Arc};

use crate::{
    checkpoint::snapshot::PreparedTransaction,
    element::{CheckpointBarrier, Copied, StreamElement, Watermark},
    error::{BoxError, Error},
    id::{ChannelIndex, CheckpointId, ProcessingTime},
    operator::{OpenContext, SnapshotBuilder, Stateful, input::GroupOf},
    output::{
        Commit, Tail, TailControl,
        exchange::{ByKey, Exchange, InTurn, Rule},
        lane::Lane,
    },
    record::Record,
    slice::Flow,
    time::{Stamp, Stamped, Timestamp},
};

/// Names a side output to the steps that give records to it: of the type `X`, with stamps `S`. A clone names the same one. See
/// [`SideOutput`](crate::topology::SideOutput).
pub struct SideTag<X, S = Timestamp> {
    /// Which one it is: there is one such allocation for each.
    name: Arc<str>,
    record: PhantomData<fn(X, S)>,
}

impl<X, S> SideTag<X, S> {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), record: PhantomData }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl<X, S> Clone for SideTag<X, S> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), record: PhantomData }
    }
}

impl<X, S> fmt::Debug for SideTag<X, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SideTag").field(&self.name).finish()
    }
}

/// How the records of a side output are dealt out.
pub(crate) enum SideRule<X> {
    InTurn(InTurn),
    /// By the key that they begin with, to which this function knows the group.
    ByKey(ByKey, GroupOf<X>),
}

impl<X: Record> Rule<X> for SideRule<X> {
    #[inline]
    fn route<S: Stamp>(&mut self, lanes: &mut [Lane<X, S>], record: Stamped<X, S>) -> Flow {
        match self {
            Self::InTurn(rule) => rule.route(lanes, record),
            Self::ByKey(rule, group) => {
                let lane = rule.lane(group(&record.record, rule.max_parallelism));
                lanes[lane].push(record)
            }
        }
    }
}

/// The lanes of side outputs, their types hidden.
trait SideLanes: TailControl + Any {}

impl<X: Record, S: Stamp> SideLanes for Exchange<X, S, SideRule<X>> {}

/// A side output of a chain.
pub(crate) struct Side {
    name: Arc<str>,
    lanes: Box<dyn SideLanes>,
}

impl Side {
    pub(crate) fn new<X: Record, S: Stamp>(tag: &SideTag<X, S>, lanes: Exchange<X, S, SideRule<X>>) -> Self {
        Self { name: tag.name.clone(), lanes: Box::new(lanes) }
    }
}

/// The side outputs of a chain, few if any.
#[derive(Default)]
pub(crate) struct Sides(Vec<Side>);

impl Sides {
    pub(crate) fn new(sides: Vec<Side>) -> Self {
        Self(sides)
    }

    /// Gives a record to the side output that `tag` names; `None` if this chain has no such one.
    pub(crate) fn accept<X: Record, S: Stamp>(&mut self, tag: &SideTag<X, S>, record: X, time: S) -> Option<Flow> {
        let side = self.0.iter_mut().find(|side| Arc::ptr_eq(&side.name, &tag.name))?;
        let lanes: &mut dyn Any = &mut *side.lanes;
        let lanes = lanes.downcast_mut::<Exchange<X, S, SideRule<X>>>()?;
        Some(lanes.accept(record, time))
    }
}

/// The end of a chain, and its side outputs: their channels are numbered behind those of the end.
pub(crate) struct ChainTail<T> {
    pub(crate) main: T,
    /// Lent, while the chain runs.
    pub(crate) sides: Sides,
}

impl<T: TailControl + 'static> ChainTail<T> {
    fn each(&self) -> impl Iterator<Item = &dyn TailControl> {
        let main: &dyn TailControl = &self.main;
        [main].into_iter().chain(self.sides.0.iter().map(|side| -> &dyn TailControl { &*side.lanes }))
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut dyn TailControl> {
        let main: &mut dyn TailControl = &mut self.main;
        [main].into_iter().chain(self.sides.0.iter_mut().map(|side| -> &mut dyn TailControl { &mut *side.lanes }))
    }

    /// The output that a channel is of, and which of its channels it is.
    fn output(&self, channel: ChannelIndex) -> Option<(&dyn TailControl, ChannelIndex)> {
        let mut before = 0;
        for output in self.each() {
            let channels = output.channels();
            if channel.index() < before + channels {
                return Some((output, ChannelIndex((channel.index() - before) as u32)));
            }
            before += channels;
        }
        None
    }

    fn output_mut(&mut self, channel: ChannelIndex) -> Option<(&mut dyn TailControl, ChannelIndex)> {
        let mut before = 0;
        for output in self.each_mut() {
            let channels = output.channels();
            if channel.index() < before + channels {
                return Some((output, ChannelIndex((channel.index() - before) as u32)));
            }
            before += channels;
        }
        None
    }
}

impl<T: TailControl + 'static> Stateful for ChainTail<T> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        self.each_mut().try_for_each(|output| output.open(context))
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        self.each_mut().try_for_each(|output| output.snapshot(snapshot))
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        self.each_mut().for_each(|output| output.completed(checkpoint));
    }
}

impl<T: TailControl + 'static> TailControl for ChainTail<T> {
    fn flush(&mut self) -> bool {
        self.each_mut().fold(false, |any, output| output.flush() | any)
    }

    fn mark(&mut self, mark: Watermark, all: bool, now: ProcessingTime) -> bool {
        self.each_mut().fold(false, |any, output| output.mark(mark, all, now) | any)
    }

    fn send_all(&mut self, element: &dyn Fn() -> StreamElement) {
        self.each_mut().for_each(|output| output.send_all(element));
    }

    fn channels(&self) -> usize {
        self.each().map(|output| output.channels()).sum()
    }

    fn has_ready(&self, channel: ChannelIndex) -> bool {
        self.output(channel).is_some_and(|(output, channel)| output.has_ready(channel))
    }

    fn take_ready(&mut self, channel: ChannelIndex) -> Option<StreamElement> {
        self.output_mut(channel).and_then(|(output, channel)| output.take_ready(channel))
    }

    fn take_overtaking(
        &mut self,
        channel: ChannelIndex,
        now: ProcessingTime,
    ) -> Result<Option<(CheckpointBarrier, Vec<Copied<Vec<u8>>>)>, BoxError> {
        self.output_mut(channel).map_or(Ok(None), |(output, channel)| output.take_overtaking(channel, now))
    }

    fn has_line(&self, channel: ChannelIndex) -> bool {
        self.output(channel).is_some_and(|(output, channel)| output.has_line(channel))
    }

    fn overtakes_at(&self) -> Option<ProcessingTime> {
        self.each().filter_map(|output| output.overtakes_at()).min()
    }

    fn is_blocked(&self) -> bool {
        self.each().any(|output| output.is_blocked())
    }

    fn take_records_out(&mut self) -> u64 {
        self.each_mut().map(|output| output.take_records_out()).sum()
    }

    fn two_phase_sink(&self) -> Option<&str> {
        self.main.two_phase_sink()
    }

    fn publication(&self, due: Vec<PreparedTransaction>) -> Commit {
        self.main.publication(due)
    }
}
