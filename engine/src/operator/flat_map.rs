//! One record in, any number out.

use crate::{
    operator::{Operator, Stateful, Step},
    panic_site::running,
    slice::{Flow, Slice},
    topology::graph::StepIndex,
};

pub struct FlatMap<U: Operator, F, I: IntoIterator> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: U,
    pub(crate) function: F,
    /// What is left of the last record's output, and that record's stamp: an endless one neither blocks the thread nor outgrows the output.
    pub(crate) rest: Option<(I::IntoIter, U::Time)>,
}

impl<U: Operator, F: Send, I> Stateful for FlatMap<U, F, I> where I: IntoIterator<IntoIter: Send> {}

impl<U: Operator, F: Send, I> Step for FlatMap<U, F, I>
where
    I: IntoIterator<IntoIter: Send>,
{
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }

    fn has_leftover(&mut self) -> bool {
        self.rest.is_some() || self.upstream.has_leftover()
    }

    fn is_within_record(&mut self) -> bool {
        self.rest.is_some() || self.upstream.is_within_record()
    }
}

impl<U, F, I> Operator for FlatMap<U, F, I>
where
    U: Operator,
    F: FnMut(U::Out) -> I + Send + 'static,
    I: IntoIterator<Item: 'static, IntoIter: Send> + 'static,
{
    type Out = I::Item;
    type Time = U::Time;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, I::Item, U::Time) -> Flow,
    {
        let Self { step, upstream, function, rest } = self;
        if let Some((iterator, time)) = rest {
            hand_out(*step, iterator, *time, slice, sink)?;
            *rest = None;
        }
        upstream.drive(slice, &mut |slice, record, time| {
            let mut iterator = running(*step, || function(record).into_iter());
            let flow = hand_out(*step, &mut iterator, time, slice, sink);
            if flow.is_err() {
                *rest = Some((iterator, time));
            }
            flow
        })
    }
}

#[inline]
fn hand_out<I: Iterator, Z: Copy>(
    step: StepIndex,
    iterator: &mut I,
    time: Z,
    slice: &mut Slice<'_>,
    sink: &mut impl FnMut(&mut Slice<'_>, I::Item, Z) -> Flow,
) -> Flow {
    while let Some(item) = running(step, || iterator.next()) {
        sink(slice, item, time)?;
        slice.tick()?;
    }
    Ok(())
}
