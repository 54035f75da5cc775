//! Calls that may block: each takes effect at one moment and returns at another.

use std::{
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use cofferdam_engine::{
    Attempt, CheckpointId, Clock as _, Commit, Error, ProcessingTime, Request, RequestId,
    checkpoint::{
        coordinator::{JobEnd, SavepointTicket},
        snapshot::CheckpointCommit,
        store::CommitStats,
    },
    failed_records::FailedRecords,
    opening::{Opened, Opening, StoreSlot, open_attempt},
    operator::PreCommit,
    savepoint::{Pinned, SavepointInfo},
    subtask::Completion,
    topology::plan::{Deployed, Plan},
};

use crate::{post::Party, savepoints::Export, world::World};

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
    /// Polled once; again later, if it is not ready.
    Ask(RequestId, Request),
    Commit(Box<CheckpointCommit>),
    CommitSavepoint(Box<CheckpointCommit>, SavepointTicket),
    Export(Export),
    Open {
        opening: Opening,
        failed: Arc<FailedRecords>,
    },
    Settle,
}

pub(crate) enum Returned {
    Completion(Completion),
    Committed(CheckpointId, Result<CommitStats, Error>),
    /// And what the savepoint is to be written from.
    Pinned(SavepointTicket, Result<Pinned, Error>, CheckpointId, CommitStats),
    Exported(Result<SavepointInfo, Error>),
    Opened(Box<Result<Opened, Error>>),
    Settled(Result<JobEnd, Error>),
}

impl Call {
    pub(crate) fn new(party: Party, attempt: Attempt, work: Work, world: &World) -> Self {
        Self { party, attempt, not_before: world.clock.now(), stage: Stage::Waiting(work) }
    }
}

impl Call {
    /// Whether it is a publication that failed and waits to be tried again.
    pub(crate) fn is_paused(&self, now: ProcessingTime) -> bool {
        matches!(self.stage, Stage::Waiting(Work::Publish(..))) && self.not_before > now
    }

    /// The request that it is, if it is one, whether it has been answered or not.
    pub(crate) fn request(&self) -> Option<RequestId> {
        match &self.stage {
            Stage::Waiting(Work::Ask(request, _)) => Some(*request),
            Stage::Ran(Returned::Completion(Completion::Answered(request))) => Some(*request),
            _ => None,
        }
    }
}

impl Stage {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Waiting(Work::PreCommit(..)) => "pre-commit",
            Self::Waiting(Work::Publish(..)) => "publication",
            Self::Waiting(Work::Ask(..)) => "request",
            Self::Waiting(Work::Commit(_) | Work::CommitSavepoint(..)) => "commit",
            Self::Ran(Returned::Committed(..) | Returned::Pinned(..)) => "commit",
            Self::Waiting(Work::Export(_)) | Self::Ran(Returned::Exported(_)) => "export",
            Self::Waiting(Work::Open { .. }) | Self::Ran(Returned::Opened(_)) => "opening",
            Self::Waiting(Work::Settle) | Self::Ran(Returned::Settled(_)) => "settlement",
            Self::Ran(Returned::Completion(Completion::PreCommitted { .. })) => "pre-commit",
            Self::Ran(Returned::Completion(Completion::Published { .. })) => "publication",
            Self::Ran(Returned::Completion(Completion::Answered(_))) => "request",
        }
    }
}

impl Work {
    /// Carries it out; gives it back if it is a request that needs longer.
    pub(crate) fn run(self, store: &StoreSlot, plan: &Plan) -> Stage {
        Stage::Ran(match self {
            Self::Ask(id, mut request) => {
                let mut task = Context::from_waker(Waker::noop());
                if request.as_mut().poll(&mut task).is_pending() {
                    return Stage::Waiting(Self::Ask(id, request));
                }
                Returned::Completion(Completion::Answered(id))
            }
            Self::PreCommit(checkpoint, call) => {
                let result = call();
                Returned::Completion(Completion::PreCommitted { checkpoint, result, took: Duration::ZERO })
            }
            Self::Publish(checkpoint, call) => {
                Returned::Completion(Completion::Published { checkpoint, result: call() })
            }
            Self::Commit(commit) => Returned::Committed(commit.metadata.checkpoint, store.commit(&commit)),
            Self::CommitSavepoint(commit, ticket) => match store.commit_savepoint(&commit) {
                Ok((stats, pinned)) => Returned::Pinned(ticket, pinned, commit.metadata.checkpoint, stats),
                Err(error) => Returned::Committed(commit.metadata.checkpoint, Err(error)),
            },
            Self::Export(export) => Returned::Exported(export.run(&plan.settings().fail_points)),
            Self::Open { opening, failed } => {
                let open = |subtasks: &mut [Deployed]| {
                    subtasks.iter_mut().try_for_each(|one| {
                        one.context.failed_records = failed.clone();
                        one.subtask.open(&one.context)
                    })
                };
                Returned::Opened(Box::new(open_attempt(store, plan, opening, open)))
            }
            Self::Settle => Returned::Settled(store.settle(plan).map(|()| JobEnd::Cancelled)),
        })
    }
}
