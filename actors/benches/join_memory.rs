//! An interval join keeps what can still match, however much has come: over 1 M keys and an interval of 10 s, as much memory for twice the records.
//!
//! ```text
//! cargo bench -p cofferdam --bench join_memory -- --records 10000000
//! ```
//! `cargo test` runs it, too, with 5 M and 10 M records.
//!
//! Ten records a millisecond, every other one of the second stream, up to 200 ms out of order; on two subtasks, with a checkpoint a second in LMDB. The pairs are checked. The last line is a list of `name=value`; a run that takes more
//! memory than it may ends in a panic.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "workloads/checksum_sink.rs"]
mod checksum_sink;
#[path = "workloads/memory.rs"]
mod memory;

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use checksum_sink::{Checksum, ChecksumSink};
use clap::Parser;
use cofferdam::prelude::*;
use memory::MemoryWatch;
use serde::{Deserialize, Serialize};

const KEYS: u64 = 1_000_000;
const INTERVAL: Duration = Duration::from_secs(10);
const DISORDER: u64 = 200;
/// MiB that a run may take.
const MOST: u64 = 200;
/// MiB that one of twice the records may take beside it: a fifth of that.
const BESIDE: u64 = 40;

/// Joins twice: so many records, and twice as many.
#[derive(Debug, Parser)]
#[command(name = "join_memory")]
struct Args {
    #[arg(long, default_value_t = if cfg!(debug_assertions) { 5_000_000 } else { 10_000_000 })]
    records: u64,
    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
    /// What `cargo test` says to all test programs, as the names of tests: it is none of those.
    #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
    names: Vec<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Event {
    key: u64,
    number: u64,
    time: i64,
}

fn event(number: u64) -> Event {
    let hash = mixed(number);
    Event { key: hash % KEYS, number, time: (number / 10 + (hash >> 40) % DISORDER) as i64 }
}

fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

fn pair(left: u64, right: u64) -> u64 {
    mixed(left ^ right.rotate_left(32))
}

/// The pairs, and the most MiB of anonymous memory.
fn run(records: u64) -> (Checksum, u64) {
    let topology = Topology::new("pairs");
    let sink = ChecksumSink::new(|pair: &u64| *pair);
    let total = sink.total();
    let strategy = WatermarkStrategy::bounded(Duration::from_millis(DISORDER));
    let (left, right) = topology
        .source("events", Generator::bounded(records, event))
        .parallelism(1)
        .event_time("time", strategy, |event: &Event| Timestamp::from_millis(event.time))
        .part(
            "right",
            |event: Event| if event.number.is_multiple_of(2) { Part::Main(event) } else { Part::Side(event) },
        );
    let key = |event: Event| (event.key, event.number);
    left.keyed(key)
        .connect(right.keyed(key))
        .interval_join("pairs", Offset::before(INTERVAL)..=Offset::after(INTERVAL), |_, left, right| {
            pair(*left, *right)
        })
        .sink("checksum", sink);
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::builder().parallelism(2).backend(Lmdb::at(directory.path().join("state")));
    let engine = engine.checkpoints(CheckpointConfig::every(Duration::from_secs(1)));
    let memory = MemoryWatch::start();
    engine.start_blocking(topology).unwrap().wait_blocking().unwrap();
    (total(), memory.stop().rss_anon)
}

/// The pairs, found by going back from each record as far as the interval and the disorder reach.
fn expected(records: u64) -> Checksum {
    let reach = (INTERVAL.as_millis() as u64 + DISORDER) * 10;
    let (mut near, mut checksum) = (HashMap::<u64, VecDeque<Event>>::new(), Checksum::default());
    for event in (0..records).map(event) {
        let others = near.entry(event.key).or_default();
        while others.front().is_some_and(|other| other.number + reach < event.number) {
            others.pop_front();
        }
        let pairs = others.iter().filter(|other| other.number % 2 != event.number % 2);
        for other in pairs.filter(|other| other.time.abs_diff(event.time) <= INTERVAL.as_millis() as u64) {
            let (left, right) = if event.number.is_multiple_of(2) { (&event, other) } else { (other, &event) };
            checksum.add(pair(left.number, right.number));
        }
        others.push_back(event);
    }
    checksum
}

fn main() {
    let args = Args::parse();
    if !args.names.is_empty() {
        return;
    }
    let began = Instant::now();
    let (once, once_mib) = run(args.records);
    let seconds = began.elapsed().as_secs_f64();
    let (twice, twice_mib) = run(2 * args.records);
    println!(
        "records={} seconds={seconds:.1} pairs={} rss_anon_mib={once_mib} rss_anon_mib_twice={twice_mib}",
        args.records, once.rows
    );
    assert_eq!(once, expected(args.records), "the pairs of {} records", args.records);
    assert_eq!(twice, expected(2 * args.records), "the pairs of {} records", 2 * args.records);
    assert!(once_mib <= MOST, "{once_mib} MiB were taken, and {MOST} are enough");
    assert!(twice_mib <= once_mib + BESIDE, "{twice_mib} MiB for twice the records, and {once_mib} MiB before");
}
