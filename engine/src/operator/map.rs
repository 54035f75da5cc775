//! One record in, one out.

use crate::{
    operator::{Operator, Stateful, Step},
    panic_site::running,
    slice::{Flow, Slice},
    topology::graph::StepIndex,
};

pub struct Map<U, F> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: U,
    pub(crate) function: F,
}

impl<U: Operator, F: Send> Stateful for Map<U, F> {}

impl<U: Operator, F: Send> Step for Map<U, F> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }
}

impl<U, F, T> Operator for Map<U, F>
where
    U: Operator,
    F: FnMut(U::Out) -> T + Send + 'static,
    T: 'static,
{
    type Out = T;
    type Time = U::Time;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, T, U::Time) -> Flow,
    {
        let Self { step, upstream, function } = self;
        upstream.drive(slice, &mut |slice, record, time| sink(slice, running(*step, || function(record)), time))
    }
}
