//! Keyed steps: records looked up a few at a time.
//!
//! A table larger than the caches answers a look-up after a memory latency. A few look-ups side by side, nothing else between them, wait for
//! it together; one after the other, with the step's work between, the processor reaches only a few ahead. So the keys of the next records are
//! looked up first, and then the records are handled with what was found.

use crate::{
    checkpoint::snapshot::StateAddress,
    error::Error,
    key::Key,
    operator::{OpenContext, input::Input},
    record::Record,
    slice::{Flow, Slice},
    state::keyed_table::{KeyedTable, Slot},
    topology::graph::BuildContext,
};

/// The name of the one state that `fold`, `reduce` and `process` keep.
pub(crate) const STATE: &str = "value";

/// Look-ups side by side.
const AHEAD: usize = 16;

/// Gives each record, with its key's place in the table, to `handle`.
#[inline]
pub(crate) fn drive_keyed<K: Key, T: Record, S>(
    input: &mut Input<(K, T)>,
    table: &mut KeyedTable<K, S>,
    slice: &mut Slice<'_>,
    mut handle: impl FnMut(&mut KeyedTable<K, S>, Slot, (K, T), &mut Slice<'_>) -> Flow,
) -> Flow {
    let mut found = [Slot::default(); AHEAD];
    while !input.ahead().is_empty() {
        slice.tick()?;
        for (slot, (key, _)) in found.iter_mut().zip(input.ahead()) {
            slot.hash = key.hash64();
        }
        for (slot, (key, _)) in found.iter_mut().zip(input.ahead()) {
            slot.bucket = table.find(slot.hash, key);
        }
        let moves = table.moves();
        for slot in &found {
            let Some(record) = input.next() else { break };
            handle(table, *slot, record, slice)?;
            if table.moves() != moves {
                // An entry came or went: the buckets found may not be right any more.
                break;
            }
        }
    }
    Ok(())
}

/// An empty table for the step `uid`; it gets its content when the chain is opened.
pub(crate) fn empty_table<K: Key, S>(uid: &str, context: &BuildContext<'_>) -> KeyedTable<K, S> {
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
