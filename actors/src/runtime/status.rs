//! What a job's host can see of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use cofferdam_engine::{
    Attempt, CheckpointId, Circulating, Clock, Error, ProcessingTime,
    checkpoint::{
        coordinator::JobEnd,
        snapshot::SubtaskId,
        stats::{CheckpointHistory, CheckpointStats},
    },
    subtask::RecordCounts,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::runtime::{
    clock::MonotonicClock,
    failures::{Failure, FailureHistory},
    mailbox::LoopGauge,
};

/// What a job began from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartedFrom {
    /// There was no state: from the beginning.
    Beginning,
    /// From a checkpoint of an earlier run.
    Checkpoint(CheckpointId),
    /// There was no state: from a savepoint of this checkpoint.
    Savepoint(CheckpointId),
    /// An earlier run had finished with this checkpoint: what it still owed was published, and nothing else is done.
    Finished(CheckpointId),
}

/// Where a job is in its life.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JobPhase {
    /// Opening state, sources and sinks.
    Starting,
    /// Records flow.
    Running,
    /// An attempt failed for this reason; the next one is on its way.
    Restarting(Error),
    /// See [`JobHandle::wait`](crate::JobHandle::wait).
    Ended,
}

/// A job at one moment.
#[derive(Clone, Debug)]
pub struct JobStatus {
    /// Where it is.
    pub phase: JobPhase,
    /// What it began from, once that is known.
    pub started_from: Option<StartedFrom>,
    /// The attempt under way, or the last one.
    pub attempt: Attempt,
    /// How often it was restarted since it was started in this process.
    pub restarts: u32,
    /// How many attempts have failed in this process.
    pub failures: u64,
    /// The last of them.
    pub last_failure: Option<Failure>,
    /// Each chain's subtasks.
    pub subtasks: Vec<SubtaskStatus>,
    /// Records that sources have read in this attempt.
    pub records_read: u64,
    /// Records that steps have dropped in this attempt, as they came too late.
    pub late_records: u64,
    /// Checkpoints completed and aborted in this process.
    pub checkpoints_completed: u64,
    /// See `checkpoints_completed`. Those that failed are among them.
    pub checkpoints_aborted: u64,
    /// Checkpoints that count against the tolerable failures: see [`CheckpointConfig`](cofferdam_engine::checkpoint::config::CheckpointConfig).
    pub checkpoints_failed: u64,
    /// The newest completed checkpoint of this process.
    pub last_checkpoint: Option<CheckpointStats>,
    /// The newest one that failed and counts, with the reason: if it is newer than `last_checkpoint`, that is why state is not stored, and why a job that is to
    /// stop does not.
    pub last_failed_checkpoint: Option<CheckpointStats>,
}

/// One subtask's counts in this attempt.
#[derive(Clone, Debug)]
pub struct SubtaskStatus {
    /// The names of the chain's steps.
    pub chain: String,
    /// Which parallel instance.
    pub index: u32,
    /// Whether it reads a source.
    pub is_source: bool,
    /// Records that entered the chain.
    pub records_in: u64,
    /// Records that left it, by side outputs too.
    pub records_out: u64,
    /// Records that its steps dropped, as they came too late.
    pub late_records: u64,
    /// How often its sink could not publish. Each time it is tried again, after a pause that grows from 0.1 s; after six times in a row the attempt fails.
    pub failed_publications: u64,
    /// What waits to go round, if it is the head of a loop.
    pub circulating: Option<Circulating>,
}

/// Counts of one subtask, written by its thread alone.
pub(crate) struct SubtaskMeter {
    pub(crate) id: SubtaskId,
    pub(crate) chain: String,
    pub(crate) is_source: bool,
    /// Whether its chain ends in a sink.
    is_sink: bool,
    records_in: AtomicU64,
    records_out: AtomicU64,
    late_records: AtomicU64,
    failed_publications: AtomicU64,
    /// Of a sink: when the first record went out, to a turn, in nanoseconds; 0 before that.
    first_out: AtomicU64,
    /// Of the channels that come round to it.
    feedback: Vec<LoopGauge>,
}

impl SubtaskMeter {
    pub(crate) fn new(id: SubtaskId, chain: String, is_source: bool, is_sink: bool, feedback: Vec<LoopGauge>) -> Self {
        let [records_in, records_out, late_records, failed_publications, first_out] = [const { AtomicU64::new(0) }; 5];
        Self {
            id,
            chain,
            is_source,
            is_sink,
            records_in,
            records_out,
            late_records,
            failed_publications,
            first_out,
            feedback,
        }
    }

    /// To be called after a turn.
    pub(crate) fn add(&self, counts: RecordCounts, clock: &MonotonicClock) {
        self.records_in.fetch_add(counts.records_in, Ordering::Relaxed);
        self.records_out.fetch_add(counts.records_out, Ordering::Relaxed);
        self.late_records.fetch_add(counts.late_records, Ordering::Relaxed);
        if self.is_sink && counts.records_out > 0 && self.first_out.load(Ordering::Relaxed) == 0 {
            self.first_out.store(clock.now().0.max(1), Ordering::Relaxed);
        }
    }

    fn first_out(&self) -> Option<ProcessingTime> {
        Some(self.first_out.load(Ordering::Relaxed)).filter(|time| *time > 0).map(ProcessingTime)
    }

    pub(crate) fn publication_failed(&self) {
        self.failed_publications.fetch_add(1, Ordering::Relaxed);
    }

    fn status(&self) -> SubtaskStatus {
        SubtaskStatus {
            chain: self.chain.clone(),
            index: self.id.index.0,
            is_source: self.is_source,
            records_in: self.records_in.load(Ordering::Relaxed),
            records_out: self.records_out.load(Ordering::Relaxed),
            late_records: self.late_records.load(Ordering::Relaxed),
            failed_publications: self.failed_publications.load(Ordering::Relaxed),
            circulating: self.feedback.iter().map(|gauge| *gauge.lock()).reduce(|sum, one| sum + one),
        }
    }
}

/// What the job's actors show to its handles.
pub(crate) struct Board {
    inner: Mutex<Inner>,
    pub(crate) history: Mutex<CheckpointHistory>,
    end: watch::Sender<Option<Result<JobEnd, Error>>>,
}

struct Inner {
    phase: JobPhase,
    started_from: Option<StartedFrom>,
    attempt: Attempt,
    restarts: u32,
    meters: Vec<Arc<SubtaskMeter>>,
    failures: FailureHistory,
}

impl Inner {
    /// Notes what the meters know of the recovery from the last failure.
    fn look_for_recovery(&mut self) {
        if let Some(first_out) = self.meters.iter().filter_map(|meter| meter.first_out()).min() {
            self.failures.recovered(self.attempt, first_out);
        }
    }
}

impl Board {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            phase: JobPhase::Starting,
            started_from: None,
            attempt: Attempt(0),
            restarts: 0,
            meters: Vec::new(),
            failures: FailureHistory::default(),
        };
        Self {
            inner: Mutex::new(inner),
            history: Mutex::new(CheckpointHistory::new(SystemTime::now())),
            end: watch::Sender::new(None),
        }
    }

    pub(crate) fn started_from(&self, from: StartedFrom) {
        self.inner.lock().started_from.get_or_insert(from);
    }

    pub(crate) fn running(&self, attempt: Attempt, restarts: u32, meters: Vec<Arc<SubtaskMeter>>) {
        let mut inner = self.inner.lock();
        inner.phase = JobPhase::Running;
        inner.attempt = attempt;
        inner.restarts = restarts;
        inner.meters = meters;
    }

    /// An attempt failed, now; one without a number was still being opened.
    pub(crate) fn failed(&self, attempt: Option<Attempt>, cause: Error, clock: &MonotonicClock) {
        let mut inner = self.inner.lock();
        inner.look_for_recovery();
        inner.failures.failed((SystemTime::now(), clock.now()), attempt, cause);
    }

    pub(crate) fn restarting(&self, cause: Error, restarts: u32, delay: Duration) {
        let mut inner = self.inner.lock();
        inner.restarts = restarts;
        inner.phase = JobPhase::Restarting(cause);
        inner.failures.restarting(delay);
    }

    pub(crate) fn opened(&self, attempt: Attempt, restored: CheckpointId) {
        self.inner.lock().failures.opened(attempt, restored);
    }

    pub(crate) fn failures(&self) -> Vec<Failure> {
        let mut inner = self.inner.lock();
        inner.look_for_recovery();
        inner.failures.all()
    }

    pub(crate) fn ended(&self, result: Result<JobEnd, Error>) {
        self.inner.lock().phase = JobPhase::Ended;
        self.end.send_replace(Some(result));
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Result<JobEnd, Error>>> {
        self.end.subscribe()
    }

    pub(crate) fn status(&self) -> JobStatus {
        let mut inner = self.inner.lock();
        inner.look_for_recovery();
        let history = self.history.lock();
        let subtasks: Vec<_> = inner.meters.iter().map(|meter| meter.status()).collect();
        JobStatus {
            phase: inner.phase.clone(),
            started_from: inner.started_from,
            attempt: inner.attempt,
            restarts: inner.restarts,
            failures: inner.failures.count(),
            last_failure: inner.failures.last(),
            records_read: subtasks.iter().filter(|subtask| subtask.is_source).map(|subtask| subtask.records_in).sum(),
            late_records: subtasks.iter().map(|subtask| subtask.late_records).sum(),
            subtasks,
            checkpoints_completed: history.completed(),
            checkpoints_aborted: history.aborted(),
            checkpoints_failed: history.failed(),
            last_checkpoint: history.last_completed().cloned(),
            last_failed_checkpoint: history.last_failed().cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_engine::SubtaskIndex;

    use super::*;

    #[test]
    fn late_records_are_shown_for_each_subtask_and_for_the_job() {
        let (board, clock) = (Board::new(), MonotonicClock::new());
        let meter = |index| {
            let id = SubtaskId { chain: 0, index: SubtaskIndex(index) };
            Arc::new(SubtaskMeter::new(id, "windows".to_string(), false, false, Vec::new()))
        };
        let meters = [meter(0), meter(1)];
        board.running(Attempt(1), 0, meters.to_vec());
        for (meter, late_records) in [(0, 3), (0, 4), (1, 5)] {
            meters[meter].add(RecordCounts { records_in: 10, records_out: 1, late_records }, &clock);
        }
        let status = board.status();
        assert_eq!(status.late_records, 12);
        assert_eq!(status.subtasks.iter().map(|subtask| subtask.late_records).collect::<Vec<_>>(), [7, 5]);
        // Those of the attempt that follows are counted anew.
        board.running(Attempt(2), 1, vec![meter(0)]);
        assert_eq!(board.status().late_records, 0);
    }
}
