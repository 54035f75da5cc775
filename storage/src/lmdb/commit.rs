//! One checkpoint, one transaction.
//!
//! ```text
//! job's entry: still the one we know?                                   fenced, or damaged
//! each state, group by group in key order:  what is superseded out | new blocks in
//!                                           the state's index
//! record, job's entry
//! if others stay beside it (`prune`):       what only the dropped ones needed out
//! ```

use std::{collections::BTreeMap, ops::Bound, path::Path, sync::Arc};

use cofferdam_engine::{
    CheckpointId, KeyGroup,
    checkpoint::{
        snapshot::{CheckpointMetadata, StateAddress},
        store::StoreError,
    },
};
use heed::RwTxn;

use super::{
    block,
    catalog::{Catalog, Group, Index},
    environment::Failure,
    fault,
    layout::{BlockKey, Databases, JOB_KEY, record_key},
    record::{Job, JobCheckpoint, Record},
    retained::Retained,
};
use crate::plan::{GroupChange, Plan};

/// What a commit made of what was known.
pub(super) struct Committed {
    pub(super) job: Job,
    pub(super) retained: Vec<Retained>,
    /// Of all values written.
    pub(super) bytes: u64,
}

/// One transaction's view.
pub(super) struct Writer<'a, 't> {
    pub(super) directory: &'a Path,
    pub(super) transaction: &'a mut RwTxn<'t>,
    pub(super) databases: &'a Databases,
}

impl Writer<'_, '_> {
    /// Checks that the stored entry is the one that we know, then counts the attempt up.
    pub(super) fn begin_attempt(&mut self, known: &Job) -> Result<Job, Failure> {
        self.check_job(known)?;
        let (job, _) = self.put_job(Job::new(known.attempt.next(), self.id(), known.checkpoint.clone()))?;
        Ok(job)
    }

    /// Writes a checkpoint that follows `newest`, drops those of `dropped` and keeps those of `kept`, both the oldest first.
    pub(super) fn commit(
        &mut self,
        known: &Job,
        dropped: &[Retained],
        kept: &[Retained],
        newest: &Catalog,
        metadata: &CheckpointMetadata,
        plan: &Plan<'_>,
    ) -> Result<Committed, Failure> {
        self.check_job(known)?;
        let replaces = kept.is_empty() && dropped.len() == 1;
        let mut catalog = newest.clone();
        let mut bytes = 0;
        for (address, groups) in plan {
            let mut index = catalog.index_or_new(address);
            bytes += self.put_state(address, &mut index, groups, metadata.checkpoint, replaces)?;
            catalog.states.insert(StateAddress::clone(address), Arc::new(index));
        }
        let record = Record::encode(metadata, &catalog.records())?;
        self.databases.checkpoint.put(self.transaction, &record_key(metadata.checkpoint), &record)?;
        let older = kept.iter().map(|kept| kept.number).collect();
        let checkpoint = JobCheckpoint::of(metadata, older);
        let (job, job_bytes) = self.put_job(Job::new(known.attempt, self.id(), Some(checkpoint)))?;
        let mut retained = kept.to_vec();
        retained.push(Retained { number: metadata.checkpoint, catalog: Some(Arc::new(catalog)) });
        self.drop_records(dropped)?;
        if !replaces {
            self.prune(dropped, &retained[0])?;
        }
        Ok(Committed { job, retained, bytes: bytes + record.len() as u64 + job_bytes })
    }

    pub(super) fn id(&self) -> u64 {
        self.transaction.id() as u64
    }

    /// Nobody else writes here, so anything else than what we wrote last is damage.
    pub(super) fn check_job(&self, known: &Job) -> Result<(), Failure> {
        let stored = Job::decode(self.directory, self.databases.job.get(self.transaction, JOB_KEY)?)?;
        if stored == *known {
            return Ok(());
        }
        Err(fault::ruined(self.directory, "the job's entry changed behind the store's back").into())
    }

    pub(super) fn put_job(&mut self, job: Job) -> Result<(Job, u64), Failure> {
        let value = job.encode()?;
        self.databases.job.put(self.transaction, JOB_KEY, &value)?;
        Ok((job, value.len() as u64))
    }

    /// `replaces`: nothing but the checkpoint before needed what is superseded, and that goes.
    fn put_state(
        &mut self,
        address: &StateAddress,
        index: &mut Index,
        groups: &BTreeMap<KeyGroup, GroupChange<'_>>,
        checkpoint: CheckpointId,
        replaces: bool,
    ) -> Result<u64, Failure> {
        let mut bytes = 0;
        for (number, change) in groups {
            let group = index.groups.entry(*number).or_default();
            if let Some((since, _)) = change.blocks.first().filter(|_| change.replaces) {
                let superseded = std::mem::replace(group, Group { since: *since, ..Group::default() });
                if replaces {
                    self.delete_superseded(address, index.number, *number, *since, &superseded)?;
                }
            }
            for (checkpoint, block) in &change.blocks {
                let key = BlockKey::first_of(index.number, *number, *checkpoint);
                bytes += block::put(self.transaction, self.databases, key, block, &mut group.tally)?;
            }
        }
        if replaces {
            self.databases.checkpoint.delete(self.transaction, &index.key())?;
        }
        let value = index.encode(checkpoint)?;
        self.databases.checkpoint.put(self.transaction, &index.key(), &value)?;
        Ok(bytes + value.len() as u64)
    }

    /// Also notices when there is not what there must be.
    fn delete_superseded(
        &mut self,
        address: &StateAddress,
        state: u32,
        group: KeyGroup,
        since: CheckpointId,
        superseded: &Group,
    ) -> Result<(), Failure> {
        if superseded.tally.values == 0 {
            return Ok(());
        }
        let deleted = self.delete_before(state, group, since)?;
        if deleted == superseded.tally.values {
            return Ok(());
        }
        let what =
            format!("state {address}, key group {group}: {deleted} values instead of {}", superseded.tally.values);
        Err(StoreError::into(fault::damaged(self.directory, what)))
    }

    /// Deletes the group's blocks of checkpoints before `since`, and says how many values that were.
    pub(super) fn delete_before(&mut self, state: u32, group: KeyGroup, since: CheckpointId) -> heed::Result<u64> {
        let (first, end) = (BlockKey::first(state, group).encode(), BlockKey::first_of(state, group, since).encode());
        let range = (Bound::Included(&first[..]), Bound::Excluded(&end[..]));
        Ok(self.databases.block.delete_range(self.transaction, &range)? as u64)
    }

    pub(super) fn drop_records(&mut self, dropped: &[Retained]) -> heed::Result<()> {
        for one in dropped {
            self.databases.checkpoint.delete(self.transaction, &record_key(one.number))?;
        }
        Ok(())
    }
}
