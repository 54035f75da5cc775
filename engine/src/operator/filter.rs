//! Keeps some records.

use crate::{
    operator::{Operator, Stateful, Step},
    panic_site::running,
    slice::{Flow, Slice},
    topology::graph::StepIndex,
};

pub struct Filter<U, F> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: U,
    pub(crate) predicate: F,
}

impl<U: Operator, F: Send> Stateful for Filter<U, F> {}

impl<U: Operator, F: Send> Step for Filter<U, F> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }
}

impl<U, F> Operator for Filter<U, F>
where
    U: Operator,
    F: FnMut(&U::Out) -> bool + Send + 'static,
{
    type Out = U::Out;
    type Time = U::Time;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, U::Out, U::Time) -> Flow,
    {
        let Self { step, upstream, predicate } = self;
        upstream.drive(slice, &mut |slice, record, time| {
            if running(*step, || predicate(&record)) { sink(slice, record, time) } else { Ok(()) }
        })
    }
}
