//! A running value per key.

use crate::{
    key::Key,
    operator::{Operator, Stateful, Step, keyed::KeyedInput},
    panic_site::running,
    record::Record,
    slice::{Flow, Slice},
    state::keyed_table::KeyedTable,
    topology::graph::StepIndex,
};

pub struct Fold<K, T, S, F> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: KeyedInput<K, T, KeyedTable<K, S>>,
    pub(crate) initial: S,
    pub(crate) function: F,
}

impl<K: Key, T: Record, S: Record, F: Send> Stateful for Fold<K, T, S, F> {}

impl<K: Key, T: Record, S: Record, F: Send> Step for Fold<K, T, S, F> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }
}

impl<K, T, S, F> Operator for Fold<K, T, S, F>
where
    K: Key,
    T: Record,
    S: Record + Clone,
    F: FnMut(&mut S, T) + Send + 'static,
{
    type Out = (K, S);

    #[inline]
    fn drive<Sink: FnMut(&mut Slice<'_>, (K, S)) -> Flow>(&mut self, slice: &mut Slice<'_>, sink: &mut Sink) -> Flow {
        let Self { step, upstream, initial, function } = self;
        upstream.drive(slice, |table, slot, (key, record), slice| {
            let value = table.get_mut_or_insert_with(slot, &key, || initial.clone());
            running(*step, || function(value, record));
            let value = value.clone();
            sink(slice, (key, value))
        })
    }
}
