//! What happens before a subtask runs: the store is opened, checked and read, sinks take up their output, subtasks open. All of it may block.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    checkpoint::{
        snapshot::{CheckpointCommit, CheckpointMetadata},
        store::{CheckpointStore, CommitStats, StateBackend, StoreError},
    },
    error::{Error, ErrorKind},
    fail_point::Point,
    id::{Attempt, CheckpointId, JobId},
    mutation::{self, Mutation},
    panic_site,
    restore_point::{self, Watched},
    topology::plan::{Deployed, Plan},
};

/// The job's store, owned by the job and not by an attempt; empty until it is opened, and after an error. Clones share it.
#[derive(Clone)]
pub struct StoreSlot {
    backend: Arc<dyn StateBackend>,
    store: Arc<Mutex<Option<Box<dyn CheckpointStore>>>>,
}

impl StoreSlot {
    /// A slot for the store that `backend` opens. Opens nothing yet.
    pub fn new(backend: Arc<dyn StateBackend>) -> Self {
        Self { backend, store: Arc::default() }
    }

    /// Where the state is, for messages.
    pub fn place(&self) -> String {
        self.backend.place()
    }

    /// Whether checkpoints outlive the process.
    pub fn is_durable(&self) -> bool {
        self.backend.is_durable()
    }

    /// Calls the store, opening it first if it is not open. After an error, or a panic, the store is closed: what it then holds is unknown until it is
    /// opened again.
    pub(crate) fn with<R>(
        &self,
        call: impl FnOnce(&mut dyn CheckpointStore) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let mut slot = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let mut store = match slot.take() {
            Some(store) => store,
            None => self.backend.open()?,
        };
        let result = call(store.as_mut())?;
        *slot = Some(store);
        Ok(result)
    }

    /// Makes a checkpoint durable. After an error it may be durable or not.
    pub fn commit(&self, commit: &CheckpointCommit) -> Result<CommitStats, Error> {
        let checkpoint = commit.metadata.checkpoint;
        let failed = |kind, what: &str, cause| {
            let message = format!("checkpoint {checkpoint} could not be stored in {}: {what}", self.place());
            Error::new(kind, message, cause)
        };
        let call = || {
            self.with(|store| {
                commit.fail_points.reach(Point::CommitBegun, None, checkpoint)?;
                let stats = store.commit(commit)?;
                commit.fail_points.reach(Point::CommitDurable, None, checkpoint)?;
                Ok(stats)
            })
        };
        match panic_site::catch(call) {
            Ok(Ok(stats)) => Ok(stats),
            Ok(Err(error)) => {
                let kind = if error.is_refusal() { ErrorKind::Refused } else { ErrorKind::Store };
                Err(failed(kind, &error.message, error.cause))
            }
            Err((_, message)) => Err(failed(ErrorKind::Panic, &format!("the store panicked: {message}"), None)),
        }
    }

    /// Gives up the place.
    pub fn close(&self) {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Publishes what completed checkpoints still owe, and deletes every checkpoint.
    pub fn delete(&self, plan: &Plan) -> Result<(), Error> {
        let newest = self.with(|store| store.newest())?;
        if let Some(checkpoint) = newest {
            let attempt = self.with(|store| store.begin_attempt())?;
            plan.recover_sinks(&checkpoint, attempt, &self.place(), false)?;
        }
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
        let store = store.map_or_else(|| self.backend.open(), Ok)?;
        Ok(store.delete()?)
    }
}

/// An attempt, ready to run.
pub struct Opened {
    /// Its number.
    pub attempt: Attempt,
    /// The job.
    pub job: JobId,
    /// The checkpoint that it goes on from.
    pub restored: CheckpointId,
    /// The least number that no completed checkpoint has ever had.
    pub next_checkpoint: CheckpointId,
    /// There was no state yet.
    pub is_new: bool,
    /// The job has nothing left to do.
    pub finished: bool,
    /// The host had asked for the end of the input.
    pub draining: bool,
    /// Every subtask, opened; none if the job has finished.
    pub subtasks: Vec<Deployed>,
}

/// Opens an attempt from the newest checkpoint, or from `restore_from` if the host names one, which then is the newest: to be named until an attempt is open, and not
/// after that. The first attempt ever writes checkpoint 0, for job `job`. `open` opens every subtask, on as many threads as it
/// likes. In a process's first attempt (`is_first`) a sink that cannot have its place is a refusal; later on it is a failure like any other.
pub fn open_attempt(
    slot: &StoreSlot,
    plan: &Plan,
    job: JobId,
    is_first: bool,
    restore_from: Option<CheckpointId>,
    open: impl FnOnce(&mut [Deployed]) -> Result<(), Error>,
) -> Result<Opened, Error> {
    panic_site::catch(|| try_open_attempt(slot, plan, job, is_first, restore_from, open)).unwrap_or_else(
        |(_, message)| {
            let message = format!("job '{}' panicked while an attempt was opened: {message}", plan.name());
            Err(Error::new(ErrorKind::Panic, message, None))
        },
    )
}

fn try_open_attempt(
    slot: &StoreSlot,
    plan: &Plan,
    job: JobId,
    is_first: bool,
    restore_from: Option<CheckpointId>,
    open: impl FnOnce(&mut [Deployed]) -> Result<(), Error>,
) -> Result<Opened, Error> {
    let place = slot.place();
    reach(plan, Point::Restart, CheckpointId(0))?;
    let found = match restore_from {
        None => restore_point::newest(slot, plan)?,
        Some(checkpoint) => Some(restore_point::named(slot, plan, checkpoint)?),
    };
    reach(plan, Point::RestoreRead, found.as_ref().map_or(CheckpointId(0), |found| found.checkpoint))?;
    plan.check_sinks(found.as_ref(), &place, is_first)?;
    let is_new = found.is_none();
    let (restored, attempt) = match found {
        Some(checkpoint) => {
            plan.check_restorable(&checkpoint, &place)?;
            if restore_from.is_some() {
                restore_point::go_back(slot, plan, &checkpoint)?;
            }
            (checkpoint, slot.with(|store| store.begin_attempt())?)
        }
        None => begin_job(slot, plan, job)?,
    };
    reach(plan, Point::AttemptBegun, restored.checkpoint)?;
    plan.recover_sinks(&restored, attempt, &place, is_first)?;
    let (job, checkpoint) = (restored.job, restored.checkpoint);
    let highest = slot.with(|store| store.highest())?;
    let next_checkpoint = highest.map_or(checkpoint, |highest| highest.max(checkpoint)).next();
    let (finished, draining) = (restored.finished, restored.draining);
    let mut subtasks = Vec::new();
    if !finished {
        let reader = Arc::new(Watched::new(slot.with(|store| store.reader())?));
        subtasks = plan.deploy(attempt, Arc::new(restored), reader.clone(), &place);
        open(&mut subtasks).map_err(|error| match reader.has_met_damage() {
            true => restore_point::offer_older(slot, plan, error),
            false => error,
        })?;
    }
    Ok(Opened { attempt, job, restored: checkpoint, next_checkpoint, is_new, finished, draining, subtasks })
}

/// Writes checkpoint 0. Everything of the user's that can go wrong goes wrong before the first byte is written.
fn begin_job(slot: &StoreSlot, plan: &Plan, job: JobId) -> Result<(CheckpointMetadata, Attempt), Error> {
    let mut genesis = plan.genesis(job, Attempt(0))?;
    let attempt = slot.with(|store| store.begin_attempt())?;
    genesis.metadata.attempt = attempt;
    if !mutation::is(Mutation::GenesisMissing) {
        slot.commit(&genesis)?;
    }
    Ok((genesis.metadata, attempt))
}

fn reach(plan: &Plan, point: Point, checkpoint: CheckpointId) -> Result<(), Error> {
    let reached = plan.settings().fail_points.reach(point, None, checkpoint);
    reached.map(drop).map_err(|cause| {
        let message = format!("job '{}': an attempt could not be opened", plan.name());
        Error::new(ErrorKind::Operator, message, Some(cause))
    })
}
