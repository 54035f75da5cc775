//! Which blocks there must be.
//!
//! ```text
//! record --checksum--> index of a state --number and digest--> values of a group
//! ```
//! From the record down each level vouches for the next, so that a block that is absent, left over or swapped is noticed on reading.
//!
//! Checkpoints share blocks, and indexes of states that did not change between them. A group's blocks lie in the order of their checkpoints; *c*
//! consists of those from the newest full one on (`since`) up to *c*:
//!
//! ```text
//! full 3   changes 4   full 6   changes 7   changes 8
//! \__ checkpoint 4 __/ \____ checkpoint 7 ___/
//! ```

use std::{collections::BTreeMap, path::Path, sync::Arc};

use cofferdam_engine::{
    CheckpointId, KeyGroup,
    checkpoint::{snapshot::StateAddress, store::StoreError},
};
use serde::{Deserialize, Serialize};

use super::{
    fault,
    layout::{CHECKPOINT, index_key},
    record::StateRecord,
    value,
};

/// All keyed states of a checkpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalog {
    pub(super) states: BTreeMap<StateAddress, Arc<Index>>,
}

/// One keyed state's blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// The state's number in keys.
    pub(super) number: u32,
    /// The checkpoint that the stored index came with.
    pub(super) written: CheckpointId,
    /// Of the stored index.
    pub(super) checksum: u64,
    pub(super) groups: BTreeMap<KeyGroup, Group>,
}

/// One key group's blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    /// Blocks of older checkpoints than this one are superseded.
    pub(super) since: CheckpointId,
    /// Of the blocks since then.
    pub(super) tally: Tally,
}

/// What a group's values, each part of a block being one, add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) values: u64,
    /// Wrapping sum of their checksums.
    pub(super) digest: u64,
}

impl Tally {
    /// Counts one value more.
    pub(super) fn add(&mut self, checksum: u64) {
        self.values += 1;
        self.digest = self.digest.wrapping_add(checksum);
    }
}

impl Catalog {
    /// The index of `address`, or an empty one with the next number, to be changed.
    pub(super) fn index_or_new(&mut self, address: &StateAddress) -> &mut Index {
        let (number, written) = (self.next_number(), CheckpointId(0));
        let new = || Arc::new(Index { number, written, checksum: 0, groups: BTreeMap::new() });
        Arc::make_mut(self.states.entry(address.clone()).or_insert_with(new))
    }

    fn next_number(&self) -> u32 {
        self.states.values().map(|index| index.number.saturating_add(1)).max().unwrap_or(0)
    }

    /// What the record says of each.
    pub(super) fn records(&self) -> Vec<StateRecord> {
        let record = |(address, index): (&StateAddress, &Arc<Index>)| StateRecord {
            address: address.clone(),
            number: index.number,
            written: index.written,
            checksum: index.checksum,
        };
        self.states.iter().map(record).collect()
    }
}

impl Index {
    /// Its key.
    pub(super) fn key(&self) -> [u8; 17] {
        index_key(self.number, self.written)
    }

    /// The value to store with `checkpoint`. Sets the checksum.
    pub(super) fn encode(&mut self, checkpoint: CheckpointId) -> heed::Result<Vec<u8>> {
        self.written = checkpoint;
        let bytes =
            postcard::to_extend(&self.groups, Vec::new()).map_err(|cause| heed::Error::Encoding(cause.into()))?;
        let (value, checksum) = value::seal(CHECKPOINT, &self.key(), bytes);
        self.checksum = checksum;
        Ok(value)
    }

    /// Reads the index that `record` tells of.
    pub(super) fn decode(directory: &Path, record: &StateRecord, stored: Option<&[u8]>) -> Result<Self, StoreError> {
        let damaged = |what: &str| fault::damaged(directory, format!("the index of state {} {what}", record.address));
        let stored = stored.ok_or_else(|| damaged("is missing"))?;
        let (bytes, checksum) = value::unseal(CHECKPOINT, &index_key(record.number, record.written), stored)
            .ok_or_else(|| damaged("has a broken checksum"))?;
        if checksum != record.checksum {
            return Err(damaged("is of another checkpoint"));
        }
        let groups = postcard::from_bytes(bytes).map_err(|cause| {
            let what = format!("the index of state {} is unreadable", record.address);
            fault::damaged_by(directory, what, Some(cause.into()))
        })?;
        Ok(Self { number: record.number, written: record.written, checksum, groups })
    }
}
