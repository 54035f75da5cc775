//! The head of a chain that keeps state by key: an input, and a table.
//!
//! A table larger than the caches answers a look-up after a memory latency. So while a few records are handled, the entries of the next few are
//! already on their way: the table is asked for a hint ahead, which waits for nothing, and for the answer when the record's turn comes.

use crate::{
    checkpoint::snapshot::{StateAddress, StateKind, StateRecord},
    error::{BoxError, Error, ErrorKind},
    id::CheckpointId,
    key::Key,
    operator::{OpenContext, SnapshotBuilder, Stateful, Step, input::Input},
    record::{Batch, Record},
    slice::{Flow, Slice},
    state::{
        keyed_table::{KeyedTable, Slot},
        value_format::ValueFormat,
    },
    topology::graph::BuildContext,
};

/// The name of the one state that `fold`, `reduce` and `process` keep.
pub(crate) const STATE: &str = "value";

/// What checkpoints say of it.
pub(crate) fn state_record<K: Key>() -> StateRecord {
    StateRecord { name: STATE.to_string(), kind: StateKind::Value, key: K::format(), version: 0 }
}

/// Records whose entries are fetched while as many are handled.
const AHEAD: usize = 16;

/// Records with their keys, and the state of the step that takes them.
pub struct KeyedInput<K, T, S> {
    input: Input<(K, T)>,
    table: KeyedTable<K, S>,
}

impl<K: Key, T: Record, S: Record> KeyedInput<K, T, S> {
    /// An empty table for the step `uid`; it gets its content when the chain is opened.
    pub(crate) fn new(input: Input<(K, T)>, uid: &str, context: &BuildContext<'_>) -> Self {
        let address = StateAddress { operator: uid.to_string(), state: STATE.to_string() };
        let format = ValueFormat::default();
        Self { input, table: KeyedTable::new(address, format, context.key_groups(), context.max_parallelism) }
    }

    /// Gives each record, with its key's place in the table, to `handle`.
    #[inline]
    pub(crate) fn drive(
        &mut self,
        slice: &mut Slice<'_>,
        mut handle: impl FnMut(&mut KeyedTable<K, S>, Slot, (K, T), &mut Slice<'_>) -> Flow,
    ) -> Flow {
        let Self { input, table } = self;
        if !table.is_loaded() {
            table.load(input.ahead().iter().map(|(key, _)| key)).map_err(BoxError::from)?;
        }
        let mut hints = &mut [Slot::default(); AHEAD];
        let mut next = &mut [Slot::default(); AHEAD];
        ask(table, input.ahead(), hints);
        while !input.ahead().is_empty() {
            let taken = slice.take(AHEAD.min(input.ahead().len()))?;
            ask(table, &input.ahead()[taken..], next);
            for (used, hint) in (1..).zip(&hints[..taken]) {
                let Some(record) = input.next() else { break };
                let slot = table.find(*hint, &record.0);
                if let Err(stop) = handle(table, slot, record, slice) {
                    slice.give_back(taken - used);
                    return Err(stop);
                }
            }
            std::mem::swap(&mut hints, &mut next);
        }
        Ok(())
    }
}

/// Asks the table where the next few records' keys probably are.
#[inline]
fn ask<K: Key, T, S>(table: &KeyedTable<K, S>, records: &[(K, T)], hints: &mut [Slot; AHEAD]) {
    for (hint, (key, _)) in hints.iter_mut().zip(records) {
        *hint = table.hint(key);
    }
}

impl<K: Key, T: Record, S: Record> Stateful for KeyedInput<K, T, S> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        if let Some(share) = &context.heap_share {
            self.table.share_heap(share.clone());
            return Ok(());
        }
        self.table.restore(context.reader.as_ref()).map_err(|error| {
            let (state, job) = (self.table.address(), &context.job_name);
            let message = format!(
                "state '{state}' of job '{job}', subtask {}, checkpoint {}: {error}",
                context.subtask, context.restored.checkpoint
            );
            Error::new(if error.is_refusal() { ErrorKind::Refused } else { ErrorKind::Store }, message, error.cause)
        })
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        snapshot.deltas.extend(self.table.freeze(snapshot.checkpoint)?);
        snapshot.bytes_full += self.table.stored_bytes();
        Ok(())
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        self.table.completed(checkpoint);
    }
}

impl<K: Key, T: Record, S: Record> Step for KeyedInput<K, T, S> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.input)
    }

    fn heap_is_spent(&mut self) -> bool {
        self.table.heap_is_spent()
    }

    fn feed(&mut self, batch: Box<dyn Batch>) {
        self.input.feed(batch);
        self.table.batch_came();
    }
}
