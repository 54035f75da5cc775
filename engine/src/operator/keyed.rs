//! The head of a chain that keeps state by key: an input, and a table.
//!
//! Records are looked up a few at a time. A table larger than the caches answers a look-up after a memory latency. A few look-ups side by side, nothing else between them, wait for
//! it together; one after the other, with the step's work between, the processor reaches only a few ahead. So the keys of the next records are
//! looked up first, and then the records are handled with what was found.

use crate::{
    checkpoint::snapshot::StateAddress,
    error::{BoxError, Error, ErrorKind},
    id::CheckpointId,
    key::Key,
    operator::{OpenContext, SnapshotBuilder, Stateful, Step, input::Input},
    record::{Batch, Record},
    slice::{Flow, Slice},
    state::keyed_table::{KeyedTable, Slot},
    topology::graph::BuildContext,
};

/// The name of the one state that `fold`, `reduce` and `process` keep.
pub(crate) const STATE: &str = "value";

/// Look-ups side by side.
const AHEAD: usize = 16;

/// Records with their keys, and the state of the step that takes them.
pub struct KeyedInput<K, T, S> {
    input: Input<(K, T)>,
    table: KeyedTable<K, S>,
}

impl<K: Key, T: Record, S> KeyedInput<K, T, S> {
    /// An empty table for the step `uid`; it gets its content when the chain is opened.
    pub(crate) fn new(input: Input<(K, T)>, uid: &str, context: &BuildContext<'_>) -> Self {
        let address = StateAddress { operator: uid.to_string(), state: STATE.to_string() };
        Self { input, table: KeyedTable::new(address, context.key_groups(), context.max_parallelism) }
    }

    /// Gives each record, with its key's place in the table, to `handle`.
    #[inline]
    pub(crate) fn drive(
        &mut self,
        slice: &mut Slice<'_>,
        mut handle: impl FnMut(&mut KeyedTable<K, S>, Slot, (K, T), &mut Slice<'_>) -> Flow,
    ) -> Flow {
        let Self { input, table } = self;
        let mut found = [Slot::default(); AHEAD];
        while !input.ahead().is_empty() {
            let taken = slice.take(AHEAD.min(input.ahead().len()))?;
            for (slot, (key, _)) in found[..taken].iter_mut().zip(input.ahead()) {
                *slot = table.place(key);
            }
            for (slot, (key, _)) in found[..taken].iter_mut().zip(input.ahead()) {
                *slot = table.find(*slot, key);
            }
            let moves = table.moves();
            let mut used = 0;
            let mut flow = Ok(());
            for slot in &found[..taken] {
                let Some(record) = input.next() else { break };
                used += 1;
                flow = handle(table, *slot, record, slice);
                // Once an entry came or went, the buckets found may not be right any more.
                if flow.is_err() || table.moves() != moves {
                    break;
                }
            }
            slice.give_back(taken - used);
            flow?;
        }
        Ok(())
    }
}

impl<K: Key, T: Record, S: Record> Stateful for KeyedInput<K, T, S> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
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

    fn feed(&mut self, batch: Box<dyn Batch>) {
        self.input.feed(batch);
    }
}
