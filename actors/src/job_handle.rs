//! A running job, from outside.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use actix::Addr;
use cofferdam_engine::{
    Error, ErrorKind,
    checkpoint::{coordinator::JobEnd, stats::CheckpointHistory},
    savepoint::SavepointInfo,
};
use tokio::sync::oneshot;

use crate::{
    block_on::block_on,
    runtime::{
        coordinator_actor::HostRequest,
        failures::Failure,
        savepoints::TakeSavepoint,
        status::{Board, JobStatus},
        supervisor_actor::{Cancel, SupervisorActor},
    },
};

/// A job that was started. Clones are handles to the same job; dropping them all leaves it running.
///
/// The asynchronous methods can be awaited on any runtime, and the `_blocking` ones called where there is none.
///
/// ```
/// use std::time::Duration;
/// use cofferdam::prelude::*;
///
/// let topology = Topology::new("endless");
/// let (sink, rows) = CollectSink::new();
/// topology.source("numbers", Generator::unbounded(|i| i).rate(1_000)).sink("out", sink);
/// let job = Engine::builder().checkpoints(CheckpointConfig::every(Duration::from_millis(10))).start_blocking(topology)?;
///
/// while job.status().checkpoints_completed < 3 {
///     std::thread::yield_now();
/// }
/// assert_eq!(job.stop_blocking()?, JobEnd::Stopped);
/// assert_eq!(rows.snapshot().len() as u64, job.status().records_read);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct JobHandle {
    name: Arc<str>,
    supervisor: Addr<SupervisorActor>,
    board: Arc<Board>,
}

impl JobHandle {
    pub(crate) fn new(name: Arc<str>, supervisor: Addr<SupervisorActor>, board: Arc<Board>) -> Self {
        Self { name, supervisor, board }
    }

    /// The topology's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the job is over, its threads have ended and its state directory is given up. An error is the first cause of the failure that no restart
    /// followed, and says how many restarts there had been; [`failures`](Self::failures) tells of the others.
    pub async fn wait(&self) -> Result<JobEnd, Error> {
        let mut end = self.board.subscribe();
        let gone = || Error::new(ErrorKind::Cancelled, "the job's thread is gone", None);
        let end = end.wait_for(Option::is_some).await.map_err(|_| gone())?;
        end.clone().unwrap_or_else(|| Err(gone()))
    }

    /// [`wait`](Self::wait), for threads outside of any runtime.
    pub fn wait_blocking(&self) -> Result<JobEnd, Error> {
        block_on(self.wait())
    }

    /// Takes a last checkpoint without ending the input, publishes it, and ends: the next start goes on as if never stopped. While the job waits for a restart,
    /// ends with the failure's cause instead.
    ///
    /// A last checkpoint that fails, as on a full disk, is tried again after 0.2 s. With [`tolerable_failures`] that is done so often, and then the job ends with the cause: what came after the
    /// last checkpoint that completed is done again by the next start. Without, it is done until it succeeds; meanwhile [`JobStatus::last_failed_checkpoint`] and the log say why
    /// it does not, and [`cancel`](Self::cancel) ends the job at once.
    ///
    /// [`tolerable_failures`]: cofferdam_engine::checkpoint::config::CheckpointConfig::tolerable_failures
    pub async fn stop(&self) -> Result<JobEnd, Error> {
        self.supervisor.do_send(HostRequest::Stop);
        self.wait().await
    }

    /// Ends the input of every source here, lets the records that are under way come out, takes the last checkpoint, and ends. The job is finished: the next start does
    /// nothing. A last checkpoint that fails is tried again as in [`stop`](Self::stop); after more failures than are tolerable the attempt fails, and what follows is
    /// the restart strategy's.
    pub async fn drain(&self) -> Result<JobEnd, Error> {
        self.supervisor.do_send(HostRequest::Drain);
        self.wait().await
    }

    /// Stops at once and deletes the checkpoints, unless [`CheckpointConfig::retain_on_cancellation`] keeps them: then the next start goes on from the newest. What
    /// completed checkpoints hold is published, what came after them is not. The output stays, and stays this job's: a new job needs another place for its
    /// own.
    ///
    /// [`CheckpointConfig::retain_on_cancellation`]: cofferdam_engine::checkpoint::config::CheckpointConfig::retain_on_cancellation
    pub async fn cancel(&self) -> Result<JobEnd, Error> {
        self.supervisor.do_send(Cancel);
        self.wait().await
    }

    /// Writes a savepoint to `path` while the job goes on: one file that can be copied to another machine and [started from](crate::EngineBuilder::from_savepoint), on any backend. The checkpoint that it is
    /// written from is taken as soon as there is room for it, whatever the interval, and waits for no record to overtake; it is a completed checkpoint like any other. Ready when the file is durable.
    ///
    /// An error leaves no file, and the job as it is: the path cannot be written to, or something is there already; no attempt runs at the moment, or the one that does fails before the checkpoint
    /// completes; the checkpoint was aborted (too late, declined). It is not tried again. If the future is dropped, the savepoint is taken all the same. A process that dies
    /// while the file is written leaves `PATH.*.partial`, which may be deleted.
    ///
    /// The file lists the transactions that two-phase sinks had prepared and not yet published ([`SavepointInfo::prepared`]): those of this very checkpoint, as a rule.
    pub async fn savepoint(&self, path: impl AsRef<Path>) -> Result<SavepointInfo, Error> {
        self.take_savepoint(path.as_ref().to_owned(), false).await
    }

    /// [`stop`](Self::stop)s the job and writes its last checkpoint to `path`, when its sinks have published everything: so the file holds no prepared transactions. Ready when the file is
    /// durable and the job is over. If the path cannot be written to in the first place, the job goes on. If the file cannot be written after that, the job is stopped
    /// all the same, and the error says so: its last checkpoint is in the backend, and the next start goes on from there. A last checkpoint that fails is tried again, or
    /// not, as in [`stop`](Self::stop).
    pub async fn stop_with_savepoint(&self, path: impl AsRef<Path>) -> Result<SavepointInfo, Error> {
        let info = self.take_savepoint(path.as_ref().to_owned(), true).await?;
        self.wait().await?;
        Ok(info)
    }

    async fn take_savepoint(&self, path: PathBuf, stops: bool) -> Result<SavepointInfo, Error> {
        let over = format!("savepoint '{}' was not taken: job '{}' is over", path.display(), self.name);
        let (answer, answered) = oneshot::channel();
        self.supervisor.do_send(TakeSavepoint { path, stops, answer });
        answered.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Savepoint, over, None)))
    }

    /// [`savepoint`](Self::savepoint), for threads outside of any runtime.
    pub fn savepoint_blocking(&self, path: impl AsRef<Path>) -> Result<SavepointInfo, Error> {
        block_on(self.savepoint(path))
    }

    /// [`stop_with_savepoint`](Self::stop_with_savepoint), for threads outside of any runtime.
    pub fn stop_with_savepoint_blocking(&self, path: impl AsRef<Path>) -> Result<SavepointInfo, Error> {
        block_on(self.stop_with_savepoint(path))
    }

    /// [`stop`](Self::stop), for threads outside of any runtime.
    pub fn stop_blocking(&self) -> Result<JobEnd, Error> {
        block_on(self.stop())
    }

    /// [`drain`](Self::drain), for threads outside of any runtime.
    pub fn drain_blocking(&self) -> Result<JobEnd, Error> {
        block_on(self.drain())
    }

    /// [`cancel`](Self::cancel), for threads outside of any runtime.
    pub fn cancel_blocking(&self) -> Result<JobEnd, Error> {
        block_on(self.cancel())
    }

    /// The job at this moment.
    pub fn status(&self) -> JobStatus {
        self.board.status()
    }

    /// The last 1,000 failures of this process, oldest first: those that a restart followed, and the one that ended the job.
    pub fn failures(&self) -> Vec<Failure> {
        self.board.failures()
    }

    /// The last 10,000 checkpoints of this process, completed and aborted, oldest first.
    pub fn checkpoints(&self) -> CheckpointHistory {
        self.board.history.lock().clone()
    }
}
