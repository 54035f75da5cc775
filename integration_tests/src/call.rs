//! Calls that may block: each takes effect at one moment and returns at another.

use std::time::Duration;

use cofferdam_engine::{
    Attempt, BoxError, CheckpointId, Clock as _, Commit, Error, JobId, ProcessingTime,
    checkpoint::{coordinator::JobEnd, snapshot::CheckpointCommit, store::CommitStats},
    opening::{Opened, StoreSlot, open_attempt},
    operator::PreCommit,
    subtask::Completion,
    topology::plan::{Deployed, Plan},
};

use crate::{fault::Fault, post::Party, world::World};

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
    Open { is_first: bool },
    Delete,
}

pub(crate) enum Returned {
    Completion(Completion),
    Committed(CheckpointId, Result<CommitStats, Error>),
    Opened(Box<Result<Opened, Error>>),
    Deleted(Result<JobEnd, Error>),
}

impl Call {
    /// Begins at once, unless a fault delays it.
    pub(crate) fn new(party: Party, attempt: Attempt, work: Work, world: &mut World) -> Self {
        let mut not_before = world.clock.now();
        if matches!(work, Work::PreCommit(..)) && world.faults.take(Fault::DelayPreCommit) {
            not_before = not_before.after(world.setup.settings.checkpoints.timeout + Duration::from_millis(1));
        }
        Self { party, attempt, not_before, stage: Stage::Waiting(work) }
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

fn injected<T>(fault: Fault) -> Result<T, BoxError> {
    Err(format!("injected: {fault:?}").into())
}

impl Work {
    pub(crate) fn run(self, store: &StoreSlot, plan: &Plan, job: JobId, world: &mut World) -> Returned {
        match self {
            Self::PreCommit(checkpoint, call) => {
                let failed = world.faults.take(Fault::FailPreCommit);
                let result = if failed { injected(Fault::FailPreCommit) } else { call() };
                Returned::Completion(Completion::PreCommitted { checkpoint, result, took: Duration::ZERO })
            }
            Self::Publish(checkpoint, call) => {
                let result = if world.faults.take(Fault::FailPublish) {
                    injected(Fault::FailPublish)
                } else if world.faults.take(Fault::FailPublishLate) {
                    call().and_then(|()| injected(Fault::FailPublishLate))
                } else {
                    call()
                };
                Returned::Completion(Completion::Published { checkpoint, result })
            }
            Self::Commit(commit) => Returned::Committed(commit.metadata.checkpoint, store.commit(&commit)),
            Self::Open { is_first } => {
                let open =
                    |subtasks: &mut [Deployed]| subtasks.iter_mut().try_for_each(|one| one.subtask.open(&one.context));
                Returned::Opened(Box::new(open_attempt(store, plan, job, is_first, open)))
            }
            Self::Delete => Returned::Deleted(store.delete(plan).map(|()| JobEnd::Cancelled)),
        }
    }
}
