//! The records of a key, combined two by two.

use crate::{
    key::Key,
    operator::{Operator, Stateful, Step, keyed::KeyedInput},
    panic_site::running,
    record::Record,
    slice::{Flow, Slice},
    state::{keyed_table::KeyedTable, value_state::with_value_state},
    time::{NoTime, Stamp},
    topology::graph::StepIndex,
};

pub struct Reduce<K, T, F, Z = NoTime> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: KeyedInput<K, T, KeyedTable<K, T>, Z>,
    pub(crate) function: F,
}

impl<K: Key, T: Record, F: Send, Z: Stamp> Stateful for Reduce<K, T, F, Z> {}

impl<K: Key, T: Record, F: Send, Z: Stamp> Step for Reduce<K, T, F, Z> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }
}

impl<K, T, F, Z> Operator for Reduce<K, T, F, Z>
where
    K: Key,
    T: Record + Clone,
    F: FnMut(&mut T, T) + Send + 'static,
    Z: Stamp,
{
    type Out = (K, T);
    type Time = Z;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, (K, T), Z) -> Flow,
    {
        let Self { step, upstream, function } = self;
        upstream.drive(slice, |table, slot, key, record, time, slice| {
            let value = with_value_state(table, slot, &key, |state| match state.get_mut() {
                Some(value) => {
                    running(*step, || function(value, record));
                    value.clone()
                }
                None => {
                    state.set(record.clone());
                    record
                }
            });
            sink(slice, (key, value), time)
        })
    }
}
