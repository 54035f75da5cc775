//! A workload as a topology.

use std::time::{Duration, Instant};

use cofferdam::prelude::*;

use crate::{
    Args,
    checksum_sink::{Checksum, ChecksumSink},
    memory::MemoryWatch,
    report::{CheckpointFigures, Report},
    workload::{Workload, is_kept, key, key_checksum, mapped, splitmix64},
};

/// Runs it to its end.
pub fn run(args: &Args) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let (topology, total) = topology(args);
    let mut engine =
        Engine::builder().parallelism(args.parallelism).batch_size(args.batch_size).restart(RestartStrategy::None);
    if let Some(interval) = args.checkpoint_ms {
        engine = engine.checkpoints(CheckpointConfig::every(Duration::from_millis(interval)));
    }
    if args.backend == "lmdb" {
        engine = engine.backend(Lmdb::at(args.state.clone().unwrap_or_else(|| directory.path().join("state"))));
    }
    let memory = MemoryWatch::start();
    let began = Instant::now();
    let job = engine.start_blocking(topology).unwrap();
    job.wait_blocking().unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let checkpoints = job.checkpoints();
    Report {
        workload: args.what.last().cloned().unwrap_or_default(),
        variant: format!(
            "engine-p{}-{}{}",
            args.parallelism,
            if args.checkpoint_ms.is_some() { args.backend.as_str() } else { "none" },
            if args.with_fail_points { "-failpoints" } else { "" }
        ),
        records: args.records,
        seconds,
        checksum: total(),
        checkpoints: Some(CheckpointFigures::of(&checkpoints)),
        memory: memory.stop(),
    }
}

fn topology(args: &Args) -> (Topology, Box<dyn FnOnce() -> Checksum>) {
    let topology = Topology::new("workload");
    let total: Box<dyn FnOnce() -> Checksum> = match args.workload() {
        Workload::KeyedCount { keys, hot } => {
            let sink = ChecksumSink::new(|(key, count): &(u64, u64)| key_checksum(*key, *count));
            let total = sink.total();
            topology
                .source("records", Generator::bounded(args.records, move |i| key(i, keys, hot)))
                .key_by(|key| *key)
                .fold("count", 0u64, |count, _| *count += 1)
                .sink("checksum", sink);
            Box::new(total)
        }
        Workload::MapFilter => {
            let sink = ChecksumSink::new(|m: &u64| *m);
            let total = sink.total();
            topology
                .source("records", Generator::bounded(args.records, splitmix64))
                .map(mapped)
                .filter(|m| is_kept(*m))
                .rebalance()
                .sink("checksum", sink);
            Box::new(total)
        }
    };
    (topology, total)
}
