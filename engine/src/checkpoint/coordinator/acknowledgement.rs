//! What subtasks acknowledge.

use super::{Coordinator, message::Effects};
use crate::{
    checkpoint::{
        snapshot::{SubtaskId, SubtaskSnapshot},
        stats::CheckpointFailureReason,
    },
    error::BoxError,
    fail_point::Point,
    id::{CheckpointId, ProcessingTime},
};

impl Coordinator {
    pub(super) fn acknowledged(
        &mut self,
        subtask: SubtaskId,
        checkpoint: CheckpointId,
        snapshot: SubtaskSnapshot,
        now: ProcessingTime,
        effects: &mut Effects,
    ) -> Result<(), BoxError> {
        if snapshot.finished {
            // Should the report of it be lost.
            self.finish(subtask, effects);
        }
        let Some(pending) = self.pending.get_mut(&checkpoint) else { return Ok(()) };
        pending.acknowledged.insert(subtask, (now, snapshot));
        let is_whole = pending.acknowledged.len() == self.layout.subtasks.len();
        self.layout.fail_points.reach(Point::Acknowledged, Some(subtask), checkpoint)?;
        if !is_whole {
            return Ok(());
        }
        self.layout.fail_points.reach(Point::LastAcknowledgement, Some(subtask), checkpoint)?;
        self.end_loops(checkpoint, effects);
        let older = self.pending.range(..checkpoint).filter(|(_, older)| !self.is_whole(older));
        let lost: Vec<_> = older.map(|(older, _)| *older).collect();
        for older in lost {
            // Subtasks acknowledge in order: a message was lost.
            self.abort(older, CheckpointFailureReason::Subsumed(checkpoint), now, effects)?;
        }
        self.commit_next(now, effects)
    }
}
