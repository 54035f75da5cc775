//! Checkpoints that will not be.

use super::{Coordinator, CoordinatorEffect, RETRY, SavepointTicket, message::Effects, pending::Pending};
use crate::{
    checkpoint::{
        snapshot::SubtaskId,
        stats::{CheckpointFailureReason, CheckpointKind, CheckpointStats},
    },
    error::{BoxError, NotRetryable},
    fail_point::Point,
    id::{CheckpointId, ProcessingTime},
};

impl Coordinator {
    pub(super) fn tick(&mut self, now: ProcessingTime, effects: &mut Effects) -> Result<(), BoxError> {
        let is_late = |pending: &Pending| now >= pending.barrier.triggered.after(self.config.timeout);
        let late: Vec<_> = self.pending.values().filter(|pending| is_late(pending)).map(Pending::checkpoint).collect();
        for checkpoint in late {
            let reason =
                CheckpointFailureReason::Timeout { after: self.config.timeout, missing: self.missing(checkpoint) };
            self.abort(checkpoint, reason, now, effects)?;
        }
        self.trigger_if_due(now, effects)
    }

    pub(super) fn declined(
        &mut self,
        subtask: SubtaskId,
        checkpoint: CheckpointId,
        reason: String,
        now: ProcessingTime,
        effects: &mut Effects,
    ) -> Result<(), BoxError> {
        let subtask = self.layout.subtasks[&subtask].to_string();
        self.abort(checkpoint, CheckpointFailureReason::Declined { subtask, reason }, now, effects)?;
        self.trigger_if_due(now, effects)
    }

    pub(super) fn abort(
        &mut self,
        checkpoint: CheckpointId,
        reason: CheckpointFailureReason,
        now: ProcessingTime,
        effects: &mut Effects,
    ) -> Result<(), BoxError> {
        let Some(mut pending) = self.pending.remove(&checkpoint) else { return Ok(()) };
        let savepoints = std::mem::take(&mut pending.savepoints);
        let stats = self.stats(&pending, now, None);
        self.aborted(stats, savepoints, reason, now, effects)
    }

    /// A checkpoint will not be. An error if that has happened too often.
    pub(super) fn aborted(
        &mut self,
        mut stats: CheckpointStats,
        savepoints: Vec<SavepointTicket>,
        reason: CheckpointFailureReason,
        now: ProcessingTime,
        effects: &mut Effects,
    ) -> Result<(), BoxError> {
        let checkpoint = stats.checkpoint;
        let cause = self.count_failure(&stats, &reason);
        if !savepoints.is_empty() {
            let why = format!("its checkpoint, {checkpoint}, was {reason}");
            effects.push(CoordinatorEffect::SavepointFailed(savepoints, why));
        }
        if reason.is_failure() {
            self.not_pressed_before = now.after(self.config.min_pause.max(RETRY));
        }
        stats.aborted = Some(reason);
        if let Some(cause) = cause {
            self.fatal = Some(stats);
            // What is stopped would only be stopped again: the last one that completed has to do.
            return Err(if self.is_stopping { NotRetryable::new(cause).into() } else { cause.into() });
        }
        effects.push(CoordinatorEffect::Record(Box::new(stats)));
        self.layout.fail_points.reach(Point::Abort, None, checkpoint)?;
        effects.push(CoordinatorEffect::Aborted(checkpoint));
        if self.is_ending() && self.last.is_none() {
            self.again = Some(now.after(RETRY));
            self.not_before = self.not_before.max(now.after(RETRY));
        }
        Ok(())
    }

    /// Why the attempt ends with this failure, if it is one too many in a row.
    fn count_failure(&mut self, stats: &CheckpointStats, reason: &CheckpointFailureReason) -> Option<String> {
        // Who wanted a savepoint is told.
        if !reason.is_failure() || stats.kind == CheckpointKind::Savepoint {
            return None;
        }
        self.failures_in_a_row += 1;
        let tolerable = self.config.tolerable_failures.filter(|tolerable| self.failures_in_a_row > *tolerable)?;
        let checkpoint = stats.checkpoint;
        Some(format!("checkpoint {checkpoint} was {reason}, and {tolerable} failed checkpoints in a row are tolerable"))
    }

    /// The attempt is over: what has become of the checkpoints that were under way.
    pub fn abandon(&mut self, now: ProcessingTime) -> Vec<CheckpointStats> {
        let committing = self.committing.take().map(|(_, mut record)| {
            record.aborted = Some(CheckpointFailureReason::AttemptEnded);
            record.end_to_end = now.since(record.triggered);
            record
        });
        let pending = std::mem::take(&mut self.pending);
        let pending: Vec<_> = pending
            .values()
            .map(|pending| self.stats(pending, now, Some(CheckpointFailureReason::AttemptEnded)))
            .collect();
        self.fatal.take().into_iter().chain(committing).chain(pending).collect()
    }
}
