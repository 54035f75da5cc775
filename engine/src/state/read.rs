//! Reads a keyed state whole, outside of any job.

use serde::de::DeserializeOwned;

use crate::{
    checkpoint::{
        snapshot::StateAddress,
        store::{StateReader, StoreError},
    },
    key::Key,
    key_group::KeyGroupRange,
    state::{keyed_table::KeyedTable, value_format::ValueFormat},
};

/// Every key and its value of the state at `address`, in no order; none if there is no such state. `max_parallelism` is that of the checkpoint's record. An error if the
/// state is damaged, or of other types. Of values with a time to live, also those are given that have expired and not left yet.
pub fn read_keyed_state<K: Key, S: DeserializeOwned + 'static>(
    reader: &dyn StateReader,
    address: StateAddress,
    max_parallelism: u16,
) -> Result<Vec<(K, S)>, StoreError> {
    let range = KeyGroupRange { start: 0, end: max_parallelism };
    let mut table = KeyedTable::new(address, ValueFormat::default().untimed(), range, max_parallelism);
    table.restore(reader)?;
    Ok(table.into_entries().collect())
}
