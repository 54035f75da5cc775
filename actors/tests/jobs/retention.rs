//! What is left of a job that was cancelled, and of one that failed.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cofferdam::prelude::*;

use crate::until::until;

const EVERY: Duration = Duration::from_millis(10);

fn start(state: &Path, checkpoints: CheckpointConfig, topology: Topology) -> JobHandle {
    let engine = Engine::builder().parallelism(2).checkpoints(checkpoints).backend(Lmdb::at(state));
    let strategy = RestartStrategy::FixedDelay { attempts: 2, delay: Duration::from_millis(1) };
    engine.restart(strategy).start_blocking(topology).unwrap()
}

/// Running counts of some numbers by their last digit; fails at every number while it `is_down`.
fn counting(sink: CollectSink<(u64, u64)>, numbers: u64, rate: u32, is_down: &Arc<AtomicBool>) -> Topology {
    let is_down = is_down.clone();
    let topology = Topology::new("counting");
    topology
        .source("numbers", Generator::bounded(numbers, |i| i).rate(rate))
        .try_map(move |n: u64| if is_down.load(Ordering::SeqCst) { Err("it is down") } else { Ok(n) })
        .key_by(|n| n % 10)
        .fold("count", 0u64, |count, _| *count += 1)
        .sink("counts", sink);
    topology
}

/// The rows of a plain loop.
fn assert_exact(rows: &Collected<(u64, u64)>, numbers: u64) {
    let mut counts = [0; 10];
    let expected = (0..numbers).map(|n| {
        counts[n as usize % 10] += 1;
        (n % 10, counts[n as usize % 10])
    });
    let (mut rows, mut expected) = (rows.snapshot(), expected.collect::<Vec<_>>());
    rows.sort_unstable();
    expected.sort_unstable();
    assert_eq!(rows, expected);
}

#[test]
fn a_cancelled_job_leaves_no_state_unless_it_is_told_to() {
    for checkpoints in [CheckpointConfig::every(EVERY), CheckpointConfig::every(EVERY).delete_on_cancellation()] {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let job = start(&state, checkpoints, counting(CollectSink::new().0, 1 << 40, 5_000, &Arc::default()));
        until("two checkpoints", || job.status().checkpoints_completed >= 2);
        assert!(state.exists());
        assert_eq!(job.cancel_blocking().unwrap(), JobEnd::Cancelled);
        assert!(!state.exists());
    }
}

#[test]
fn a_job_whose_checkpoints_are_retained_goes_on_from_the_newest_after_it_was_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let (sink, rows) = CollectSink::new();
    let checkpoints = || CheckpointConfig::every(EVERY).retain_on_cancellation();
    let run = |rate| start(&state, checkpoints(), counting(sink.clone(), 100_000, rate, &Arc::default()));
    let mut newest = CheckpointId(0);
    for _ in 0..2 {
        let job = run(4_000);
        until("two checkpoints", || job.status().checkpoints_completed >= 2);
        assert_eq!(job.cancel_blocking().unwrap(), JobEnd::Cancelled);
        assert!(job.status().last_checkpoint.unwrap().checkpoint > newest);
        newest = job.status().last_checkpoint.unwrap().checkpoint;
        assert!(!rows.snapshot().is_empty(), "what completed checkpoints hold is published");
        assert!(rows.snapshot().len() < 100_000);
    }
    let job = run(1_000_000);
    assert_eq!(job.status().started_from, Some(StartedFrom::Checkpoint(newest)));
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
    assert_exact(&rows, 100_000);
}

#[test]
fn a_job_that_is_out_of_restarts_keeps_its_state_and_can_be_started_again_whatever_the_retention() {
    let all = [
        CheckpointConfig::every(EVERY),
        CheckpointConfig::every(EVERY).delete_on_cancellation(),
        CheckpointConfig::every(EVERY).retain_on_cancellation(),
    ];
    for checkpoints in all {
        let directory = tempfile::tempdir().unwrap();
        let (sink, rows) = CollectSink::new();
        let is_down = Arc::new(AtomicBool::new(false));
        let job = start(directory.path(), checkpoints.clone(), counting(sink.clone(), 100_000, 4_000, &is_down));
        until("rows", || !rows.snapshot().is_empty());
        is_down.store(true, Ordering::SeqCst);
        let error = job.wait_blocking().unwrap_err();
        assert!(error.to_string().starts_with("given up after 2 restarts: "), "{error}");
        assert!(error.to_string().ends_with("failed: it is down"), "{error}");
        let newest = job.status().last_checkpoint.unwrap().checkpoint;
        assert!(rows.snapshot().len() < 100_000);

        is_down.store(false, Ordering::SeqCst);
        let job = start(directory.path(), checkpoints, counting(sink, 100_000, 1_000_000, &is_down));
        assert_eq!(job.status().started_from, Some(StartedFrom::Checkpoint(newest)));
        assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
        assert_exact(&rows, 100_000);
    }
}
