//! State that was taken out of steps, and from which others go on.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

use cofferdam_engine::{
    Attempt, CheckpointId, Error, JobId, ProcessingTime,
    checkpoint::{
        layout::EdgeLayout,
        snapshot::{CheckpointCommit, CheckpointMetadata, OperatorSnapshot, SubtaskId, SubtaskSnapshot},
        store::{StateBackend as _, StateReader},
    },
    topology::plan::Plan,
};
use cofferdam_storage::Memory;

/// The state of the steps in an [`OperatorHarness`](crate::OperatorHarness) at a barrier, as a store would have it: encoded, and as the
/// changes since the snapshot before.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Every checkpoint that completed, from checkpoint 0 on.
    completed: Vec<Arc<CheckpointCommit>>,
    /// The last one's.
    checkpoint: CheckpointId,
    /// When it was completed.
    time: ProcessingTime,
}

/// What an attempt goes on from.
pub(super) struct Restored {
    pub(super) attempt: Attempt,
    pub(super) metadata: CheckpointMetadata,
    pub(super) reader: Arc<dyn StateReader>,
    pub(super) time: ProcessingTime,
}

impl Snapshot {
    /// Its number.
    pub fn checkpoint(&self) -> CheckpointId {
        self.checkpoint
    }

    /// Checkpoint 0: no state at all.
    pub(super) fn genesis(plan: &Plan) -> Result<Self, Error> {
        let commit = plan.genesis(JobId(0), Attempt(1))?;
        Ok(Self { completed: vec![Arc::new(commit)], checkpoint: CheckpointId(0), time: ProcessingTime(0) })
    }

    /// This, and behind it what every subtask acknowledged `checkpoint` with.
    pub(super) fn then(
        &self,
        checkpoint: CheckpointId,
        restored: &Restored,
        edges: &[EdgeLayout],
        subtasks: BTreeMap<SubtaskId, SubtaskSnapshot>,
        time: ProcessingTime,
    ) -> Self {
        let finished = subtasks.values().all(|subtask| subtask.finished);
        let known = || subtasks.iter().map(|(subtask, snapshot)| (*subtask, snapshot));
        let times = edges.iter().flat_map(|edge| edge.times(known())).collect();
        let attempt = restored.attempt;
        let mut metadata = CheckpointMetadata { checkpoint, attempt, finished, times, ..restored.metadata.clone() };
        for operator in &mut metadata.operators {
            let own = subtasks.values().flat_map(|subtask| &subtask.operators).filter(|(uid, _)| *uid == operator.uid);
            operator.subtasks = own.map(|(_, snapshot): &(_, OperatorSnapshot)| snapshot.clone()).collect();
        }
        let deltas = subtasks.into_values().flat_map(|subtask| subtask.deltas).collect();
        let mut completed = self.completed.clone();
        let (num_retained, fail_points) = (NonZeroU32::MIN, Default::default());
        completed.push(Arc::new(CheckpointCommit { metadata, deltas, num_retained, fail_points }));
        Self { completed, checkpoint, time }
    }

    /// Takes it through a store, checkpoint by checkpoint.
    pub(super) fn restore(&self) -> Result<Restored, Error> {
        let mut store = Memory::new().open()?;
        let mut attempt = Attempt(0);
        for commit in &self.completed {
            while attempt < commit.metadata.attempt {
                attempt = store.begin_attempt()?;
            }
            store.commit(commit)?;
        }
        let missing = || Error::refused("the snapshot holds no checkpoint");
        let metadata = store.newest()?.ok_or_else(missing)?;
        if metadata.finished {
            let checkpoint = self.checkpoint;
            return Err(Error::refused(format!(
                "the input had ended before checkpoint {checkpoint}: nothing goes on from there; take the snapshot before the end"
            )));
        }
        let attempt = store.begin_attempt()?;
        Ok(Restored { attempt, metadata, reader: store.reader()?, time: self.time })
    }
}
