//! What happens before a subtask runs: the store is opened, checked and read, sinks take up their output, subtasks open. All of it may block,
//! so all of it runs on a blocking thread.

use std::sync::Arc;

use cofferdam_engine::{
    Attempt, CheckpointId, Error, ErrorKind, JobId,
    checkpoint::{
        snapshot::{CheckpointCommit, CheckpointMetadata},
        store::{CheckpointStore, CommitStats, StateBackend, StoreError, StoreErrorKind},
    },
    topology::plan::{Deployed, Plan},
};
use parking_lot::Mutex;

use crate::runtime::status::StartedFrom;

/// The job's store, owned by the job and not by an attempt; empty after a failed commit, until it is opened again.
#[derive(Clone)]
pub(crate) struct StoreSlot {
    backend: Arc<dyn StateBackend>,
    store: Arc<Mutex<Option<Box<dyn CheckpointStore>>>>,
}

impl StoreSlot {
    pub(crate) fn new(backend: Arc<dyn StateBackend>) -> Self {
        Self { backend, store: Arc::default() }
    }

    pub(crate) fn place(&self) -> String {
        self.backend.place()
    }

    /// Whether checkpoints outlive the process.
    pub(crate) fn is_durable(&self) -> bool {
        self.backend.is_durable()
    }

    /// Calls the store, opening it first if it is not open. After an error of the disk's the store is closed: what it then holds is unknown until it is
    /// opened again.
    fn with<R>(&self, call: impl FnOnce(&mut dyn CheckpointStore) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let mut slot = self.store.lock();
        if slot.is_none() {
            *slot = Some(self.backend.open()?);
        }
        let Some(store) = slot.as_mut() else {
            return Err(StoreError::new(StoreErrorKind::Io, "the store is closed", None));
        };
        let result = call(store.as_mut());
        if result.as_ref().is_err_and(|error| error.kind == StoreErrorKind::Io) {
            *slot = None;
        }
        result
    }

    /// Makes a checkpoint durable.
    pub(crate) fn commit(&self, commit: &CheckpointCommit) -> Result<CommitStats, Error> {
        self.with(|store| store.commit(commit)).map_err(|error| {
            let message = format!(
                "checkpoint {} could not be stored in {}: {}",
                commit.metadata.checkpoint,
                self.place(),
                error.message
            );
            Error::new(ErrorKind::Store, message, error.cause)
        })
    }

    /// Gives up the place.
    pub(crate) fn close(&self) {
        *self.store.lock() = None;
    }

    /// Deletes every checkpoint.
    pub(crate) fn delete(&self) -> Result<(), Error> {
        let store = self.store.lock().take();
        let store = store.map_or_else(|| self.backend.open(), Ok)?;
        Ok(store.delete()?)
    }
}

/// An attempt, ready to run.
pub(crate) struct Opened {
    pub(crate) attempt: Attempt,
    pub(crate) job: JobId,
    pub(crate) started_from: StartedFrom,
    pub(crate) restored: CheckpointId,
    pub(crate) draining: bool,
    /// Every subtask, opened; none if the job has nothing left to do.
    pub(crate) subtasks: Vec<Deployed>,
}

/// Opens an attempt from the newest checkpoint; the first one ever writes checkpoint 0.
pub(crate) fn open_attempt(slot: &StoreSlot, plan: &Mutex<Plan>, job: JobId) -> Result<Opened, Error> {
    let plan = plan.lock();
    let place = slot.place();
    let newest = slot.with(|store| store.newest())?;
    plan.check_sinks(newest.as_ref(), &place)?;
    let (restored, attempt, started_from) = match newest {
        Some(checkpoint) => {
            plan.check_restorable(&checkpoint, &place)?;
            let attempt = slot.with(|store| store.begin_attempt())?;
            let from = if checkpoint.finished { StartedFrom::Finished } else { StartedFrom::Checkpoint };
            let from = from(checkpoint.checkpoint);
            (checkpoint, attempt, from)
        }
        None => {
            // Everything of the user's that can go wrong goes wrong before the first byte is written.
            let mut genesis = plan.genesis(job, Attempt(0))?;
            let attempt = slot.with(|store| store.begin_attempt())?;
            genesis.metadata.attempt = attempt;
            slot.commit(&genesis)?;
            (genesis.metadata, attempt, StartedFrom::Beginning)
        }
    };
    plan.recover_sinks(&restored, attempt, &place)?;
    let (job, checkpoint, draining) = (restored.job, restored.checkpoint, restored.draining);
    let subtasks = if restored.finished {
        Vec::new()
    } else {
        let reader = slot.with(|store| store.reader())?;
        open_subtasks(plan.deploy(attempt, Arc::new(restored), reader, &place))?
    };
    Ok(Opened { attempt, job, started_from, restored: checkpoint, draining, subtasks })
}

/// Opens all subtasks, as many at a time as there are cores.
fn open_subtasks(mut deployed: Vec<Deployed>) -> Result<Vec<Deployed>, Error> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    for together in deployed.chunks_mut(cores) {
        std::thread::scope(|scope| {
            let opening: Vec<_> =
                together.iter_mut().map(|one| scope.spawn(|| one.subtask.open(&one.context))).collect();
            opening.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(Error::new(ErrorKind::Panic, "a subtask panicked while it was opened", None))
                })
            })
        })?;
    }
    Ok(deployed)
}

/// Publishes what completed checkpoints still owe, and deletes the state.
pub(crate) fn cancel(slot: &StoreSlot, plan: &Mutex<Plan>) -> Result<(), Error> {
    let newest: Option<CheckpointMetadata> = slot.with(|store| store.newest())?;
    if let Some(checkpoint) = newest {
        let attempt = slot.with(|store| store.begin_attempt())?;
        plan.lock().recover_sinks(&checkpoint, attempt, &slot.place())?;
    }
    slot.delete()
}
