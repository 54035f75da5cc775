//! A checkpoint that is under way, and what is recorded of it.

use std::time::Duration;

use super::{Coordinator, JobEnd, SavepointTicket};
use crate::{
    checkpoint::{
        layout::Acknowledged,
        snapshot::SnapshotStats,
        stats::{CheckpointFailureReason, CheckpointKind, CheckpointStats, SubtaskStats},
    },
    element::CheckpointBarrier,
    id::{CheckpointId, ProcessingTime},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    pub(super) barrier: CheckpointBarrier,
    pub(super) kind: CheckpointKind,
    pub(super) skipped: u64,
    pub(super) acknowledged: Acknowledged,
    /// What is to be written from it.
    pub(super) savepoints: Vec<SavepointTicket>,
}

impl Pending {
    pub(super) fn checkpoint(&self) -> CheckpointId {
        self.barrier.checkpoint
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Committing {
    pub(super) checkpoint: CheckpointId,
    pub(super) began: ProcessingTime,
    pub(super) end: Option<JobEnd>,
    pub(super) savepoints: Vec<SavepointTicket>,
}

impl Coordinator {
    /// The names of those that have not acknowledged a checkpoint.
    pub(super) fn missing(&self, checkpoint: CheckpointId) -> String {
        let acknowledged =
            |subtask| self.pending.get(&checkpoint).is_some_and(|one| one.acknowledged.contains_key(subtask));
        let missing = self.layout.subtasks.iter().filter(|(subtask, _)| !acknowledged(*subtask));
        missing.map(|(_, name)| &**name).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn is_whole(&self, pending: &Pending) -> bool {
        pending.acknowledged.len() == self.layout.subtasks.len()
    }

    pub(super) fn stats(
        &self,
        pending: &Pending,
        now: ProcessingTime,
        aborted: Option<CheckpointFailureReason>,
    ) -> CheckpointStats {
        let triggered = pending.barrier.triggered;
        let subtasks = pending.acknowledged.iter().map(|(subtask, (acknowledged, snapshot))| SubtaskStats {
            subtask: *subtask,
            name: self.layout.subtasks[subtask].clone(),
            end_to_end: acknowledged.since(triggered),
            parts: snapshot.stats,
        });
        CheckpointStats {
            checkpoint: pending.checkpoint(),
            attempt: self.attempt,
            kind: pending.kind,
            triggered,
            skipped: pending.skipped,
            end_to_end: now.since(triggered),
            commit: Duration::ZERO,
            parts: total(pending.acknowledged.values().map(|(_, snapshot)| &snapshot.stats)),
            bytes_written: 0,
            subtasks: subtasks.collect(),
            aborted,
        }
    }
}

fn total<'a>(parts: impl Iterator<Item = &'a SnapshotStats>) -> SnapshotStats {
    parts.fold(SnapshotStats::default(), |total, part| SnapshotStats {
        start_delay: total.start_delay.max(part.start_delay),
        alignment: total.alignment.max(part.alignment),
        stashed: total.stashed + part.stashed,
        sync: total.sync.max(part.sync),
        r#async: total.r#async.max(part.r#async),
        bytes: total.bytes + part.bytes,
        bytes_full: total.bytes_full + part.bytes_full,
        bytes_in_flight: total.bytes_in_flight + part.bytes_in_flight,
        is_unaligned: total.is_unaligned || part.is_unaligned,
    })
}
