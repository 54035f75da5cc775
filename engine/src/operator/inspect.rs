//! Looks at each record and passes it on.

use crate::{
    operator::{Operator, Stateful, Step},
    panic_site::running,
    slice::{Flow, Slice},
    topology::graph::StepIndex,
};

pub struct Inspect<U, F> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: U,
    pub(crate) function: F,
}

impl<U: Operator, F: Send> Stateful for Inspect<U, F> {}

impl<U: Operator, F: Send> Step for Inspect<U, F> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }
}

impl<U, F> Operator for Inspect<U, F>
where
    U: Operator,
    F: FnMut(&U::Out) + Send + 'static,
{
    type Out = U::Out;
    type Time = U::Time;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, U::Out, U::Time) -> Flow,
    {
        let Self { step, upstream, function } = self;
        upstream.drive(slice, &mut |slice, record, time| {
            running(*step, || function(&record));
            sink(slice, record, time)
        })
    }
}
