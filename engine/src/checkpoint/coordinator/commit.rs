//! Checkpoints that are whole, on their way to the store and back.

use std::{collections::btree_map::OccupiedEntry, sync::Arc, time::Duration};

use super::{
    Coordinator, CoordinatorEffect, JobEnd, LOOK, RETRY,
    message::Effects,
    pending::{Committing, Pending},
};
use crate::{
    checkpoint::{
        layout::Acknowledged,
        snapshot::{CheckpointCommit, CheckpointMetadata, StateDelta},
        stats::CheckpointFailureReason,
        store::CommitStats,
    },
    error::BoxError,
    fail_point::Point,
    id::{CheckpointId, ProcessingTime},
    mutation::{self, Mutation},
};

impl Coordinator {
    /// Hands the oldest checkpoint to the store, if it is whole and the store is free.
    pub(super) fn commit_next(&mut self, now: ProcessingTime, effects: &mut Effects) -> Result<(), BoxError> {
        if self.committing.is_some() || self.last.is_some() {
            return Ok(());
        }
        let whole = self.layout.subtasks.len();
        let oldest = self.pending.first_entry().filter(|oldest| oldest.get().acknowledged.len() == whole);
        let Some(pending) = oldest.map(OccupiedEntry::remove) else { return Ok(()) };
        let checkpoint = pending.checkpoint();
        effects.push(self.commit(pending, now));
        if mutation::is(Mutation::CompletionAnnouncedEarly) {
            effects.push(CoordinatorEffect::Completed(checkpoint));
        }
        self.layout.fail_points.reach(Point::HandedToStore, None, checkpoint)?;
        Ok(())
    }

    fn commit(&mut self, pending: Pending, now: ProcessingTime) -> CoordinatorEffect {
        let stats = self.stats(&pending, now, None);
        let Pending { barrier, acknowledged: mut snapshots, savepoints, .. } = pending;
        let checkpoint = barrier.checkpoint;
        let finished = snapshots.values().all(|(_, snapshot)| snapshot.finished && snapshot.in_flight.is_empty());
        let end = match (finished, barrier.halt) {
            (true, _) => Some(JobEnd::Finished),
            (false, true) => Some(JobEnd::Stopped),
            (false, false) => None,
        };
        self.committing = Some((Committing { checkpoint, began: now, end, savepoints: savepoints.clone() }, stats));
        let metadata = self.metadata(checkpoint, finished, &mut snapshots);
        let dropped = self.inherited.dropped.iter().map(|delta| Arc::new(StateDelta { checkpoint, ..delta.clone() }));
        let deltas = snapshots.into_values().flat_map(|(_, snapshot)| snapshot.deltas).chain(dropped).collect();
        let commit = Box::new(CheckpointCommit {
            metadata,
            deltas,
            num_retained: self.config.num_retained,
            fail_points: self.layout.fail_points.clone(),
        });
        match savepoints.is_empty() {
            true => CoordinatorEffect::Commit(commit),
            false => CoordinatorEffect::CommitSavepoint(commit, savepoints),
        }
    }

    /// What a checkpoint holds beside keyed state. What was in flight is taken out of the snapshots.
    fn metadata(&self, checkpoint: CheckpointId, finished: bool, snapshots: &mut Acknowledged) -> CheckpointMetadata {
        let operators = self.layout.operators.iter().map(|operator| operator.record(snapshots)).collect();
        let known = || snapshots.iter().map(|(subtask, (_, snapshot))| (*subtask, snapshot));
        let times = self.layout.edges.iter().flat_map(|edge| edge.times(known())).collect();
        let in_flight = self.layout.edges.iter().flat_map(|edge| edge.take_in_flight(snapshots)).collect();
        CheckpointMetadata {
            job: self.layout.job,
            job_name: self.layout.job_name.clone(),
            checkpoint,
            attempt: self.attempt,
            max_parallelism: self.layout.max_parallelism,
            finished,
            draining: self.is_draining,
            operators,
            in_flight,
            times,
            origin: self.inherited.origin,
        }
    }

    pub(super) fn committed(
        &mut self,
        checkpoint: CheckpointId,
        stats: CommitStats,
        now: ProcessingTime,
        effects: &mut Effects,
    ) -> Result<(), BoxError> {
        let Some((committed, mut record)) = self.committing.take_if(|(one, _)| one.checkpoint == checkpoint) else {
            return Ok(());
        };
        record.end_to_end = now.since(record.triggered);
        record.commit = now.since(committed.began);
        record.bytes_written = stats.bytes;
        effects.push(CoordinatorEffect::Record(Box::new(record)));
        self.failures_in_a_row = 0;
        self.inherited.dropped.clear();
        self.layout.fail_points.reach(Point::CompletionAnnounced, None, checkpoint)?;
        effects.push(CoordinatorEffect::Completed(checkpoint));
        if let Some(end) = committed.end {
            self.last = Some((checkpoint, end));
            self.again = Some(now.after(RETRY));
            let rest: Vec<_> = self.pending.keys().copied().collect();
            for pending in rest {
                self.abort(pending, CheckpointFailureReason::AttemptEnded, now, effects)?;
            }
            self.fail_wanted(effects);
            self.if_done(effects);
            return Ok(());
        }
        self.not_before = now.after(self.config.min_pause);
        if self.is_ending() {
            let pause = if self.is_over() { Duration::ZERO } else { LOOK };
            self.again = Some(now.after(pause));
        }
        self.commit_next(now, effects)?;
        self.trigger_if_due(now, effects)
    }

    /// What it held is owed to the next one, as after any abort.
    pub(super) fn not_stored(
        &mut self,
        checkpoint: CheckpointId,
        why: String,
        now: ProcessingTime,
        effects: &mut Effects,
    ) -> Result<(), BoxError> {
        let Some((committing, mut stats)) = self.committing.take_if(|(one, _)| one.checkpoint == checkpoint) else {
            return Ok(());
        };
        stats.end_to_end = now.since(stats.triggered);
        stats.commit = now.since(committing.began);
        self.aborted(stats, committing.savepoints, CheckpointFailureReason::NotStored(why), now, effects)?;
        self.commit_next(now, effects)?;
        self.trigger_if_due(now, effects)
    }
}
