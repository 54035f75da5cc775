//! One key group of a stored state, folded: what its blocks make, without the types.

use std::collections::BTreeMap;

use crate::{
    checkpoint::{
        snapshot::{BlockKind, StateAddress},
        store::{StateReader, StoreError},
    },
    error::BoxError,
    key_group::{KeyGroup, KeyGroupRange},
    state::{
        block::{Block, Values},
        stored::StateSize,
    },
};

/// A key that has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredEntry {
    pub(crate) key: Vec<u8>,
    pub(crate) form: Values,
    pub(crate) value: Vec<u8>,
}

/// The group's entries, by growing key.
pub(crate) fn read(
    reader: &dyn StateReader,
    address: &StateAddress,
    group: KeyGroup,
) -> Result<Vec<StoredEntry>, StoreError> {
    read_counted(reader, address, group, &mut StateSize::default())
}

/// The same, and adds to `size` what there is.
pub(crate) fn read_counted(
    reader: &dyn StateReader,
    address: &StateAddress,
    group: KeyGroup,
    size: &mut StateSize,
) -> Result<Vec<StoredEntry>, StoreError> {
    let mut live = BTreeMap::new();
    let range = KeyGroupRange { start: group.0, end: group.0 + 1 };
    reader.read(address, range, &mut |_, kind, _, bytes| {
        size.blocks += 1;
        size.bytes += bytes.len() as u64;
        fold(&mut live, kind, bytes)
    })?;
    size.entries += live.len() as u64;
    let entry = |(key, (form, value))| StoredEntry { key, form, value };
    Ok(live.into_iter().map(entry).collect())
}

/// What a block makes of the blocks before it.
fn fold(live: &mut BTreeMap<Vec<u8>, (Values, Vec<u8>)>, kind: BlockKind, bytes: &[u8]) -> Result<(), BoxError> {
    if kind == BlockKind::Full {
        live.clear();
    }
    for entry in Block::parse(bytes)? {
        let entry = entry?;
        match entry.value {
            Some((form, value)) => drop(live.insert(entry.key.to_vec(), (form, value.to_vec()))),
            None => drop(live.remove(entry.key)),
        }
    }
    Ok(())
}
