//! What a job tells of its checkpoints.

#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use cofferdam::prelude::*;
use cofferdam_engine::checkpoint::stats::{CheckpointFailureReason, CheckpointKind};

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Counts keys; fails as soon as it is told to.
fn counts(fails: Arc<AtomicBool>) -> Topology {
    let topology = Topology::new("counts");
    topology
        .source("numbers", Generator::unbounded(|i| i).rate(20_000))
        .try_map(move |n| if fails.swap(false, Ordering::SeqCst) { Err("told to") } else { Ok(n) })
        .key_by(|n| n % 1_000)
        .fold("count", 0u64, |count, _| *count += 1)
        .sink("rows", CollectSink::new().0);
    topology
}

#[test]
fn each_checkpoint_is_told_in_all_and_for_every_subtask() {
    let began = SystemTime::now();
    let engine = Engine::builder().parallelism(2).checkpoints(CheckpointConfig::every(Duration::from_millis(20)));
    let job = engine.start_blocking(counts(Arc::default())).unwrap();
    wait_for("five checkpoints", || job.status().checkpoints_completed >= 5);
    job.stop_blocking().unwrap();
    let history = job.checkpoints();
    let completed: Vec<_> = history.iter().filter(|stats| stats.aborted.is_none()).collect();
    for stats in &completed {
        let names: Vec<_> = stats.subtasks.iter().map(|subtask| subtask.name.to_string()).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names.iter().any(|name| name.starts_with("numbers") && name.ends_with("[1]")), "{names:?}");
        assert!(names.iter().any(|name| name.contains("count") && name.ends_with("[0]")), "{names:?}");
        let longest = stats.subtasks.iter().map(|subtask| subtask.end_to_end).max().unwrap();
        assert!(longest <= stats.end_to_end && stats.commit <= stats.end_to_end, "{stats:?}");
        let new: u64 = stats.subtasks.iter().map(|subtask| subtask.parts.bytes).sum();
        let full: u64 = stats.subtasks.iter().map(|subtask| subtask.parts.bytes_full).sum();
        assert_eq!((stats.parts.bytes, stats.parts.bytes_full), (new, full));
        assert!(new <= full, "{stats:?}");
        assert!(history.wall_clock(stats.triggered) >= began);
    }
    assert_eq!(completed.last().unwrap().kind, CheckpointKind::Stop);
    assert_eq!(completed[0].kind, CheckpointKind::Periodic);
    // 1,000 keys of some bytes each, whatever is new in the last one.
    assert!(completed.last().unwrap().parts.bytes_full > 2_000);
    let took = history.summary(|stats| stats.end_to_end).unwrap();
    assert!(took.min <= took.median && took.median <= took.p99 && took.p99 <= took.max);
    assert_eq!(took.max, completed.iter().map(|stats| stats.end_to_end).max().unwrap());
}

/// Its pre-commit takes longer than a checkpoint may.
struct Slow(CollectSink<u64>);

impl TwoPhaseSink<u64> for Slow {
    type Writer = <CollectSink<u64> as TwoPhaseSink<u64>>::Writer;
    type Frozen = <CollectSink<u64> as TwoPhaseSink<u64>>::Frozen;
    type Transaction = <CollectSink<u64> as TwoPhaseSink<u64>>::Transaction;
    type WriterState = <CollectSink<u64> as TwoPhaseSink<u64>>::WriterState;

    fn owner(&self) -> Result<Ownership, BoxError> {
        self.0.owner()
    }

    fn place(&self) -> String {
        self.0.place()
    }

    fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        self.0.claim(context)
    }

    fn recover(
        &self,
        context: &SinkContext,
        transactions: Vec<Self::Transaction>,
        writers: &[Self::WriterState],
    ) -> Result<(), BoxError> {
        self.0.recover(context, transactions, writers)
    }

    fn open(
        &self,
        context: &SinkContext,
        subtask: SubtaskIndex,
        restored: Vec<Self::WriterState>,
    ) -> Result<Self::Writer, BoxError> {
        self.0.open(context, subtask, restored)
    }

    fn pre_commit(&self, frozen: Self::Frozen) -> Result<Option<Self::Transaction>, BoxError> {
        std::thread::sleep(Duration::from_millis(60));
        self.0.pre_commit(frozen)
    }

    fn commit(&self, transaction: &Self::Transaction) -> Result<(), BoxError> {
        self.0.commit(transaction)
    }
}

fn slow() -> Topology {
    let topology = Topology::new("slow");
    topology.source("numbers", Generator::unbounded(|i| i).rate(1_000)).sink("slow", Slow(CollectSink::new().0));
    topology
}

#[test]
fn failed_checkpoints_are_counted_and_tolerated_unless_something_else_was_said() {
    let config = CheckpointConfig::every(Duration::from_millis(10)).timeout(Duration::from_millis(20));
    let engine = Engine::builder().parallelism(1).checkpoints(config.clone());
    let job = engine.start_blocking(slow()).unwrap();
    wait_for("five failures", || job.status().checkpoints_failed >= 5);
    assert_eq!(job.status().restarts, 0);
    let history = job.checkpoints();
    let failed = history.last_failed().unwrap();
    assert!(matches!(failed.aborted, Some(CheckpointFailureReason::Timeout { .. })), "{failed:?}");
    job.cancel_blocking().unwrap();

    let engine = Engine::builder().parallelism(1).checkpoints(config.tolerable_failures(2));
    let job = engine.restart(RestartStrategy::None).start_blocking(slow()).unwrap();
    let error = job.wait_blocking().unwrap_err().to_string();
    assert!(error.contains("2 failed checkpoints in a row are tolerable"), "{error}");
    assert_eq!(job.checkpoints().failed(), 3);
}

#[test]
fn a_checkpoint_under_way_when_the_attempt_fails_is_told() {
    let fails = Arc::new(AtomicBool::new(false));
    let config = CheckpointConfig::every(Duration::from_millis(1));
    let engine = Engine::builder().parallelism(2).checkpoints(config);
    let restart = RestartStrategy::FixedDelay { attempts: 1_000, delay: Duration::ZERO };
    let job = engine.restart(restart).start_blocking(counts(fails.clone())).unwrap();
    let ended = || {
        let is_ended = |stats: &&CheckpointStats| stats.aborted == Some(CheckpointFailureReason::AttemptEnded);
        job.checkpoints().iter().filter(is_ended).count()
    };
    // At the end of some attempt one is under way.
    while ended() == 0 {
        let (completed, restarts) = (job.status().checkpoints_completed, job.status().restarts);
        wait_for("a checkpoint", || job.status().checkpoints_completed > completed);
        fails.store(true, Ordering::SeqCst);
        wait_for("a restart", || job.status().restarts > restarts);
    }
    assert_eq!(job.status().checkpoints_failed, 0, "it is no failure of the checkpoint's");
    job.cancel_blocking().unwrap();
}
