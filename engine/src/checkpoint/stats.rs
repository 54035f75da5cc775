//! What became of each checkpoint.

use std::{collections::VecDeque, time::Duration};

use crate::{
    checkpoint::snapshot::SnapshotStats,
    id::{Attempt, CheckpointId},
};

/// How many checkpoints are remembered.
const HISTORY: usize = 10_000;

/// One checkpoint, completed or aborted.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointStats {
    /// Its number.
    pub checkpoint: CheckpointId,
    /// The attempt that triggered it.
    pub attempt: Attempt,
    /// From the trigger to the durable commit, or to the abort.
    pub end_to_end: Duration,
    /// Of the durable commit alone.
    pub commit: Duration,
    /// The maximum over the subtasks of each part; the sum of bytes.
    pub parts: SnapshotStats,
    /// Bytes written by the store for it.
    pub bytes_written: u64,
    /// Why it was aborted; `None` if it completed.
    pub aborted: Option<CheckpointFailureReason>,
}

/// Why a checkpoint was aborted. Not an error: the next one carries what it would have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointFailureReason {
    /// It took too long.
    #[error("not complete within {0:?}")]
    Timeout(Duration),
    /// A subtask could not take part.
    #[error("declined by {subtask}: {reason}")]
    Declined {
        /// Which.
        subtask: String,
        /// Why.
        reason: String,
    },
}

/// The last checkpoints, oldest first.
#[derive(Clone, Debug, Default)]
pub struct CheckpointHistory {
    entries: VecDeque<CheckpointStats>,
    completed: u64,
    aborted: u64,
}

impl CheckpointHistory {
    /// Adds one.
    pub fn push(&mut self, stats: CheckpointStats) {
        if stats.aborted.is_some() {
            self.aborted += 1;
        } else {
            self.completed += 1;
        }
        if self.entries.len() == HISTORY {
            self.entries.pop_front();
        }
        self.entries.push_back(stats);
    }

    /// The last 10,000, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &CheckpointStats> {
        self.entries.iter()
    }

    /// The newest that completed.
    pub fn last_completed(&self) -> Option<&CheckpointStats> {
        self.entries.iter().rev().find(|stats| stats.aborted.is_none())
    }

    /// How many completed, forgotten ones included.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// How many were aborted, forgotten ones included.
    pub fn aborted(&self) -> u64 {
        self.aborted
    }
}
