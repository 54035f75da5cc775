//! One record in, one out, here or to a side output.

use crate::{
    operator::{Operator, Stateful, Step},
    output::sides::SideTag,
    panic_site::running,
    record::Record,
    slice::{Flow, Slice},
    topology::graph::StepIndex,
};

/// Where a record of a stream that is [parted](crate::topology::Stream::part) goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<M, X> {
    /// On in the stream.
    Main(M),
    /// To the side output.
    Side(X),
}

/// See [`part`](crate::topology::Stream::part).
pub struct Parted<U: Operator, F, X> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: U,
    pub(crate) function: F,
    pub(crate) side: SideTag<X, U::Time>,
}

impl<U: Operator, F: Send, X> Stateful for Parted<U, F, X> {}

impl<U: Operator, F: Send, X> Step for Parted<U, F, X> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }
}

impl<U, F, M, X> Operator for Parted<U, F, X>
where
    U: Operator,
    F: FnMut(U::Out) -> Part<M, X> + Send + 'static,
    M: 'static,
    X: Record,
{
    type Out = M;
    type Time = U::Time;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, M, U::Time) -> Flow,
    {
        let Self { step, upstream, function, side } = self;
        upstream.drive(slice, &mut |slice, record, time| match running(*step, || function(record)) {
            Part::Main(record) => sink(slice, record, time),
            Part::Side(record) => slice.emit_to(*step, side, record, time),
        })
    }
}
