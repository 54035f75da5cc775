//! What happens before a subtask runs, as the runtime does it: the store is read, sinks take up their output, subtasks open.

use std::sync::Arc;

use cofferdam_engine::{
    Attempt, CheckpointId, Error, ErrorKind, JobId,
    checkpoint::{
        snapshot::{CheckpointCommit, CheckpointMetadata},
        store::{CheckpointStore, CommitStats, StateBackend as _, StoreError, StoreErrorKind},
    },
    topology::plan::{Deployed, Plan},
};

use crate::store::FaultyBackend;

/// The job's store; empty after an error, until it is opened again.
pub(crate) struct StoreSlot {
    backend: FaultyBackend,
    store: Option<Box<dyn CheckpointStore>>,
}

impl StoreSlot {
    pub(crate) fn new(backend: FaultyBackend) -> Self {
        Self { backend, store: None }
    }

    fn with<R>(
        &mut self,
        call: impl FnOnce(&mut dyn CheckpointStore) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => self.backend.open()?,
        };
        let result = call(store.as_mut());
        if !result.as_ref().is_err_and(|error| error.kind == StoreErrorKind::Io) {
            self.store = Some(store);
        }
        result
    }

    pub(crate) fn commit(&mut self, commit: &CheckpointCommit) -> Result<CommitStats, Error> {
        self.with(|store| store.commit(commit))
            .map_err(|error| Error::new(ErrorKind::Store, error.message, error.cause))
    }

    pub(crate) fn close(&mut self) {
        self.store = None;
    }
}

/// An attempt, ready to run.
pub(crate) struct Opened {
    pub(crate) attempt: Attempt,
    pub(crate) job: JobId,
    pub(crate) restored: CheckpointId,
    pub(crate) finished: bool,
    pub(crate) draining: bool,
    pub(crate) subtasks: Vec<Deployed>,
}

/// Opens an attempt from the newest checkpoint; the first one ever writes checkpoint 0.
pub(crate) fn open_attempt(slot: &mut StoreSlot, plan: &Plan, job: JobId) -> Result<Opened, Error> {
    let place = slot.backend.place();
    let newest = slot.with(|store| store.newest())?;
    plan.check_sinks(newest.as_ref(), &place)?;
    let (restored, attempt) = match newest {
        Some(checkpoint) => {
            plan.check_restorable(&checkpoint, &place)?;
            (checkpoint, slot.with(|store| store.begin_attempt())?)
        }
        None => {
            let mut genesis = plan.genesis(job, Attempt(0))?;
            genesis.metadata.attempt = slot.with(|store| store.begin_attempt())?;
            slot.commit(&genesis)?;
            let attempt = genesis.metadata.attempt;
            (genesis.metadata, attempt)
        }
    };
    plan.recover_sinks(&restored, attempt, &place)?;
    let (job, checkpoint) = (restored.job, restored.checkpoint);
    let (finished, draining) = (restored.finished, restored.draining);
    let mut subtasks = Vec::new();
    if !finished {
        let reader = slot.with(|store| store.reader())?;
        subtasks = plan.deploy(attempt, Arc::new(restored), reader, &place);
        subtasks.iter_mut().try_for_each(|one| one.subtask.open(&one.context))?;
    }
    Ok(Opened { attempt, job, restored: checkpoint, finished, draining, subtasks })
}

/// Publishes what completed checkpoints still owe, and deletes the state.
pub(crate) fn delete(slot: &mut StoreSlot, plan: &Plan) -> Result<(), Error> {
    let newest: Option<CheckpointMetadata> = slot.with(|store| store.newest())?;
    if let Some(checkpoint) = newest {
        let attempt = slot.with(|store| store.begin_attempt())?;
        plan.recover_sinks(&checkpoint, attempt, &slot.backend.place())?;
    }
    let store = slot.store.take().map_or_else(|| slot.backend.open(), Ok)?;
    Ok(store.delete()?)
}
