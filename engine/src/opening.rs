//! What happens before a subtask runs: the store is opened, checked and read, sinks take up their output, subtasks open. All of it may block.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    checkpoint::{
        config::Retention,
        inherited::Inherited,
        snapshot::{CheckpointCommit, CheckpointMetadata, PreparedTransaction},
        store::{CheckpointStore, CommitStats, StateBackend, StoreError, StoreErrorKind},
    },
    error::{Error, ErrorKind},
    fail_point::Point,
    id::{Attempt, CheckpointId, JobId},
    mutation::{self, Mutation},
    panic_site,
    restore_point::{self, ExplainedLookup, Watched},
    savepoint::{self, Choices, Found, Pinned},
    topology::{
        plan::{Deployed, Plan},
        restorable::Kept,
    },
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

    /// Calls the store, opening it first if it is not open. After an error, or a panic, the store is closed, unless it is sure of what it holds: otherwise
    /// that is unknown until it is opened again.
    pub(crate) fn with<R>(
        &self,
        call: impl FnOnce(&mut dyn CheckpointStore) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let mut slot = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let mut store = match slot.take() {
            Some(store) => store,
            None => self.backend.open()?,
        };
        let result = call(store.as_mut());
        if result.as_ref().err().is_none_or(|error| error.kind == StoreErrorKind::NotStored) {
            *slot = Some(store);
        }
        result
    }

    /// Makes a checkpoint durable. After an error it may be durable or not, except that with kind [`NotStored`](ErrorKind::NotStored) it is not.
    pub fn commit(&self, commit: &CheckpointCommit) -> Result<CommitStats, Error> {
        let checkpoint = commit.metadata.checkpoint;
        let failed = |kind, what: &str, cause| {
            let message = format!("checkpoint {checkpoint} could not be stored in {}: {what}", self.place());
            Error::new(kind, message, cause)
        };
        let call = || {
            self.with(|store| {
                let begun = commit.fail_points.reach(Point::CommitBegun, None, checkpoint);
                begun.map_err(StoreError::before_writing)?;
                let stats = store.commit(commit)?;
                commit.fail_points.reach(Point::CommitDurable, None, checkpoint)?;
                Ok(stats)
            })
        };
        match panic_site::catch(call) {
            Ok(Ok(stats)) => Ok(stats),
            Ok(Err(error)) => {
                let kind = match error.kind {
                    StoreErrorKind::NotStored => ErrorKind::NotStored,
                    _ if error.is_refusal() => ErrorKind::Refused,
                    _ => ErrorKind::Store,
                };
                Err(failed(kind, &error.message, error.cause))
            }
            Err((_, message)) => Err(failed(ErrorKind::Panic, &format!("the store panicked: {message}"), None)),
        }
    }

    /// Gives up the place.
    pub fn close(&self) {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Settles the affairs of a job that was cancelled: publishes what completed checkpoints still owe, and deletes every checkpoint unless the configuration
    /// retains them.
    pub fn settle(&self, plan: &Plan) -> Result<(), Error> {
        let newest = self.with(|store| store.newest())?;
        if let Some(checkpoint) = newest {
            let attempt = self.with(|store| store.begin_attempt())?;
            plan.recover_sinks(&checkpoint, attempt, &self.place(), false)?;
        }
        if plan.settings().checkpoints.retention == Retention::RetainOnCancellation {
            return Ok(());
        }
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
        let store = store.map_or_else(|| self.backend.open(), Ok)?;
        Ok(store.delete()?)
    }
}

/// Savepoints.
impl StoreSlot {
    /// As [`commit`](Self::commit), and pins the checkpoint. That it cannot be pinned is no failure of the commit.
    pub fn commit_savepoint(&self, commit: &CheckpointCommit) -> Result<(CommitStats, Result<Pinned, Error>), Error> {
        let stats = self.commit(commit)?;
        Ok((stats, self.pin()))
    }

    /// Pins the newest checkpoint. An error leaves the store as it is.
    pub fn pin(&self) -> Result<Pinned, Error> {
        let failed = |what: String, cause| {
            Error::new(ErrorKind::Savepoint, format!("no savepoint can be taken from {}: {what}", self.place()), cause)
        };
        let call = || {
            self.with(|store| {
                let pinned =
                    store.pin().and_then(|reader| Ok(store.newest()?.map(|newest| Pinned::new(newest, reader))));
                Ok(pinned)
            })
        };
        match panic_site::catch(call) {
            Ok(Ok(Ok(Some(pinned)))) => Ok(pinned),
            Ok(Ok(Ok(None))) => Err(failed("it holds no checkpoint".to_string(), None)),
            Ok(Ok(Err(error)) | Err(error)) => Err(failed(error.message, error.cause)),
            Err((_, message)) => Err(failed(format!("the store panicked: {message}"), None)),
        }
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
    /// There was no state yet, and it was taken over from a savepoint.
    pub is_from_savepoint: bool,
    /// What the attempt's checkpoints take over: for [`Coordinator::inheriting`](crate::checkpoint::coordinator::Coordinator::inheriting).
    pub inherited: Inherited,
    /// The job has nothing left to do.
    pub finished: bool,
    /// The host had asked for the end of the input.
    pub draining: bool,
    /// Every subtask, opened; none if the job has finished.
    pub subtasks: Vec<Deployed>,
}

/// How an attempt is opened.
#[derive(Clone)]
pub struct Opening {
    /// The id that the job gets if there is no state yet.
    pub job: JobId,
    /// It is the process's first: a sink that cannot have its place is a refusal, and later on a failure like any other.
    pub is_first: bool,
    /// What the host has chosen about the state to start from.
    pub choices: Choices,
    /// The transactions that the attempt before has prepared and may not have published, with the `uid` of their sink: those that the checkpoint does not
    /// name are aborted.
    pub orphans: Vec<(String, PreparedTransaction)>,
}

/// Opens an attempt from the newest checkpoint; the first one ever writes checkpoint 0. `open` opens every subtask, on as many threads as it likes.
pub fn open_attempt(
    slot: &StoreSlot,
    plan: &Plan,
    opening: Opening,
    open: impl FnOnce(&mut [Deployed]) -> Result<(), Error>,
) -> Result<Opened, Error> {
    panic_site::catch(|| try_open_attempt(slot, plan, opening, open)).unwrap_or_else(|(_, message)| {
        let message = format!("job '{}' panicked while an attempt was opened: {message}", plan.name());
        Err(Error::new(ErrorKind::Panic, message, None))
    })
}

fn try_open_attempt(
    slot: &StoreSlot,
    plan: &Plan,
    Opening { job, is_first, choices, orphans }: Opening,
    open: impl FnOnce(&mut [Deployed]) -> Result<(), Error>,
) -> Result<Opened, Error> {
    let place = slot.place();
    reach(plan, Point::Restart, CheckpointId(0))?;
    let found = savepoint::find(slot, plan, &choices)?;
    let found_metadata = found.as_ref().map(Found::metadata);
    reach(plan, Point::RestoreRead, found_metadata.map_or(CheckpointId(0), |found| found.checkpoint))?;
    plan.check_sinks(found_metadata, &place, is_first)?;
    let (is_new, is_from_savepoint) = (found.is_none(), matches!(found, Some(Found::Savepoint(_))));
    let (restorable, attempt) = match found {
        Some(Found::Stored(checkpoint)) => {
            plan.check_restorable(&checkpoint, &place, &choices)?;
            let restorable = plan.cut(checkpoint)?;
            if choices.restore_from.is_some() {
                restore_point::go_back(slot, plan, &restorable.metadata)?;
            }
            (restorable, slot.with(|store| store.begin_attempt())?)
        }
        Some(Found::Savepoint(mut import)) => {
            plan.check_kept(&import.metadata, Kept::InSavepoint, &import.place, &choices)?;
            plan.check_published(&import.metadata, Kept::InSavepoint, &import.place)?;
            plan.check_prepared(&mut import.metadata, &import.place, choices.discard_prepared)?;
            import.check_values(plan)?;
            (plan.cut(import.metadata.clone())?, savepoint::import(slot, plan, *import)?)
        }
        None => {
            let (checkpoint, attempt) = begin_job(slot, plan, job)?;
            (plan.cut(checkpoint)?, attempt)
        }
    };
    reach(plan, Point::AttemptBegun, restorable.metadata.checkpoint)?;
    let inherited = restorable.inherited(slot)?;
    let restored = restorable.metadata;
    if is_first && !restored.finished {
        // Before anything of it is published: what is owed would close the way back to an older one.
        let reader = slot.with(|store| store.reader())?;
        let verified = restore_point::verify(reader.as_ref(), &restored);
        verified.map_err(|error| restore_point::offer_older(slot, plan.name(), error.into()))?;
    }
    plan.abort_orphans(&restored, &orphans);
    plan.recover_sinks(&restored, attempt, &place, is_first)?;
    let (job, checkpoint) = (restored.job, restored.checkpoint);
    let highest = slot.with(|store| store.highest())?;
    let next_checkpoint = highest.map_or(checkpoint, |highest| highest.max(checkpoint)).next();
    let (finished, draining) = (restored.finished, restored.draining);
    let mut subtasks = Vec::new();
    if !finished {
        let reader = Arc::new(Watched::new(slot.with(|store| store.reader())?));
        let explained = |lookup| ExplainedLookup { lookup, slot: slot.clone(), job: plan.name().clone() };
        let lookup = slot.with(|store| store.lookup())?.map(|lookup| Arc::new(explained(lookup)) as _);
        subtasks = plan.deploy(attempt, Arc::new(restored), reader.clone(), lookup, &place);
        open(&mut subtasks).map_err(|error| match reader.has_met_damage() {
            true => restore_point::offer_older(slot, plan.name(), error),
            false => error,
        })?;
    }
    Ok(Opened {
        attempt,
        job,
        restored: checkpoint,
        next_checkpoint,
        is_new,
        is_from_savepoint,
        inherited,
        finished,
        draining,
        subtasks,
    })
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
