//! What one thread does without an engine: hashbrown and ahash, capacity reserved.

use std::time::Instant;

use crate::{
    Args,
    checksum_sink::Checksum,
    memory::MemoryWatch,
    report::Report,
    workload::{Workload, is_kept, key, key_checksum, mapped, splitmix64},
};

/// Runs the loop.
pub fn run(args: &Args) -> Report {
    let memory = MemoryWatch::start();
    let began = Instant::now();
    let mut checksum = Checksum::default();
    match args.workload() {
        Workload::KeyedCount { keys, hot } => {
            let mut counts = hashbrown::HashMap::with_capacity_and_hasher(keys as usize, ahash::RandomState::new());
            for i in 0..args.records {
                let key = key(i, keys, hot);
                let count = counts.entry(key).or_insert(0u64);
                *count += 1;
                checksum.add(key_checksum(key, *count));
            }
        }
        Workload::MapFilter => {
            (0..args.records).map(|i| mapped(splitmix64(i))).filter(|m| is_kept(*m)).for_each(|m| checksum.add(m));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    Report {
        workload: args.what.last().cloned().unwrap_or_default(),
        variant: "limit".to_string(),
        records: args.records,
        seconds,
        checksum,
        checkpoints: None,
        memory: memory.stop(),
        fields: Vec::new(),
    }
}
