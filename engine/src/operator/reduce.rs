//! The records of a key, combined two by two.

use crate::{
    error::{BoxError, Error},
    id::CheckpointId,
    key::Key,
    operator::{
        OpenContext, Operator, SnapshotBuilder, Stateful, Step,
        input::Input,
        keyed::{drive_keyed, restore_table},
    },
    panic_site::running,
    record::Record,
    slice::{Flow, Slice},
    state::{keyed_table::KeyedTable, value_state::with_value_state},
    topology::graph::StepIndex,
};

pub struct Reduce<K, T, F> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: Input<(K, T)>,
    pub(crate) table: KeyedTable<K, T>,
    pub(crate) function: F,
}

impl<K: Key, T: Record, F: Send> Stateful for Reduce<K, T, F> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        restore_table(&mut self.table, context)
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        snapshot.deltas.extend(self.table.freeze(snapshot.checkpoint)?);
        Ok(())
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        self.table.completed(checkpoint);
    }
}

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
        let Self { step, upstream, table, function } = self;
        drive_keyed(upstream, table, slice, |table, slot, (key, record), slice| {
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
