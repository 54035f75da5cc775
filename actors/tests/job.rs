//! Whole jobs, on real threads.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cofferdam::prelude::*;

fn quick_restarts() -> RestartStrategy {
    RestartStrategy::FixedDelay { attempts: 10, delay: Duration::from_millis(1) }
}

/// The oracle: counts per key as a plain loop.
fn count(numbers: impl Iterator<Item = u64>) -> HashMap<u64, u64> {
    let mut counts = HashMap::new();
    numbers.for_each(|n| *counts.entry(n).or_default() += 1);
    counts
}

#[test]
fn stateful_steps_give_the_same_result_at_parallelism_1_2_and_4() {
    let expected: BTreeMap<_, _> = count((0..50_000u64).map(|i| i * i % 997)).into_iter().collect();
    for parallelism in [1, 2, 4] {
        let topology = Topology::new("counts");
        let (sink, rows) = CollectSink::new();
        topology
            .source("numbers", Generator::bounded(50_000, |i| i * i % 997))
            .key_by(|n| *n)
            .fold("count", 0u64, |count, _| *count += 1)
            .sink("counts", sink);
        let job = Engine::builder().parallelism(parallelism).start_blocking(topology).unwrap();
        assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
        let rows = rows.snapshot();
        assert_eq!(rows.len(), 50_000);
        let last: BTreeMap<u64, u64> = rows.into_iter().fold(BTreeMap::new(), |mut last, (key, count)| {
            let seen = last.entry(key).or_insert(0);
            *seen = count.max(*seen);
            last
        });
        assert_eq!(last, expected, "parallelism {parallelism}");
    }
}

#[test]
fn a_failing_operator_restarts_the_job_from_its_last_checkpoint_and_loses_nothing() {
    let topology = Topology::new("failing");
    let (sink, rows) = CollectSink::new();
    let failed = Arc::new(AtomicBool::new(false));
    let flag = failed.clone();
    topology
        .source("numbers", Generator::bounded(200_000, |i| i).rate(400_000))
        .try_map(move |n: u64| {
            if n == 150_000 && !flag.swap(true, Ordering::SeqCst) {
                return Err("the 150,000th is bad, once");
            }
            Ok(n)
        })
        .name("picky")
        .key_by(|n| n % 100)
        .fold("count", 0u64, |count, _| *count += 1)
        .sink("counts", sink);
    let job = Engine::builder()
        .parallelism(2)
        .restart(quick_restarts())
        .checkpoints(CheckpointConfig::every(Duration::from_millis(20)))
        .start_blocking(topology)
        .unwrap();
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
    assert!(failed.load(Ordering::SeqCst));
    assert_eq!(job.status().restarts, 1);
    let mut rows = rows.snapshot();
    rows.sort();
    let expected: Vec<_> = (0..100u64).flat_map(|key| (1..=2000u64).map(move |count| (key, count))).collect();
    assert_eq!(rows, expected);
}

#[test]
fn a_panic_fails_the_attempt_with_its_message_the_operator_and_the_subtask() {
    let topology = Topology::new("panicking");
    let (sink, _rows) = CollectSink::new();
    topology
        .source("numbers", Generator::bounded(1000, |i| i))
        .parallelism(1)
        .map(|n: u64| if n == 500 { panic!("cannot stand {n}") } else { n })
        .name("touchy")
        .map(|n| n + 1)
        .sink("out", sink);
    let job = Engine::builder().restart(RestartStrategy::None).start_blocking(topology).unwrap();
    let error = job.wait_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert_eq!(error.to_string(), "job 'panicking', operator 'touchy', subtask 0 panicked: cannot stand 500");
}
