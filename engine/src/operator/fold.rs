//! A running value per key.

use crate::{
    checkpoint::snapshot::StateAddress,
    error::{BoxError, Error},
    id::CheckpointId,
    key::Key,
    operator::{OpenContext, Operator, SnapshotBuilder, Stateful, Step},
    panic_site::running,
    record::Record,
    slice::{Flow, Slice},
    state::keyed_table::KeyedTable,
    topology::graph::StepIndex,
};

/// The name of the one state that `fold`, `reduce` and `process` keep.
pub(crate) const STATE: &str = "value";

pub struct Fold<U, K, S, F> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: U,
    pub(crate) table: KeyedTable<K, S>,
    pub(crate) initial: S,
    pub(crate) function: F,
}

/// An empty table for the step `uid`; it gets its content when the chain is opened.
pub(crate) fn empty_table<K: Key, S>(
    uid: &str,
    context: &crate::topology::graph::BuildContext<'_>,
) -> KeyedTable<K, S> {
    let address = StateAddress { operator: uid.to_string(), state: STATE.to_string() };
    KeyedTable::new(address, context.key_groups(), context.max_parallelism)
}

/// Fills a table from the restored checkpoint.
pub(crate) fn restore_table<K: Key, S: Record>(
    table: &mut KeyedTable<K, S>,
    context: &OpenContext,
) -> Result<(), Error> {
    table.restore(context.reader.as_ref()).map_err(|error| {
        let place = format!("state '{}' of job '{}', subtask {}", table.address(), context.job_name, context.subtask);
        let message = format!("{place}, checkpoint {}: {error}", context.restored.checkpoint);
        Error::new(
            if error.is_refusal() { crate::ErrorKind::Refused } else { crate::ErrorKind::Store },
            message,
            error.cause,
        )
    })
}

impl<U, K, S, F> Stateful for Fold<U, K, S, F>
where
    U: Operator,
    K: Key,
    S: Record,
    F: Send,
{
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

impl<U: Operator, K: Key, S: Record, F: Send> Step for Fold<U, K, S, F> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }
}

impl<U, K, T, S, F> Operator for Fold<U, K, S, F>
where
    U: Operator<Out = (K, T)>,
    K: Key,
    T: 'static,
    S: Record + Clone,
    F: FnMut(&mut S, T) + Send + 'static,
{
    type Out = (K, S);

    #[inline]
    fn drive<Sink: FnMut(&mut Slice<'_>, (K, S)) -> Flow>(&mut self, slice: &mut Slice<'_>, sink: &mut Sink) -> Flow {
        let Self { step, upstream, table, initial, function } = self;
        upstream.drive(slice, &mut |slice, (key, record)| {
            let value = table.get_mut_or_insert_with(&key, || initial.clone());
            running(*step, || function(value, record));
            let value = value.clone();
            sink(slice, (key, value))
        })
    }
}
