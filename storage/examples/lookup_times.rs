//! How long it takes to look keys up in LMDB, a batch at a time: in groups of one block, and with ten more on top.
//!
//! `cargo run --release -p cofferdam-storage --example lookup_times [directory] [millions of keys]`
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    num::NonZeroU32,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use cofferdam_engine::{
    Attempt, CheckpointId, JobId, KeyGroup,
    checkpoint::{
        snapshot::{BlockKind, CheckpointCommit, CheckpointMetadata, StateAddress, StateBlock, StateDelta},
        store::{CheckpointStore, StateBackend as _},
    },
};
use cofferdam_storage::Lmdb;

const GROUPS: u16 = 128;
const BATCH: usize = 2_048;
const BATCHES: usize = 200;
const RUNS: u64 = 10;

fn main() {
    let mut args = std::env::args().skip(1);
    let base = args.next().map_or_else(std::env::temp_dir, PathBuf::from).join("lookup_times");
    let keys = args.next().map_or(20, |millions| millions.parse().unwrap()) * 1_000_000u64;
    let _ = std::fs::remove_dir_all(&base);
    let lmdb = Lmdb::at(&base).heap_limit(1 << 30);
    let mut store = lmdb.open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    let start = Instant::now();
    let loaded = load(&mut *store, attempt, keys);
    println!("{keys} keys loaded in {loaded} commits, {:.1} s", start.elapsed().as_secs_f64());
    measure("one block", &mut *store, keys);
    let mut random = 7;
    let mut commits = Duration::ZERO;
    for number in loaded..loaded + RUNS {
        let changed: Vec<u64> = (0..keys / 100).map(|_| next(&mut random) % keys).collect();
        let start = Instant::now();
        commit(&mut *store, attempt, number, BlockKind::Changes, by_group(changed));
        commits += start.elapsed();
    }
    println!("commits of 1 % changes: {:.0} ms each", commits.as_secs_f64() * 1e3 / RUNS as f64);
    measure("ten more", &mut *store, keys);
    drop(store);
    let start = Instant::now();
    let mut store = lmdb.open().unwrap();
    store.newest().unwrap();
    println!("opened and read through in {:.2} s", start.elapsed().as_secs_f64());
    measure("reopened", &mut *store, keys);
    drop(store);
    let _ = std::fs::remove_dir_all(&base);
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 29)
}

fn group_of(key: u64) -> u16 {
    ((key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % u64::from(GROUPS)) as u16
}

fn by_group(keys: impl IntoIterator<Item = u64>) -> Vec<(u16, Vec<u64>)> {
    let mut groups = vec![Vec::new(); usize::from(GROUPS)];
    keys.into_iter().for_each(|key| groups[usize::from(group_of(key))].push(key));
    let mut groups: Vec<_> = (0..).zip(groups).filter(|(_, keys)| !keys.is_empty()).collect();
    for (_, keys) in &mut groups {
        keys.sort_unstable();
        keys.dedup();
    }
    groups
}

/// Group by group, about a million keys in each commit.
fn load(store: &mut dyn CheckpointStore, attempt: Attempt, keys: u64) -> u64 {
    let mut number = 0;
    let mut pending = Vec::new();
    for group in by_group(0..keys) {
        pending.push(group);
        if pending.iter().map(|(_, keys)| keys.len()).sum::<usize>() >= 1_000_000 {
            commit(store, attempt, number, BlockKind::Full, std::mem::take(&mut pending));
            number += 1;
        }
    }
    commit(store, attempt, number, BlockKind::Full, pending);
    number + 1
}

fn commit(
    store: &mut dyn CheckpointStore,
    attempt: Attempt,
    number: u64,
    kind: BlockKind,
    groups: Vec<(u16, Vec<u64>)>,
) {
    let block = |(group, keys): (u16, Vec<u64>)| {
        let mut bytes = vec![2, 0, 0];
        for key in &keys {
            bytes.push(8);
            bytes.extend(key.to_be_bytes());
            bytes.extend([3, 0xcd, number as u8, *key as u8]);
        }
        StateBlock { group: KeyGroup(group), kind, entries: keys.len() as u32, bytes }
    };
    let checkpoint = CheckpointId(number);
    let delta = StateDelta { checkpoint, address: address(), blocks: groups.into_iter().map(block).collect() };
    let metadata = CheckpointMetadata {
        job: JobId(1),
        job_name: "lookup_times".into(),
        checkpoint,
        attempt,
        max_parallelism: GROUPS,
        finished: false,
        draining: false,
        in_flight: Vec::new(),
        times: Vec::new(),
        operators: vec![],
        origin: None,
    };
    let (num_retained, fail_points) = (NonZeroU32::MIN, Default::default());
    store.commit(&CheckpointCommit { metadata, deltas: vec![Arc::new(delta)], num_retained, fail_points }).unwrap();
}

fn address() -> StateAddress {
    StateAddress { operator: "step".into(), state: "state".into() }
}

/// Present keys, then absent ones.
fn measure(name: &str, store: &mut dyn CheckpointStore, keys: u64) {
    let lookup = store.lookup().unwrap().unwrap();
    for (what, above) in [("present", 0), ("absent", keys)] {
        let mut random = 42;
        let mut times = Vec::new();
        for _ in 0..BATCHES {
            let asked = by_group((0..BATCH).map(|_| above + next(&mut random) % keys));
            let asked =
                asked.iter().flat_map(|(group, keys)| keys.iter().map(|key| (KeyGroup(*group), key.to_be_bytes())));
            let asked: Vec<_> = asked.collect();
            let asked: Vec<_> = asked.iter().map(|(group, key)| (*group, &key[..])).collect();
            let mut found = 0;
            let start = Instant::now();
            let visit = &mut |_, _, value: &[u8]| {
                found += value.len() / 3;
                Ok(())
            };
            lookup.get_many(&address(), &asked, visit).unwrap();
            times.push(start.elapsed() / asked.len() as u32);
            assert_eq!(found, if above == 0 { asked.len() } else { 0 });
        }
        times.sort();
        let micros = |place: usize| times[place].as_secs_f64() * 1e6;
        println!(
            "{name:10} {what:8} {:.2} us a key (median), {:.2} (p90)",
            micros(BATCHES / 2),
            micros(BATCHES * 9 / 10)
        );
    }
}
