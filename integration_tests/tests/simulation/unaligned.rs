//! Barriers that overtake: what is in flight is part of the checkpoint, and put back in order, also at another parallelism.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use cofferdam::connector::{CollectSink, Generator};
use cofferdam_engine::{checkpoint::coordinator::JobEnd, topology::Topology};
use cofferdam_testkit::{Fault, Faults, Point, Setup, Simulation, every_fault};

use crate::{
    cases::{counts_in_order, same},
    seeds::seeds,
};

const RECORDS: u64 = 150;

/// Every checkpoint overtakes, at once or soon; some overlap.
fn setup(seed: u64) -> Setup {
    let step_time = Setup::drawn(seed).step_time;
    Setup::drawn(seed).checkpoints(|checkpoints| {
        let checkpoints = checkpoints.unaligned(step_time * (seed % 3 * 5) as u32);
        checkpoints.min_pause(Duration::ZERO).max_concurrent(1 + (seed % 3) as u32)
    })
}

#[test]
fn every_kind_of_edge_keeps_what_is_in_flight() {
    for seed in seeds(0..300) {
        let (sink, rows) = CollectSink::new();
        let topology = move || {
            let topology = Topology::new("edges");
            let numbers = topology.source("numbers", Generator::bounded(RECORDS, |i| i)).parallelism(2);
            let twice = numbers.rebalance().parallelism(3).flat_map(|n| [n, n]).broadcast().parallelism(2);
            twice
                .key_by(|n| n % 5)
                .parallelism(3)
                .fold("count", 0u64, |count, _| *count += 1)
                .sink("out", sink.clone());
            topology
        };
        let faults = if seed % 3 == 0 { Faults::none() } else { Faults::drawn(&every_fault(), 8, 150) };
        let mut simulation = Simulation::new(seed, setup(seed), faults, topology);
        let end = simulation.run();
        assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
        counts_in_order(&rows.snapshot(), (0..RECORDS).flat_map(|n| [n % 5; 4]));
    }
}

/// Each process has another parallelism, and dies.
#[test]
fn records_in_flight_find_their_subtasks_at_another_parallelism_and_each_keys_stay_in_order() {
    let mut in_flight = 0;
    for seed in seeds(0..300) {
        let (sink, rows) = CollectSink::new();
        let (starts, first) = (Arc::new(AtomicU32::new(0)), seed as u32);
        let topology = move || {
            let parallelism = 1 + (first + starts.fetch_add(1, Ordering::SeqCst)) % 3;
            let topology = Topology::new("rescaled");
            // One split: each key's numbers come in their order.
            let numbers = topology.source("numbers", Generator::bounded(RECORDS, |i| i)).parallelism(1);
            numbers
                .key_by(|n| n % 7)
                .parallelism(parallelism)
                .process("in order", |key: &u64, n, last: &mut cofferdam_engine::ValueState<'_, u64>, out| {
                    assert!(last.get().is_none_or(|last| *last < n), "key {key}: {n} came after {:?}", last.get());
                    last.set(n);
                    out.emit(n);
                })
                .rebalance()
                .parallelism(1 + parallelism % 3)
                .sink("out", sink.clone());
            topology
        };
        let kills = [Point::CommitDurable, Point::CommitAfter, Point::Frozen, Point::ReplayBegun];
        let faults = Faults::drawn(&kills.map(|point| (point, Fault::Kill)), 4, 10);
        let mut simulation = Simulation::new(seed, setup(seed), faults, topology);
        let end = simulation.run();
        assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
        same(rows.snapshot(), (0..RECORDS).collect());
        in_flight += simulation.restored_in_flight();
    }
    assert!(in_flight > 100, "in flight at restarts: {in_flight} batches");
}
