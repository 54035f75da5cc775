//! One checkpoint, one transaction.
//!
//! ```text
//! job's entry: still the one we know?                                   fenced, or damaged
//! each state, group by group in key order:  what is superseded out | new blocks in
//!                                           the state's index
//! record, job's entry
//! if others stay beside it (`prune`):       what only the dropped ones needed out
//! ```

use std::{collections::BTreeSet, ops::Bound, path::Path, sync::Arc};

use cofferdam_engine::{
    Attempt, CheckpointId, KeyGroup,
    checkpoint::snapshot::{CheckpointCommit, CheckpointMetadata, StateAddress},
};
use heed::RwTxn;

use super::{
    block,
    catalog::{Catalog, Group, Index},
    environment::Failure,
    fault,
    fold::{Credit, Limits},
    layout::{BlockKey, Databases, JOB_KEY, record_key},
    record::{Job, JobCheckpoint, Record},
    retained::Retained,
    run::{Runs, Sorted},
    sorting::{Sorting, Stored},
};
use crate::plan::Plan;

/// What a commit made of what was known.
pub(super) struct Committed {
    pub(super) job: Job,
    pub(super) retained: Vec<Retained>,
    /// Of all values written.
    pub(super) bytes: u64,
}

/// What a commit does to keyed state.
pub(super) enum Incoming<'a> {
    /// Blocks are stored as they are.
    Frozen(Plan<'a>),
    /// Blocks are sorted, for look-ups.
    Sorted(Sorting<'a>),
}

/// A checkpoint in the making.
pub(super) struct Next {
    pub(super) number: CheckpointId,
    pub(super) catalog: Catalog,
    /// States whose index changes.
    touched: BTreeSet<StateAddress>,
    /// Nothing but the checkpoint before needs what is superseded, and that goes.
    pub(super) replaces: bool,
    /// Of all values written.
    pub(super) bytes: u64,
}

impl Next {
    /// As `catalog` has it so far.
    pub(super) fn new(number: CheckpointId, catalog: Catalog, replaces: bool) -> Self {
        Self { number, catalog, touched: BTreeSet::new(), replaces, bytes: 0 }
    }

    /// The index of a state that changes.
    pub(super) fn touch(&mut self, address: &StateAddress) -> &mut Index {
        if !self.touched.contains(address) {
            self.touched.insert(address.clone());
        }
        self.catalog.index_or_new(address)
    }

    /// Whether a full block of `group` came with this very checkpoint.
    pub(super) fn is_full(&self, address: &StateAddress, group: KeyGroup) -> bool {
        let index = self.catalog.states.get(address);
        index.and_then(|index| index.groups.get(&group)).is_some_and(|group| group.since == self.number)
    }
}

/// One transaction's view.
pub(super) struct Writer<'a, 't> {
    pub(super) directory: &'a Path,
    pub(super) transaction: &'a mut RwTxn<'t>,
    pub(super) databases: &'a Databases,
}

impl Writer<'_, '_> {
    /// Checks that the stored entry is the one that we know, then counts the attempt up, above `taken`.
    pub(super) fn begin_attempt(&mut self, known: &Job, taken: Attempt) -> Result<Job, Failure> {
        self.check_job(known)?;
        let (job, _) = self.put_job(Job::new(known.attempt.max(taken).next(), self.id(), known.checkpoint.clone()))?;
        Ok(job)
    }

    /// Writes a checkpoint that follows `newest`, drops those of `dropped` and keeps those of `kept`, both the oldest first. Also returns what can be looked up then.
    pub(super) fn commit(
        &mut self,
        known: &Job,
        dropped: &[Retained],
        kept: &[Retained],
        newest: &Catalog,
        commit: &CheckpointCommit,
        incoming: &Incoming<'_>,
    ) -> Result<(Committed, Option<(Runs, Credit)>), Failure> {
        self.check_job(known)?;
        let metadata = &commit.metadata;
        let replaces = kept.is_empty() && dropped.len() == 1;
        let mut next = Next::new(metadata.checkpoint, newest.clone(), replaces);
        let found = match incoming {
            Incoming::Frozen(plan) => {
                self.put_frozen(&mut next, plan)?;
                None
            }
            Incoming::Sorted(sorting) => {
                let stored = dropped.iter().chain(kept).map(|stored| stored.number).max();
                let stored = stored.map(|number| Stored { number, catalog: newest });
                Some(self.put_sorted(&mut next, sorting, stored)?)
            }
        };
        let checkpoint = JobCheckpoint::of(metadata, kept.iter().map(|kept| kept.number).collect());
        let committed = self.finish(next, known, metadata, Some(checkpoint), kept)?;
        self.drop_records(dropped)?;
        if !replaces {
            self.prune(dropped, &committed.retained[0])?;
        }
        Ok((committed, found))
    }

    /// Writes indexes, record, and the job's entry with `checkpoint`, beside which `others` stay.
    pub(super) fn finish(
        &mut self,
        mut next: Next,
        known: &Job,
        metadata: &CheckpointMetadata,
        checkpoint: Option<JobCheckpoint>,
        others: &[Retained],
    ) -> Result<Committed, Failure> {
        self.put_indexes(&mut next)?;
        let record = Record::encode(metadata, &next.catalog.records())?;
        self.databases.checkpoint.put(self.transaction, &record_key(next.number), &record)?;
        let (job, job_bytes) = self.put_job(Job::new(known.attempt, self.id(), checkpoint))?;
        let mut retained = others.to_vec();
        retained.push(Retained { number: next.number, catalog: Some(Arc::new(next.catalog)) });
        Ok(Committed { job, retained, bytes: next.bytes + record.len() as u64 + job_bytes })
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

    fn put_frozen(&mut self, next: &mut Next, plan: &Plan<'_>) -> Result<(), Failure> {
        for (address, groups) in plan {
            next.touch(address);
            for (number, change) in groups {
                if let Some((since, _)) = change.blocks.first().filter(|_| change.replaces) {
                    self.supersede(next, address, *number, *since)?;
                }
                for (checkpoint, block) in &change.blocks {
                    let index = next.touch(address);
                    let key = BlockKey::first_of(index.number, *number, *checkpoint);
                    let tally = &mut index.groups.entry(*number).or_default().tally;
                    // One that was sorted elsewhere, as in a savepoint, is cut as sorted ones are, for those who look keys up later.
                    next.bytes += match Sorted::of(block, Limits::default().part) {
                        Some(sorted) => block::put_sorted(self.transaction, self.databases, key, &sorted, tally)?,
                        None => block::put(self.transaction, self.databases, key, block, tally)?,
                    };
                }
            }
        }
        Ok(())
    }

    /// Makes room for a full block of checkpoint `since`.
    pub(super) fn supersede(
        &mut self,
        next: &mut Next,
        address: &StateAddress,
        number: KeyGroup,
        since: CheckpointId,
    ) -> Result<(), Failure> {
        let replaces = next.replaces;
        let index = next.touch(address);
        let superseded = index.groups.insert(number, Group { since, ..Group::default() }).unwrap_or_default();
        if replaces {
            self.delete_superseded(address, index.number, number, since, &superseded)?;
        }
        Ok(())
    }

    fn put_indexes(&mut self, next: &mut Next) -> Result<(), Failure> {
        for address in std::mem::take(&mut next.touched) {
            let index = next.catalog.index_or_new(&address);
            if next.replaces {
                self.databases.checkpoint.delete(self.transaction, &index.key())?;
            }
            let value = index.encode(next.number)?;
            self.databases.checkpoint.put(self.transaction, &index.key(), &value)?;
            next.bytes += value.len() as u64;
        }
        Ok(())
    }

    /// When there is not what there must be, that is said and no more: what it was is needed by nobody any longer.
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
        let (directory, expected) = (self.directory.display(), superseded.tally.values);
        log::warn!(
            "{directory}: state {address}, key group {group} was damaged: {deleted} values instead of {expected}; it is replaced as a whole"
        );
        Ok(())
    }

    /// Deletes the group's blocks of checkpoints before `since`, and says how many values that were.
    pub(super) fn delete_before(&mut self, state: u32, group: KeyGroup, since: CheckpointId) -> heed::Result<u64> {
        self.delete_between(state, group, CheckpointId(0), since)
    }

    /// Deletes the group's blocks from checkpoint `first` on and before `end`, and says how many values that were.
    pub(super) fn delete_between(
        &mut self,
        state: u32,
        group: KeyGroup,
        first: CheckpointId,
        end: CheckpointId,
    ) -> heed::Result<u64> {
        let key = |checkpoint| BlockKey::first_of(state, group, checkpoint).encode();
        let (first, end) = (key(first), key(end));
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
