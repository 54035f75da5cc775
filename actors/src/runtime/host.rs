//! The thread that a job lives on: an actix `System` of its own, so that the host's runtime, if it has one, is never blocked and never needed.

use std::{num::NonZeroUsize, sync::Arc, time::SystemTime};

use actix::{Actor, Addr, Arbiter, System};
use cofferdam_engine::{
    CheckpointId, Error, ErrorKind, JobId, NewScratch,
    checkpoint::{coordinator::JobEnd, stats::CheckpointHistory, store::StateBackend},
    opening::StoreSlot,
    savepoint::Choices,
    supervisor::Supervisor,
    topology::plan::Plan,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    job_handle::JobHandle,
    runtime::{clock::MonotonicClock, savepoints::Savepoints, status::Board, supervisor_actor::SupervisorActor},
};
use cofferdam_engine::Clock as _;

/// What a job is started with.
pub(crate) struct JobStart {
    pub(crate) plan: Plan,
    pub(crate) backend: Arc<dyn StateBackend>,
    pub(crate) workers: NonZeroUsize,
    pub(crate) choices: Choices,
    /// Where what circulates in loops goes beyond what memory is to hold.
    pub(crate) scratch: NewScratch,
}

/// Starts the job's thread; resolves when the job runs, or when it is clear that it cannot.
pub(crate) async fn start(job: JobStart) -> Result<JobHandle, Error> {
    let name = job.plan.name().clone();
    let board = Arc::new(Board::new());
    let (handle_sender, handle) = oneshot::channel();
    let (started_sender, started) = oneshot::channel();
    let thread = std::thread::Builder::new().name(format!("cofferdam {name}"));
    let thread_board = board.clone();
    let spawned = thread.spawn(move || {
        let result = live(job, thread_board.clone(), handle_sender, started_sender);
        thread_board.ended(result);
    });
    spawned.map_err(|error| {
        Error::new(ErrorKind::Cancelled, format!("job '{name}': no thread could be started"), Some(Box::new(error)))
    })?;
    let lost = |_| Error::new(ErrorKind::Cancelled, format!("job '{name}': its thread ended"), None);
    let supervisor: Addr<SupervisorActor> = handle.await.map_err(lost)?;
    started.await.map_err(lost)??;
    Ok(JobHandle::new(name, supervisor, board))
}

/// The whole life of a job. Returns when every thread of it has ended and its place is given up.
fn live(
    job: JobStart,
    board: Arc<Board>,
    handle: oneshot::Sender<Addr<SupervisorActor>>,
    started: oneshot::Sender<Result<(), Error>>,
) -> Result<JobEnd, Error> {
    let system = System::new();
    let workers: Vec<_> = (0..job.workers.get()).map(|_| system.block_on(async { Arbiter::new() })).collect();
    let result = system.block_on(async {
        let (ended_sender, ended) = oneshot::channel();
        let clock = Arc::new(MonotonicClock::new());
        *board.history.lock() = CheckpointHistory::new(SystemTime::now());
        let (supervisor, effects) = Supervisor::new(job.plan.settings().restart.clone(), clock.now());
        let store = StoreSlot::new(job.backend);
        if !store.is_durable() {
            log::info!("job '{}': checkpoints are kept in memory: they survive an operator's failure, not the end of the process", job.plan.name());
        }
        if job.plan.settings().checkpoints.interval.is_none() {
            log::info!("job '{}': no checkpoint interval is set: after a crash it starts from the beginning, or from where it was last stopped", job.plan.name());
        }
        let savepoints = Savepoints::new(job.plan.settings().fail_points.clone());
        let actor = SupervisorActor {
            supervisor,
            plan: Arc::new(Mutex::new(job.plan)),
            store,
            workers: workers.iter().map(Arbiter::handle).collect(),
            clock,
            board,
            new_job: new_job_id()?,
            choices: job.choices,
            scratch: job.scratch,
            started: Some(started),
            ended: Some(ended_sender),
            running: None,
            is_opening: false,
            is_stopping: false,
            failed_to_open: false,
            abandoned: false,
            requests: Vec::new(),
            next_checkpoint: CheckpointId(0),
            orphans: Vec::new(),
            effects,
            savepoints,
            ending: None,
        };
        let _ = handle.send(actor.start());
        let cancelled = |_| Error::new(ErrorKind::Cancelled, "the job's supervisor is gone", None);
        ended.await.map_err(cancelled)?
    });
    for worker in workers {
        worker.stop();
        if worker.join().is_err() {
            log::error!("a worker thread panicked");
        }
    }
    result
}

fn new_job_id() -> Result<JobId, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Cancelled, format!("the system gave no random bytes for a job id: {error}"), None)
    })?;
    Ok(JobId(u128::from_le_bytes(bytes)))
}
