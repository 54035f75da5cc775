//! A running value per key.

use crate::{
    key::Key,
    operator::{Operator, Stateful, Step, keyed::KeyedInput},
    panic_site::running,
    record::Record,
    slice::{Flow, Slice},
    state::keyed_table::KeyedTable,
    time::{NoTime, Stamp},
    topology::graph::StepIndex,
};

pub struct Fold<K, T, S, F, Z = NoTime> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: KeyedInput<K, T, KeyedTable<K, S>, Z>,
    pub(crate) initial: S,
    pub(crate) function: F,
}

impl<K: Key, T: Record, S: Record, F: Send, Z: Stamp> Stateful for Fold<K, T, S, F, Z> {}

impl<K: Key, T: Record, S: Record, F: Send, Z: Stamp> Step for Fold<K, T, S, F, Z> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }
}

impl<K, T, S, F, Z> Operator for Fold<K, T, S, F, Z>
where
    K: Key,
    T: Record,
    S: Record + Clone,
    F: FnMut(&mut S, T) + Send + 'static,
    Z: Stamp,
{
    type Out = (K, S);
    type Time = Z;

    #[inline]
    fn drive<Sink>(&mut self, slice: &mut Slice<'_>, sink: &mut Sink) -> Flow
    where
        Sink: FnMut(&mut Slice<'_>, (K, S), Z) -> Flow,
    {
        let Self { step, upstream, initial, function } = self;
        upstream.drive(slice, |table, slot, key, record, time, slice| {
            let value = table.get_mut_or_insert_with(slot, &key, || initial.clone());
            running(*step, || function(value, record));
            let value = value.clone();
            sink(slice, (key, value), time)
        })
    }
}
