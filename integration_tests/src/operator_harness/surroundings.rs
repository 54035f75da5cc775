//! What a topology must have around the steps under test. Neither end is ever run: the harness takes its place.

use std::marker::PhantomData;

use cofferdam_engine::{
    BoxError, ProcessingTime, Read, Record, Sink, Source, SplitReader, SubtaskIndex, Timestamp, WatermarkStrategy,
    operator::{Input, Operator},
    topology::{Stream, Topology},
};

/// A topology of `steps`, with a source of `inputs` subtasks before them and one sink behind.
pub(super) fn around<I, P>(steps: &impl Fn(Stream<Input<I>>) -> Stream<P>, inputs: u32) -> Topology
where
    I: Record,
    P: Operator<Out: Record>,
{
    let topology = Topology::new("operator-harness");
    let fed = topology.source("harness input", Outside(PhantomData)).parallelism(inputs).rebalance();
    steps(fed).rebalance().parallelism(1).sink_at_least_once("harness output", Discard);
    topology
}

/// As [`around`], of steps on a stream with time.
pub(super) fn timed<I, P>(steps: &impl Fn(Stream<Input<I, Timestamp>>) -> Stream<P>, inputs: u32) -> Topology
where
    I: Record,
    P: Operator<Out: Record>,
{
    let topology = Topology::new("operator-harness");
    let source = topology.source("harness input", Outside(PhantomData)).parallelism(inputs);
    let fed = source.event_time("harness time", WatermarkStrategy::monotonous(), |_: &I| Timestamp::MIN).rebalance();
    steps(fed).rebalance().parallelism(1).sink_at_least_once("harness output", Discard);
    topology
}

/// A source without splits.
struct Outside<T>(PhantomData<fn() -> T>);

impl<T: 'static> Source for Outside<T> {
    type Record = T;
    type Split = ();
    type Position = ();
    type Reader = Self;

    fn is_bounded(&self) -> bool {
        true
    }

    fn splits(&self, _parallelism: u32) -> Result<Vec<()>, BoxError> {
        Ok(Vec::new())
    }

    fn open(&self, _split: &(), _position: Option<&()>) -> Result<Self, BoxError> {
        Ok(Self(PhantomData))
    }
}

impl<T: 'static> SplitReader for Outside<T> {
    type Record = T;
    type Position = ();

    fn read(&mut self, _now: ProcessingTime) -> Result<Read<T>, BoxError> {
        Ok(Read::End)
    }

    fn position(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

struct Discard;

impl<T: 'static> Sink<T> for Discard {
    type Writer = fn(T) -> Result<(), BoxError>;

    fn open(&self, _subtask: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        Ok(|_| Ok(()))
    }
}
