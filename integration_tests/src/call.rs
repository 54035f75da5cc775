//! Calls that may block: each takes effect at one moment and returns at another.

use std::time::Duration;

use cofferdam_engine::{
    Attempt, CheckpointId, Clock as _, Commit, Error, JobId, ProcessingTime,
    checkpoint::{coordinator::JobEnd, snapshot::CheckpointCommit, store::CommitStats},
    opening::{Opened, StoreSlot, open_attempt},
    operator::PreCommit,
    subtask::Completion,
    topology::plan::{Deployed, Plan},
};

use crate::{post::Party, world::World};

pub(crate) struct Call {
    pub(crate) party: Party,
    pub(crate) attempt: Attempt,
    pub(crate) not_before: ProcessingTime,
    pub(crate) stage: Stage,
}

pub(crate) enum Stage {
    Waiting(Work),
    Ran(Returned),
}

pub(crate) enum Work {
    PreCommit(CheckpointId, PreCommit),
    Publish(CheckpointId, Commit),
    Commit(Box<CheckpointCommit>),
    Open { is_first: bool, restore_from: Option<CheckpointId> },
    Delete,
}

pub(crate) enum Returned {
    Completion(Completion),
    Committed(CheckpointId, Result<CommitStats, Error>),
    Opened(Box<Result<Opened, Error>>),
    Deleted(Result<JobEnd, Error>),
}

impl Call {
    pub(crate) fn new(party: Party, attempt: Attempt, work: Work, world: &World) -> Self {
        Self { party, attempt, not_before: world.clock.now(), stage: Stage::Waiting(work) }
    }
}

impl Stage {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Waiting(Work::PreCommit(..)) => "pre-commit",
            Self::Waiting(Work::Publish(..)) => "publication",
            Self::Waiting(Work::Commit(_)) | Self::Ran(Returned::Committed(..)) => "commit",
            Self::Waiting(Work::Open { .. }) | Self::Ran(Returned::Opened(_)) => "opening",
            Self::Waiting(Work::Delete) | Self::Ran(Returned::Deleted(_)) => "deletion",
            Self::Ran(Returned::Completion(Completion::PreCommitted { .. })) => "pre-commit",
            Self::Ran(Returned::Completion(Completion::Published { .. })) => "publication",
        }
    }
}

impl Work {
    pub(crate) fn run(self, store: &StoreSlot, plan: &Plan, job: JobId) -> Returned {
        match self {
            Self::PreCommit(checkpoint, call) => {
                let result = call();
                Returned::Completion(Completion::PreCommitted { checkpoint, result, took: Duration::ZERO })
            }
            Self::Publish(checkpoint, call) => {
                Returned::Completion(Completion::Published { checkpoint, result: call() })
            }
            Self::Commit(commit) => Returned::Committed(commit.metadata.checkpoint, store.commit(&commit)),
            Self::Open { is_first, restore_from } => {
                let open =
                    |subtasks: &mut [Deployed]| subtasks.iter_mut().try_for_each(|one| one.subtask.open(&one.context));
                Returned::Opened(Box::new(open_attempt(store, plan, job, is_first, restore_from, open)))
            }
            Self::Delete => Returned::Deleted(store.delete(plan).map(|()| JobEnd::Cancelled)),
        }
    }
}
