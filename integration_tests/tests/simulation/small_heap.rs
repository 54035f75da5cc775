//! State of which nothing stays on the heap that is stored, under every fault: what is not there is looked up in LMDB.

use std::collections::BTreeMap;

use cofferdam::connector::{CollectSink, Collected, Generator};
use cofferdam_engine::{
    Collector, ValueState,
    checkpoint::{config::CheckpointConfig, coordinator::JobEnd},
    topology::Topology,
};
use cofferdam_storage::Lmdb;
use cofferdam_testkit::{Faults, Setup, Simulation, every_fault};

use crate::{
    cases::{RECORDS, same},
    seeds::seeds,
};

/// With their count, or 0 when they are forgotten.
type Rows = Collected<(u64, u64)>;

const KEYS: u64 = 17;

/// A key is forgotten at its third record, and counted anew.
fn topology(sink: CollectSink<(u64, u64)>) -> Topology {
    let topology = Topology::new("small heap");
    topology
        .source("numbers", Generator::bounded(RECORDS, |i| i * i + i / 3))
        .key_by(|n| n % KEYS)
        .process("count", |key: &u64, _, count: &mut ValueState<'_, u64>, out: &mut Collector<'_, (u64, u64)>| {
            let next = count.update(
                || 0,
                |count| {
                    *count += 1;
                    *count % 3
                },
            );
            if next == 0 {
                count.clear();
            }
            out.emit((*key, next));
        })
        .sink("rows", sink);
    topology
}

fn expected() -> Vec<(u64, u64)> {
    let mut counts = BTreeMap::new();
    let rows = (0..RECORDS).map(|i| (i * i + i / 3) % KEYS).map(|key| {
        let count: &mut u64 = counts.entry(key).or_default();
        *count = (*count + 1) % 3;
        (key, *count)
    });
    rows.collect()
}

fn run(seed: u64, rows: &Rows, sink: &CollectSink<(u64, u64)>) {
    let directory = tempfile::tempdir().unwrap();
    // Not all that is stored has to leave: a batch's keys, and what changed, stay in any case.
    let limit = seed % 3 * 500;
    let setup = Setup::drawn(seed).heap_limit(limit);
    let interval = Some(setup.step_time * 40);
    let setup = setup.checkpoints(|checkpoints| CheckpointConfig { interval, ..checkpoints });
    let sink = sink.clone();
    let mut simulation =
        Simulation::new(seed, setup, Faults::drawn(&every_fault(), 4, 100), move || topology(sink.clone()))
            .backend(Lmdb::at(directory.path().join("state")).heap_limit(limit));
    assert_eq!(simulation.run().unwrap(), JobEnd::Finished, "seed {seed}");
    same(rows.snapshot(), expected());
}

#[test]
fn counts_as_if_all_of_it_were_there() {
    for seed in seeds(0..60) {
        let (sink, rows) = CollectSink::new();
        run(seed, &rows, &sink);
    }
}
