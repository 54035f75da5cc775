//! The records of a key, combined two by two.

use crate::{
    key::Key,
    operator::{Operator, Stateful, Step, keyed::KeyedInput},
    panic_site::running,
    record::Record,
    slice::{Flow, Slice},
    state::{keyed_table::KeyedTable, value_state::with_value_state},
    topology::graph::StepIndex,
};

pub struct Reduce<K, T, F> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: KeyedInput<K, T, KeyedTable<K, T>>,
    pub(crate) function: F,
}

impl<K: Key, T: Record, F: Send> Stateful for Reduce<K, T, F> {}

impl<K: Key, T: Record, F: Send> Step for Reduce<K, T, F> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }
}

impl<K, T, F> Operator for Reduce<K, T, F>
where
    K: Key,
    T: Record + Clone,
    F: FnMut(&mut T, T) + Send + 'static,
{
    type Out = (K, T);

    #[inline]
    fn drive<S: FnMut(&mut Slice<'_>, (K, T)) -> Flow>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow {
        let Self { step, upstream, function } = self;
        upstream.drive(slice, |table, slot, (key, record), slice| {
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
            sink(slice, (key, value))
        })
    }
}
