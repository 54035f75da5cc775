//! An operator chain with its types hidden: one virtual call per batch.

use std::convert::Infallible;

use crate::{
    error::{BoxError, Error},
    id::{CheckpointId, WallTime},
    operator::{OpenContext, Operator, SnapshotBuilder, Stateful, Step, each_step},
    output::{
        Tail, TailControl,
        sides::{ChainTail, Sides},
    },
    record::Batch,
    slice::{Flow, Slice},
};

/// Steps from a head to an output, run as one.
pub(crate) trait Chain: Send {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error>;
    fn feed(&mut self, batch: Box<dyn Batch>);
    /// Works until the input is out, an output is full, or the slice is over.
    fn run(&mut self, slice: &mut Slice<'_>) -> Flow;
    fn snapshot(&mut self, checkpoint: CheckpointId, last: bool, time: WallTime) -> Result<SnapshotBuilder, BoxError>;
    fn completed(&mut self, checkpoint: CheckpointId);
    fn head(&mut self) -> &mut dyn Step;
    fn tail(&mut self) -> &mut dyn TailControl;
}

pub(crate) struct FusedChain<O, T> {
    pub(crate) operator: O,
    pub(crate) tail: ChainTail<T>,
    /// The split that was last read: what is left of its record leaves in a later turn.
    split: u32,
}

impl<O, T> FusedChain<O, T> {
    #[cfg(test)]
    pub(crate) fn new(operator: O, tail: T) -> Self {
        Self::with_sides(operator, tail, Sides::default())
    }

    pub(crate) fn with_sides(operator: O, tail: T, sides: Sides) -> Self {
        Self { operator, tail: ChainTail { main: tail, sides }, split: 0 }
    }
}

impl<O: Operator, T: Tail<O::Out, O::Time>> Chain for FusedChain<O, T> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        each_step(&mut self.operator, |step| step.open(context))?;
        each_step(&mut self.operator, |step| step.begin(context))?;
        self.tail.open(context)
    }

    fn feed(&mut self, batch: Box<dyn Batch>) {
        self.operator.feed(batch);
    }

    fn run(&mut self, slice: &mut Slice<'_>) -> Flow {
        let Self { operator, tail: ChainTail { main, sides }, split } = self;
        slice.split = *split;
        slice.lend(sides);
        let flow = operator.drive(slice, &mut |_, record, time| main.accept(record, time));
        *split = slice.split;
        slice.take_back(sides).and(flow)
    }

    fn snapshot(&mut self, checkpoint: CheckpointId, last: bool, time: WallTime) -> Result<SnapshotBuilder, BoxError> {
        let mut snapshot = SnapshotBuilder::new(checkpoint, last, time);
        each_step(&mut self.operator, |step| step.snapshot(&mut snapshot))?;
        self.tail.snapshot(&mut snapshot)?;
        Ok(snapshot)
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        let Ok(()) = each_step::<Infallible>(&mut self.operator, |step| {
            step.completed(checkpoint);
            Ok(())
        });
        self.tail.completed(checkpoint);
    }

    fn head(&mut self) -> &mut dyn Step {
        &mut self.operator
    }

    fn tail(&mut self) -> &mut dyn TailControl {
        &mut self.tail
    }
}
