//! The two checkpoint modes, on a step with two inputs of unequal speed.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cofferdam::prelude::*;

const FAST: u64 = 40_000;
const SLOW: u64 = 400;
const KEYS: u64 = 10;

/// Counts records of two paths, of which one takes 1 ms for each. Fails once, as soon as it is told to.
fn topology(fails: Arc<AtomicBool>, sink: CollectSink<(u64, u64)>) -> Topology {
    let topology = Topology::new("unequal");
    let slow = topology.source("slow", Generator::bounded(SLOW, |i| i)).rebalance().map(|i| {
        std::thread::sleep(Duration::from_millis(1));
        i
    });
    let fast = topology.source("fast", Generator::bounded(FAST, |i| i).rate(50_000));
    let united = fast
        .union(slow.rebalance())
        .try_map(move |i| if fails.swap(false, Ordering::SeqCst) { Err("told to fail".to_string()) } else { Ok(i) });
    united.key_by(|i| i % KEYS).fold("count", 0u64, |count, _| *count += 1).sink("counts", sink);
    topology
}

/// Runs it through a failure after a checkpoint, and gives back each key's last count, and the longest alignment.
fn run(mode: CheckpointMode) -> (BTreeMap<u64, u64>, Duration) {
    let fails = Arc::new(AtomicBool::new(false));
    let (sink, rows) = CollectSink::new();
    let checkpoints = CheckpointConfig::every(Duration::from_millis(20)).mode(mode);
    let restart = RestartStrategy::FixedDelay { attempts: 1, delay: Duration::ZERO };
    // What a full channel of the slow path holds takes a third of the job: barriers wait behind it.
    let engine = Engine::builder().parallelism(1).batch_size(8).checkpoints(checkpoints).restart(restart);
    let job = engine.start_blocking(topology(fails.clone(), sink)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while job.status().checkpoints_completed < 2 {
        assert!(Instant::now() < deadline, "no checkpoint completed");
        std::thread::yield_now();
    }
    fails.store(true, Ordering::SeqCst);
    job.wait_blocking().unwrap();
    assert_eq!(job.status().restarts, 1);
    let mut counts = BTreeMap::new();
    for (key, count) in rows.snapshot() {
        let last: &mut u64 = counts.entry(key).or_default();
        *last = count.max(*last);
    }
    (counts, job.checkpoints().summary(|stats| stats.parts.alignment).unwrap().max)
}

fn exact() -> BTreeMap<u64, u64> {
    (0..KEYS).map(|key| (key, (FAST + SLOW) / KEYS)).collect()
}

#[test]
fn exactly_once_counts_each_record_once_after_a_failure_and_waits_for_the_slow_input() {
    let (counts, alignment) = run(CheckpointMode::ExactlyOnce);
    assert_eq!(counts, exact());
    assert!(alignment > Duration::ZERO, "nothing was aligned");
}

#[test]
fn at_least_once_counts_some_records_twice_after_a_failure_loses_none_and_waits_for_nothing() {
    let (counts, alignment) = run(CheckpointMode::AtLeastOnce);
    let exact = exact();
    assert!(counts.iter().all(|(key, count)| *count >= exact[key]), "{counts:?}");
    assert!(counts != exact, "no record was counted twice");
    assert_eq!(alignment, Duration::ZERO);
}
