//! At least once: nothing waits for a barrier, nothing is lost, and state may count a record twice.

use std::collections::BTreeMap;

use cofferdam::connector::{CollectSink, Generator};
use cofferdam_engine::{
    checkpoint::{config::CheckpointMode, coordinator::JobEnd},
    topology::Topology,
};
use cofferdam_testkit::{Faults, Setup, Simulation};

use crate::{cases, seeds::seeds};

const RECORDS: u64 = 150;

/// The last count of each key, in a run with failures.
fn counts(seed: u64, mode: CheckpointMode) -> BTreeMap<u64, u64> {
    let (sink, rows) = CollectSink::new();
    let topology = move || {
        let topology = Topology::new("counts");
        let numbers = topology.source("numbers", Generator::bounded(RECORDS, |i| i)).parallelism(3);
        numbers
            .key_by(|n| n % 5)
            .fold("count", 0u64, |count, _| *count += 1)
            .parallelism(2)
            .sink("counts", sink.clone());
        topology
    };
    let setup = Setup::drawn(seed).mode(mode);
    let kinds = [&cases::ABORTS[..], &cases::ends()].concat();
    let mut simulation = Simulation::new(seed, setup, Faults::drawn(&kinds, 6, 120), topology);
    assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
    let mut counts = BTreeMap::new();
    for (key, count) in rows.snapshot() {
        let last = counts.entry(key).or_insert(0);
        *last = count.max(*last);
    }
    counts
}

fn exact() -> BTreeMap<u64, u64> {
    (0..5).map(|key| (key, RECORDS / 5)).collect()
}

#[test]
fn at_least_once_never_loses_a_record_and_may_count_one_twice() {
    let mut doubled = 0;
    for seed in seeds(0..200) {
        let counts = counts(seed, CheckpointMode::AtLeastOnce);
        assert_eq!(counts.len(), 5, "seed {seed}");
        assert!(counts.values().all(|count| *count >= RECORDS / 5), "seed {seed}: {counts:?}");
        doubled += usize::from(counts != exact());
    }
    assert!(doubled > 5, "in only {doubled} runs");
}

#[test]
fn exactly_once_counts_each_record_once_in_the_same_runs() {
    for seed in seeds(0..200) {
        assert_eq!(counts(seed, CheckpointMode::ExactlyOnce), exact(), "seed {seed}");
    }
}
