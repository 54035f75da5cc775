//! The head of a chain that keeps state by key: an input, and tables.
//!
//! A table larger than the caches answers a look-up after a memory latency. So while a few records are handled, the entries of the next few are
//! already on their way: the tables are asked for a hint ahead, which waits for nothing, and for the answer when the record's turn comes.

use crate::{
    error::{BoxError, Error},
    id::CheckpointId,
    key::Key,
    operator::{OpenContext, SnapshotBuilder, Stateful, Step, input::Input},
    record::{Batch, Record},
    slice::{Flow, Slice},
    state::{
        self,
        descriptor::{OneValue, StateDescriptor},
        keyed_states::{KeyedTables, TablePlace},
        keyed_table::KeyedTable,
        ttl::{Forever, Lifetime},
    },
    time::{NoTime, Stamp, Stamped},
    topology::graph::BuildContext,
};

/// The one state that `fold`, `reduce` and `process` keep, unless they are told otherwise.
pub(crate) fn only_state<S: Record>() -> StateDescriptor<OneValue, S> {
    state::value("value")
}

/// The table of a step's only state in a subtask of step `uid`.
pub(crate) fn only_table<K: Key, S: Record>(
    uid: &str,
    state: &StateDescriptor<OneValue, S>,
    context: &BuildContext<'_>,
) -> KeyedTable<K, S> {
    let (place, format) = (table_place(uid, context), Forever::format(state.format.clone()));
    KeyedTable::new(place.address(&state.name), format, place.range, place.max_parallelism)
}

/// Where a subtask of step `uid` has its tables.
pub(crate) fn table_place<'a>(uid: &'a str, context: &BuildContext<'_>) -> TablePlace<'a> {
    TablePlace { operator: uid, range: context.key_groups(), max_parallelism: context.max_parallelism }
}

/// Records whose entries are fetched while as many are handled.
const AHEAD: usize = 16;

/// Records with their keys, and the state of the step that takes them.
pub struct KeyedInput<K, T, B, S = NoTime> {
    input: Input<(K, T), S>,
    pub(super) tables: B,
}

impl<K: Key, T: Record, B: KeyedTables<K>, S: Stamp> KeyedInput<K, T, B, S> {
    /// The tables are empty; they get their content when the chain is opened.
    pub(crate) fn new(input: Input<(K, T), S>, tables: B) -> Self {
        Self { input, tables }
    }

    /// See [`hand_out`].
    #[inline]
    pub(crate) fn drive(
        &mut self,
        slice: &mut Slice<'_>,
        handle: impl FnMut(&mut B, B::Slot, K, T, S, &mut Slice<'_>) -> Flow,
    ) -> Flow {
        hand_out(&mut self.input, &mut self.tables, slice, handle)
    }
}

/// Gives each record of `input` with its stamp, and its key's place in the tables, to `handle`.
#[inline]
pub(crate) fn hand_out<K: Key, T: Record, B: KeyedTables<K>, S: Stamp>(
    input: &mut Input<(K, T), S>,
    tables: &mut B,
    slice: &mut Slice<'_>,
    mut handle: impl FnMut(&mut B, B::Slot, K, T, S, &mut Slice<'_>) -> Flow,
) -> Flow {
    if !tables.is_loaded() {
        tables.load(&mut input.ahead().iter().map(|stamped| &stamped.record.0))?;
    }
    let mut hints = &mut [B::Slot::default(); AHEAD];
    let mut next = &mut [B::Slot::default(); AHEAD];
    ask(tables, input.ahead(), hints);
    while !input.ahead().is_empty() {
        let taken = slice.take(AHEAD.min(input.ahead().len()))?;
        ask(tables, &input.ahead()[taken..], next);
        for (used, hint) in (1..).zip(&hints[..taken]) {
            let Some(Stamped { record: (key, record), time }) = input.next() else { break };
            let slot = tables.find(*hint, &key);
            if let Err(stop) = handle(tables, slot, key, record, time, slice) {
                slice.give_back(taken - used);
                return Err(stop);
            }
        }
        std::mem::swap(&mut hints, &mut next);
    }
    Ok(())
}

/// Asks the tables where the next few records' keys probably are.
#[inline]
fn ask<K: Key, T, S, B: KeyedTables<K>>(tables: &B, records: &[Stamped<(K, T), S>], hints: &mut [B::Slot; AHEAD]) {
    for (hint, stamped) in hints.iter_mut().zip(records) {
        *hint = tables.hint(&stamped.record.0);
    }
}

impl<K: Key, T: Record, B: KeyedTables<K>, S: Stamp> Stateful for KeyedInput<K, T, B, S> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        self.tables.restore(context)
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        self.tables.snapshot(snapshot)
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        self.tables.completed(checkpoint);
    }
}

impl<K: Key, T: Record, B: KeyedTables<K>, S: Stamp> Step for KeyedInput<K, T, B, S> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.input)
    }

    fn heap_is_spent(&mut self) -> bool {
        self.tables.heap_is_spent()
    }

    fn feed(&mut self, batch: Box<dyn Batch>) {
        self.input.feed(batch);
        self.tables.batch_came();
    }
}
