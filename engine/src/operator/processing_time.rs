//! The time of each record is that of the clock wherever it is needed.

use crate::{
    element::Watermark,
    operator::{Operator, Stateful, Step},
    slice::{Flow, Slice},
    time::ByClock,
};

pub struct ProcessingTimeStep<U> {
    pub(crate) upstream: U,
}

impl<U: Operator> Stateful for ProcessingTimeStep<U> {}

impl<U: Operator> Step for ProcessingTimeStep<U> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }

    fn watermark(&mut self, head: Watermark, slice: &Slice<'_>) -> Watermark {
        // Steps before may wait for it; behind, nobody asks.
        match self.upstream.watermark(head, slice) {
            Watermark::END => Watermark::END,
            _ => Watermark::NONE,
        }
    }
}

impl<U: Operator> Operator for ProcessingTimeStep<U> {
    type Out = U::Out;
    type Time = ByClock;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, U::Out, ByClock) -> Flow,
    {
        self.upstream.drive(slice, &mut |slice, record, _| sink(slice, record, ByClock))
    }
}
