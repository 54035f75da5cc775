//! A running value per key.

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
    state::keyed_table::KeyedTable,
    topology::graph::StepIndex,
};

pub struct Fold<K, T, S, F> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: Input<(K, T)>,
    pub(crate) table: KeyedTable<K, S>,
    pub(crate) initial: S,
    pub(crate) function: F,
}

impl<K: Key, T: Record, S: Record, F: Send> Stateful for Fold<K, T, S, F> {
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
        let Self { step, upstream, table, initial, function } = self;
        drive_keyed(upstream, table, slice, |table, slot, (key, record), slice| {
            let value = table.get_mut_or_insert_with(slot, &key, || initial.clone());
            running(*step, || function(value, record));
            let value = value.clone();
            sink(slice, (key, value))
        })
    }
}
