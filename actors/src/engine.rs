//! Settings, and the start of a job.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use cofferdam_engine::{
    CheckpointId, Error, ErrorKind, RestartStrategy,
    checkpoint::{config::CheckpointConfig, store::StateBackend},
    fail_point::FailPoints,
    savepoint::Choices,
    topology::{
        Topology,
        plan::{Plan, Settings},
    },
};
use cofferdam_storage::Memory;

use crate::{
    block_on::block_on,
    job_handle::JobHandle,
    runtime::{
        host::{JobStart, start},
        scratch_file::scratch_files,
    },
};

/// Where jobs are started from: [`Engine::builder`].
pub struct Engine;

impl Engine {
    /// Default settings: a subtask per core, no periodic checkpoints, state in memory.
    pub fn builder() -> EngineBuilder {
        EngineBuilder {
            parallelism: None,
            max_parallelism: 128,
            batch_size: 1024,
            checkpoints: CheckpointConfig::default(),
            backend: Arc::new(Memory::new()),
            restart: None,
            workers: None,
            choices: Choices::default(),
            spill_directory: None,
            fail_points: FailPoints::default(),
        }
    }
}

/// Settings of a job.
///
/// ```
/// use cofferdam::prelude::*;
///
/// let topology = Topology::new("squares");
/// let (sink, rows) = CollectSink::new();
/// topology.source("numbers", Collection::new(vec![1u64, 2, 3])).map(|n| n * n).sink("squares", sink);
///
/// let job = Engine::builder().parallelism(1).start_blocking(topology)?;
/// job.wait_blocking()?;
/// assert_eq!(rows.snapshot(), [1, 4, 9]);
/// # Ok::<(), Error>(())
/// ```
pub struct EngineBuilder {
    parallelism: Option<u32>,
    max_parallelism: u16,
    batch_size: usize,
    checkpoints: CheckpointConfig,
    backend: Arc<dyn StateBackend>,
    restart: Option<RestartStrategy>,
    workers: Option<NonZeroUsize>,
    choices: Choices,
    spill_directory: Option<PathBuf>,
    fail_points: FailPoints,
}

impl EngineBuilder {
    /// Subtasks of each chain that does not set its own number. Unless set, the number of cores.
    pub fn parallelism(mut self, parallelism: u32) -> Self {
        self.parallelism = Some(parallelism);
        self
    }

    /// Number of key groups, 128 unless set: the highest parallelism that the job can ever have. Fixed at the job's first start.
    pub fn max_parallelism(mut self, key_groups: u16) -> Self {
        self.max_parallelism = key_groups;
        self
    }

    /// Records per batch, at most; 1,024 unless set. A batch leaves earlier when there is nothing else to do. A channel holds up to 16 batches, counted and not
    /// weighed: with large records (some 10 KiB and more) set fewer per batch.
    pub fn batch_size(mut self, records: usize) -> Self {
        self.batch_size = records;
        self
    }

    /// When checkpoints are taken.
    pub fn checkpoints(mut self, checkpoints: CheckpointConfig) -> Self {
        self.checkpoints = checkpoints;
        self
    }

    /// Where checkpoints are kept. Unless set, in memory.
    pub fn backend(mut self, backend: impl StateBackend) -> Self {
        self.backend = Arc::new(backend);
        self
    }

    /// What follows a failure. Unless set, [`RestartStrategy::exponential_delay`] for jobs that take periodic checkpoints, else
    /// [`RestartStrategy::None`], as in Flink.
    pub fn restart(mut self, strategy: RestartStrategy) -> Self {
        self.restart = Some(strategy);
        self
    }

    /// Threads that subtasks share. Unless set, the number of cores.
    pub fn workers(mut self, threads: NonZeroUsize) -> Self {
        self.workers = Some(threads);
        self
    }

    /// Goes back to a completed checkpoint that is kept (see [`CheckpointConfig::num_retained`]) instead of going on from the newest: once, when the job starts. What came after it is given
    /// up, and records since then are read again. Refused, and nothing is changed, if the checkpoint is not kept or not whole, or if a two-phase sink has
    /// published past it; a sink without transactions is given those records a second time. The choice is durable when the job has started: start without it the next time, or
    /// the job goes back once more for as long as that checkpoint is kept.
    ///
    /// ```
    /// # use cofferdam::prelude::*;
    /// # fn choose(topology: Topology) -> Result<(), Error> {
    /// let job = Engine::builder().backend(Lmdb::at("state/")).restore_from(CheckpointId(41)).start_blocking(topology)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore_from(mut self, checkpoint: CheckpointId) -> Self {
        self.choices.restore_from = Some(checkpoint);
        self
    }

    /// Goes on from a savepoint, in a backend that holds no state yet: with the job that it was taken from, its id and its numbers. The file is checked whole before anything is written, and read once: when the job
    /// has started, its state is in the backend. A service may say this at every start: a backend whose job began with this very savepoint is gone on from, as
    /// without it; one with any other state is refused. So is a savepoint that is damaged, of another job or of another [`max_parallelism`](Self::max_parallelism), one whose steps the topology has no more, one that a
    /// two-phase sink has published past, and one that holds prepared transactions which the sinks do not find: see [`discard_prepared`](Self::discard_prepared).
    ///
    /// Two jobs started from one savepoint are one job twice: give each places of its own for its output.
    ///
    /// ```
    /// # use cofferdam::prelude::*;
    /// # fn go_on(topology: Topology) -> Result<(), Error> {
    /// let job = Engine::builder().backend(Lmdb::at("state/")).from_savepoint("nightly.savepoint").start_blocking(topology)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_savepoint(mut self, path: impl AsRef<Path>) -> Self {
        self.choices.from_savepoint = Some(path.as_ref().to_owned());
        self
    }

    /// Drops the state of steps that the topology has no more: keyed state, positions of sources. Without it a start from a checkpoint or savepoint with such state is refused. What such
    /// a step's sink had prepared and not published goes only with [`discard_prepared`](Self::discard_prepared) as well.
    pub fn allow_non_restored_state(mut self, allowed: bool) -> Self {
        self.choices.allow_non_restored_state = allowed;
        self
    }

    /// Gives up rows that were prepared when a savepoint was taken from the running job, and that its sinks do not find here: because it was copied to another
    /// machine, or the output goes elsewhere. What they find is published all the same. Without it such a start is refused, with a list. Nothing of the kind is in a savepoint of
    /// [`stop_with_savepoint`](JobHandle::stop_with_savepoint).
    pub fn discard_prepared(mut self, discarded: bool) -> Self {
        self.choices.discard_prepared = discarded;
        self
    }

    /// A directory for temporary files; unless set, the system's. What [circulates in a loop](cofferdam_engine::topology::Stream::iterate) goes there where more than 64 batches wait on one channel
    /// ([`SubtaskStatus::circulating`](crate::SubtaskStatus::circulating) tells how much). The files have no name and are gone with the process. The system's own directory, often
    /// `/tmp`, is memory on many systems: then name one on a disk. Not being durable, it may well be a faster one than the state's.
    pub fn spill_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spill_directory = Some(directory.into());
        self
    }

    /// Where and how the job is to fail: for harnesses. Unless the engine was built with its feature `failpoints`, nothing does.
    pub fn fail_points(mut self, fail_points: FailPoints) -> Self {
        self.fail_points = fail_points;
        self
    }

    /// Starts a job, on threads of its own: from its newest checkpoint, or from the beginning if there is none. Can be awaited on any runtime. An error means that nothing runs:
    /// the topology or the settings make no sense (all faults are listed), or the state or an output must not be continued from. If the future is dropped before it
    /// is ready, the job is stopped behind a last checkpoint.
    pub async fn start(self, topology: Topology) -> Result<JobHandle, Error> {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let default = || {
            if self.checkpoints.interval.is_some() {
                RestartStrategy::exponential_delay()
            } else {
                RestartStrategy::None
            }
        };
        let restart = self.restart.clone().unwrap_or_else(default);
        let settings = Settings {
            fail_points: self.fail_points,
            parallelism: self.parallelism.unwrap_or((cores.get() as u32).min(u32::from(self.max_parallelism))),
            max_parallelism: self.max_parallelism,
            batch_size: self.batch_size,
            checkpoints: self.checkpoints,
            restart,
            is_durable: self.backend.is_durable(),
            heap_limit: self.backend.heap_limit(),
        };
        let plan = Plan::new(topology, settings)?;
        let (backend, choices, workers) = (self.backend, self.choices, self.workers.unwrap_or(cores));
        let is_chosen = self.spill_directory.is_some();
        let scratch = scratch_files(self.spill_directory.unwrap_or_else(std::env::temp_dir));
        if is_chosen && let Err(cause) = scratch() {
            let message = format!("job '{}': its spill directory cannot be used", plan.name());
            return Err(Error::new(ErrorKind::InvalidTopology, message, Some(cause)));
        }
        start(JobStart { plan, backend, workers, choices, scratch }).await
    }

    /// [`start`](Self::start), for threads outside of any runtime.
    pub fn start_blocking(self, topology: Topology) -> Result<JobHandle, Error> {
        block_on(self.start(topology))
    }
}
