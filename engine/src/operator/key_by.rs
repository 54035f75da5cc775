//! Puts its key beside each record, before the exchange that routes by it.

use crate::{
    key::Key,
    operator::{Operator, Stateful, Step},
    panic_site::running,
    slice::{Flow, Slice},
    topology::graph::StepIndex,
};

pub struct KeyBy<U, F> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: U,
    pub(crate) key: F,
}

impl<U: Operator, F: Send> Stateful for KeyBy<U, F> {}

impl<U: Operator, F: Send> Step for KeyBy<U, F> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }
}

impl<U, F, K> Operator for KeyBy<U, F>
where
    U: Operator,
    F: FnMut(&U::Out) -> K + Send + 'static,
    K: Key,
{
    type Out = (K, U::Out);
    type Time = U::Time;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, Self::Out, U::Time) -> Flow,
    {
        let Self { step, upstream, key } = self;
        upstream.drive(slice, &mut |slice, record, time| {
            let key = running(*step, || key(&record));
            sink(slice, (key, record), time)
        })
    }
}
