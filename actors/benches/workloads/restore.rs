//! How long a start takes until every table is there, beside a plain scan of the same store that builds one map of the same entries.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cofferdam::prelude::*;
use cofferdam_engine::{
    KeyGroupRange,
    checkpoint::{snapshot::StateAddress, store::StateBackend as _},
    codec,
    state::Block,
};
use hashbrown::HashMap;

use crate::{
    Args,
    checksum_sink::ChecksumSink,
    for_seconds::Released,
    ticks::{Ticks, Timetable},
    workload::key_checksum,
};

/// Keeps a count of each key and stops the job; then starts it again and scans its store, in turn.
#[allow(clippy::print_stdout)]
pub fn run(args: &Args) {
    let directory = tempfile::tempdir().unwrap();
    let state = args.state.clone().unwrap_or_else(|| directory.path().join("state"));
    let (job, rows) = start(args, &state);
    while rows.load(Ordering::Relaxed) < args.keys() {
        std::thread::sleep(Duration::from_millis(10));
    }
    job.stop_blocking().unwrap();
    let (mut restores, mut scans) = (Vec::new(), Vec::new());
    for _ in 0..args.pairs {
        let began = Instant::now();
        let (job, _) = start(args, &state);
        restores.push(began.elapsed().as_secs_f64() * 1000.0);
        job.stop_blocking().unwrap();
        let took = scan(args, &state);
        scans.push(took.as_secs_f64() * 1000.0);
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (restore, scan) = (median(&mut restores), median(&mut scans));
    println!(
        "workload=RESTORE keys={} restore_ms_p50={restore:.1} scan_ms_p50={scan:.1} restore_per_scan={:.3}",
        args.keys(),
        restore / scan
    );
}

/// W1 that counts each key once, and then waits for ever.
fn start(args: &Args, state: &Path) -> (JobHandle, Arc<AtomicU64>) {
    let rows = Arc::new(AtomicU64::new(0));
    let source = Ticks {
        f: |i| i,
        at_once: args.keys(),
        rate: 1,
        ticks: u64::MAX / 1_000_000,
        timetable: Timetable::default(),
        released: Released::default(),
    };
    let seen = rows.clone();
    let topology = Topology::new("workload");
    topology
        .source("records", source)
        .key_by(|(key, _)| *key)
        .fold("count", 0u64, |count, _| *count += 1)
        .inspect(move |_| {
            seen.fetch_add(1, Ordering::Relaxed);
        })
        .sink("checksum", ChecksumSink::new(|(key, count): &(u64, u64)| key_checksum(*key, *count)));
    let engine = Engine::builder().parallelism(args.parallelism).backend(Lmdb::at(state));
    (engine.start_blocking(topology).unwrap(), rows)
}

fn scan(args: &Args, state: &Path) -> Duration {
    let mut store = Lmdb::at(state).open().unwrap();
    let max_parallelism = store.newest().unwrap().unwrap().max_parallelism;
    let reader = store.reader().unwrap();
    let address = StateAddress { operator: "count".to_string(), state: "value".to_string() };
    let began = Instant::now();
    let mut map: HashMap<u64, u64, ahash::RandomState> = HashMap::default();
    let range = KeyGroupRange { start: 0, end: max_parallelism };
    reader
        .read(&address, range, &mut |_, _, _, bytes| {
            for entry in Block::parse(bytes)? {
                let entry = entry?;
                let key = u64::decode(&mut &entry.key[..]).ok_or("no key")?;
                match entry.value {
                    Some((_, value)) => map.insert(key, codec::decode(value)?),
                    None => map.remove(&key),
                };
            }
            Ok(())
        })
        .unwrap();
    let took = began.elapsed();
    assert!(map.len() as u64 >= args.keys());
    took
}
