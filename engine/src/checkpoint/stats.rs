//! What became of each checkpoint.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    checkpoint::snapshot::{SnapshotStats, SubtaskId},
    id::{Attempt, CheckpointId, ProcessingTime},
};

/// How many checkpoints are remembered.
const HISTORY: usize = 10_000;

/// Why a checkpoint was triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckpointKind {
    /// The interval had passed.
    Periodic,
    /// The host asked for a savepoint.
    Savepoint,
    /// The host stops the job.
    Stop,
    /// The input has ended, or is about to be found empty.
    EndOfInput,
}

/// One checkpoint, completed or aborted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckpointStats {
    /// Its number.
    pub checkpoint: CheckpointId,
    /// The attempt that triggered it.
    pub attempt: Attempt,
    /// Why it was triggered.
    pub kind: CheckpointKind,
    /// When it was triggered; see [`CheckpointHistory::wall_clock`].
    pub triggered: ProcessingTime,
    /// Beats of the interval that passed before it without a checkpoint, since another was under way or a pause was kept.
    pub skipped: u64,
    /// From the trigger to the durable commit, or to the abort.
    pub end_to_end: Duration,
    /// Of the durable commit alone.
    pub commit: Duration,
    /// The maximum over the subtasks of each duration; the sum of all else.
    pub parts: SnapshotStats,
    /// Bytes written by the store for it.
    pub bytes_written: u64,
    /// Each subtask that has acknowledged it.
    pub subtasks: Box<[SubtaskStats]>,
    /// Why it was aborted; `None` if it completed.
    pub aborted: Option<CheckpointFailureReason>,
}

/// One subtask's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubtaskStats {
    /// Which.
    pub subtask: SubtaskId,
    /// Its operators' names and its index.
    pub name: Arc<str>,
    /// From the trigger to its acknowledgement.
    pub end_to_end: Duration,
    /// What it took.
    pub parts: SnapshotStats,
}

/// Why a checkpoint was aborted. Not an error: the next one carries what it would have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointFailureReason {
    /// It took too long.
    #[error("not complete within {after:?}: not acknowledged by {missing}")]
    Timeout {
        /// How long that is.
        after: Duration,
        /// Who has not acknowledged it.
        missing: String,
    },
    /// A subtask could not take part.
    #[error("declined by {subtask}: {reason}")]
    Declined {
        /// Which.
        subtask: String,
        /// Why.
        reason: String,
    },
    /// A newer one was acknowledged by every subtask first. Not counted as a failure.
    #[error("subsumed by checkpoint {0}")]
    Subsumed(CheckpointId),
    /// It could not be stored, for want of room as a rule, and this is why.
    #[error("not stored: {0}")]
    NotStored(String),
    /// The attempt ended with it under way. Not counted as a failure.
    #[error("the attempt ended")]
    AttemptEnded,
}

impl CheckpointFailureReason {
    /// Whether it counts against the tolerable failures.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Declined { .. } | Self::NotStored(_))
    }
}

/// A number over many checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Summary<T> {
    /// The least.
    pub min: T,
    /// As many are below as above.
    pub median: T,
    /// One in a hundred is above.
    pub p99: T,
    /// The greatest.
    pub max: T,
}

impl<T: Copy + Ord> Summary<T> {
    /// Of some values; `None` of none.
    pub fn of(values: impl IntoIterator<Item = T>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_unstable();
        // The nearest rank.
        let rank = |percent: usize| values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self { min: rank(0)?, median: rank(50)?, p99: rank(99)?, max: rank(100)? })
    }
}

/// The last checkpoints, oldest first.
///
/// ```
/// # use cofferdam_engine::checkpoint::stats::{CheckpointHistory, CheckpointStats};
/// # fn example(history: CheckpointHistory) {
/// if let Some(alignment) = history.summary(|checkpoint: &CheckpointStats| checkpoint.parts.alignment) {
///     println!("aligned within {:?}, half of them within {:?}", alignment.max, alignment.median);
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CheckpointHistory {
    entries: VecDeque<CheckpointStats>,
    completed: u64,
    aborted: u64,
    failed: u64,
    skipped: u64,
    origin: std::time::SystemTime,
}

impl CheckpointHistory {
    /// An empty one. `origin` is the moment 0 of the driver's monotonic clock.
    pub fn new(origin: std::time::SystemTime) -> Self {
        Self { entries: VecDeque::new(), completed: 0, aborted: 0, failed: 0, skipped: 0, origin }
    }

    /// Adds one.
    pub fn push(&mut self, stats: CheckpointStats) {
        match &stats.aborted {
            None => self.completed += 1,
            Some(reason) => {
                self.aborted += 1;
                self.failed += u64::from(reason.is_failure());
            }
        }
        self.skipped += stats.skipped;
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

    /// The newest that counts against the tolerable failures.
    pub fn last_failed(&self) -> Option<&CheckpointStats> {
        self.entries.iter().rev().find(|stats| stats.aborted.as_ref().is_some_and(CheckpointFailureReason::is_failure))
    }

    /// How many completed, forgotten ones included.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// How many were aborted, forgotten ones included.
    pub fn aborted(&self) -> u64 {
        self.aborted
    }

    /// How many of the aborted ones count against the tolerable failures.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Beats of the interval that passed without a checkpoint.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Minimum, median, 99th percentile and maximum of a number over the completed checkpoints remembered; `None` if there is none.
    pub fn summary<T: Copy + Ord>(&self, value: impl FnMut(&CheckpointStats) -> T) -> Option<Summary<T>> {
        Summary::of(self.entries.iter().filter(|stats| stats.aborted.is_none()).map(value))
    }

    /// The time of day of a moment in these statistics.
    pub fn wall_clock(&self, moment: ProcessingTime) -> std::time::SystemTime {
        self.origin + Duration::from_nanos(moment.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_takes_the_nearest_rank() {
        assert_eq!(Summary::of([0u8; 0]), None);
        assert_eq!(Summary::of([7]), Some(Summary { min: 7, median: 7, p99: 7, max: 7 }));
        assert_eq!(Summary::of((1..=200).rev()), Some(Summary { min: 1, median: 100, p99: 198, max: 200 }));
    }
}
