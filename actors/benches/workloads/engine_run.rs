//! A workload under the engine.

use std::time::{Duration, Instant};

use cofferdam::prelude::*;
use cofferdam_engine::checkpoint::store::StateBackend;

use crate::{
    Args, Name,
    cadence::Cadence,
    disk_sync::DiskSync,
    memory::MemoryWatch,
    recovery, reference,
    report::{CheckpointFigures, Report},
    sparse, topologies,
};

/// Runs it to its end, and checks its answer.
pub fn run(args: &Args) -> Report {
    let prepared = match args.name() {
        Name::Recovery => topologies::recovery(args),
        Name::Latency => topologies::latency(args),
        Name::Sparse => sparse::topology(args),
        Name::W1 | Name::W2 | Name::W3 | Name::W4 | Name::Restore => topologies::plain(args, args.workload()),
    };
    let directory = tempfile::tempdir().unwrap();
    let state = args.state.clone().unwrap_or_else(|| directory.path().join("state"));
    let parent = state.parent().unwrap();
    std::fs::create_dir_all(parent).unwrap();
    // Beside the state, to be on its disk.
    let beside = tempfile::tempdir_in(parent).unwrap();
    let engine = match args.backend() {
        "lmdb" => match args.heap_mib {
            Some(limit) => engine(args, Lmdb::at(&state).heap_limit(limit << 20)),
            None => engine(args, Lmdb::at(&state)),
        },
        _ => engine(args, Memory::new()),
    };
    let asks_disk = args.checkpoint_ms().is_some() && args.backend() == "lmdb";
    let disk_sync = asks_disk.then(|| DiskSync::start(beside.path()));
    let memory = MemoryWatch::start();
    let began = Instant::now();
    let job = engine.start_blocking(prepared.topology).unwrap();
    job.wait_blocking().unwrap();
    let ran = began.elapsed();
    let disk_sync = disk_sync.map_or(Duration::ZERO, DiskSync::stop);
    let memory = memory.stop();
    let (history, checksum, released) = (job.checkpoints(), (prepared.total)(), (prepared.released)());
    assert_eq!(checksum, reference::answer(args.workload(), &released), "the answer is wrong");
    let mut fields = (prepared.fields)();
    if args.name() == Name::Sparse {
        fields.extend(sparse::fields(args, &history, &state));
    }
    if let Some(interval) = args.checkpoint_ms() {
        let interval = Duration::from_millis(interval);
        let cadence = Cadence { interval, ran, disk_sync };
        fields.extend(cadence.fields(&history));
    }
    Report {
        workload: args.what.last().cloned().unwrap_or_default(),
        variant: variant(args),
        records: released.iter().sum(),
        seconds: ran.as_secs_f64(),
        checksum,
        checkpoints: Some(CheckpointFigures::of(&history)),
        memory,
        fields,
    }
}

fn engine(args: &Args, backend: impl StateBackend) -> EngineBuilder {
    let restart = if args.name() == Name::Recovery { recovery::at_once() } else { RestartStrategy::None };
    let engine = Engine::builder().parallelism(args.parallelism).batch_size(args.batch_size).restart(restart);
    match args.checkpoint_ms() {
        Some(interval) => engine.checkpoints(CheckpointConfig::every(Duration::from_millis(interval))),
        None => engine,
    }
    .backend(backend)
}

fn variant(args: &Args) -> String {
    format!(
        "engine-p{}-{}{}",
        args.parallelism,
        if args.checkpoint_ms().is_some() { args.backend() } else { "none" },
        if args.with_fail_points { "-failpoints" } else { "" }
    )
}
