//! One record in, one out, or an error that fails the attempt.

use crate::{
    error::BoxError,
    operator::{Operator, Stateful, Step, StepError},
    panic_site::running,
    slice::{Flow, Slice},
    topology::graph::StepIndex,
};

pub struct TryMap<U, F> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: U,
    pub(crate) function: F,
}

impl<U: Operator, F: Send> Stateful for TryMap<U, F> {}

impl<U: Operator, F: Send> Step for TryMap<U, F> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }
}

impl<U, F, T, E> Operator for TryMap<U, F>
where
    U: Operator,
    F: FnMut(U::Out) -> Result<T, E> + Send + 'static,
    E: Into<BoxError> + 'static,
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
        upstream.drive(slice, &mut |slice, record, time| match running(*step, || function(record)) {
            Ok(record) => sink(slice, record, time),
            Err(error) => Err(StepError::stop(*step, error.into())),
        })
    }
}
