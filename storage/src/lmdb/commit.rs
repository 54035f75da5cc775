//! One checkpoint, one transaction.
//!
//! ```text
//! job's entry: still the one we know?                                   fenced, or damaged
//! each state, group by group in key order:  old blocks out (full) | new blocks in
//!                                           the state's index
//! record, job's entry
//! ```

use std::{collections::BTreeMap, ops::Bound, path::Path, sync::Arc};

use cofferdam_engine::{
    KeyGroup,
    checkpoint::{
        snapshot::{CheckpointMetadata, StateAddress},
        store::StoreError,
    },
};
use heed::RwTxn;

use super::{
    block,
    catalog::{Catalog, Index, Tally},
    environment::Failure,
    fault,
    layout::{BlockKey, Databases, JOB_KEY, NEWEST_KEY, index_key},
    record::{Job, JobCheckpoint, Record},
};
use crate::plan::{GroupChange, Plan};

/// What a commit made of what was known.
pub(super) struct Committed {
    pub(super) job: Job,
    pub(super) catalog: Catalog,
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

    /// Writes a checkpoint.
    pub(super) fn commit(
        &mut self,
        known: &Job,
        catalog: &Catalog,
        metadata: &CheckpointMetadata,
        plan: &Plan<'_>,
    ) -> Result<Committed, Failure> {
        self.check_job(known)?;
        let mut catalog = catalog.clone();
        let mut bytes = 0;
        for (address, groups) in plan {
            let mut index = catalog.index_or_new(address);
            bytes += self.put_state(address, &mut index, groups)?;
            catalog.states.insert(StateAddress::clone(address), Arc::new(index));
        }
        let record = Record::encode(metadata, &catalog.records())?;
        self.databases.checkpoint.put(self.transaction, NEWEST_KEY, &record)?;
        let (job, job_bytes) = self.put_job(Job::new(known.attempt, self.id(), Some(JobCheckpoint::of(metadata))))?;
        Ok(Committed { job, catalog, bytes: bytes + record.len() as u64 + job_bytes })
    }

    fn id(&self) -> u64 {
        self.transaction.id() as u64
    }

    /// Nobody else writes here, so anything else than what we wrote last is damage.
    fn check_job(&self, known: &Job) -> Result<(), Failure> {
        let stored = Job::decode(self.directory, self.databases.job.get(self.transaction, JOB_KEY)?)?;
        if stored == *known {
            return Ok(());
        }
        Err(fault::damaged(self.directory, "the job's entry changed behind the store's back").into())
    }

    fn put_job(&mut self, job: Job) -> Result<(Job, u64), Failure> {
        let value = job.encode()?;
        self.databases.job.put(self.transaction, JOB_KEY, &value)?;
        Ok((job, value.len() as u64))
    }

    fn put_state(
        &mut self,
        address: &StateAddress,
        index: &mut Index,
        groups: &BTreeMap<KeyGroup, GroupChange<'_>>,
    ) -> Result<u64, Failure> {
        let mut bytes = 0;
        for (group, change) in groups {
            let tally = index.groups.entry(*group).or_default();
            if change.replaces {
                self.delete_group(address, index.number, *group, tally)?;
                *tally = Tally::default();
            }
            for (checkpoint, block) in &change.blocks {
                let key = BlockKey { state: index.number, group: *group, checkpoint: *checkpoint, part: 0 };
                bytes += block::put(self.transaction, self.databases, key, block, tally)?;
            }
        }
        let value = index.encode()?;
        self.databases.checkpoint.put(self.transaction, &index_key(index.number), &value)?;
        Ok(bytes + value.len() as u64)
    }

    /// Also notices when there is not what there must be.
    fn delete_group(
        &mut self,
        address: &StateAddress,
        state: u32,
        group: KeyGroup,
        expected: &Tally,
    ) -> Result<(), Failure> {
        if expected.values == 0 {
            return Ok(());
        }
        let (first, last) = (BlockKey::first(state, group).encode(), BlockKey::last(state, group).encode());
        let range = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        let deleted = self.databases.block.delete_range(self.transaction, &range)? as u64;
        if deleted == expected.values {
            return Ok(());
        }
        let what = format!("state {address}, key group {group}: {deleted} values instead of {}", expected.values);
        Err(StoreError::into(fault::damaged(self.directory, what)))
    }
}
