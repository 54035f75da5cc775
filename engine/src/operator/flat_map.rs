//! One record in, any number out.

use crate::{
    operator::{Operator, Stateful, Step},
    panic_site::running,
    slice::{Flow, Slice},
    topology::graph::StepIndex,
};

pub struct FlatMap<U, F, I: IntoIterator> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: U,
    pub(crate) function: F,
    /// What is left of the last record's output: an endless one neither blocks the thread nor outgrows the output.
    pub(crate) rest: Option<I::IntoIter>,
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

    #[inline]
    fn drive<S: FnMut(&mut Slice<'_>, I::Item) -> Flow>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow {
        let Self { step, upstream, function, rest } = self;
        if let Some(iterator) = rest {
            hand_out(*step, iterator, slice, sink)?;
            *rest = None;
        }
        upstream.drive(slice, &mut |slice, record| {
            let mut iterator = running(*step, || function(record).into_iter());
            let flow = hand_out(*step, &mut iterator, slice, sink);
            if flow.is_err() {
                *rest = Some(iterator);
            }
            flow
        })
    }
}

#[inline]
fn hand_out<I: Iterator>(
    step: StepIndex,
    iterator: &mut I,
    slice: &mut Slice<'_>,
    sink: &mut impl FnMut(&mut Slice<'_>, I::Item) -> Flow,
) -> Flow {
    while let Some(item) = running(step, || iterator.next()) {
        sink(slice, item)?;
        slice.tick()?;
    }
    Ok(())
}
