//! A join keeps what can still match, however much has come: as much memory for twice the records. An interval join and windows over 1 M keys and 10 s, and a temporal join with 100 k keys, whose newest versions are kept.
//!
//! ```text
//! cargo bench -p cofferdam --bench join_memory -- --records 10000000
//! ```
//! `cargo test` runs it, too, with 5 M and 10 M records. With `--join` only one of them.
//!
//! Ten records a millisecond, every other one of the second stream, up to 200 ms out of order; on two subtasks, with a checkpoint a second in LMDB. The pairs are checked. The last line of each join is a list of `name=value`; a run that takes more
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
use clap::{Parser, ValueEnum};
use cofferdam::prelude::*;
use cofferdam_engine::window::Tumbling;
use memory::MemoryWatch;
use serde::{Deserialize, Serialize};

const KEYS: u64 = 1_000_000;
/// Of a temporal join: the newest version of each stays.
const VERSIONED_KEYS: u64 = 100_000;
const INTERVAL: Duration = Duration::from_secs(10);
const DISORDER: u64 = 200;
/// Of what a run may take, the part that one of twice the records may take beside it.
const BESIDE: u64 = 5;

/// Each join twice: of so many records, and of twice as many.
#[derive(Debug, Parser)]
#[command(name = "join_memory")]
struct Args {
    #[arg(long, default_value_t = if cfg!(debug_assertions) { 5_000_000 } else { 10_000_000 })]
    records: u64,
    #[arg(long = "join")]
    joins: Vec<Join>,
    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
    /// What `cargo test` says to all test programs, as the names of tests: it is none of those.
    #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Join {
    /// Pairs of a key that are 10 s apart at most.
    Interval,
    /// Pairs of a key in the same 10 s.
    Window,
    /// Records with the newest one of the second stream at their moment.
    Temporal,
}

impl Join {
    /// MiB that a run may take.
    fn most(self) -> u64 {
        match self {
            Self::Interval => 200,
            // The newest version of each key, whatever its age.
            Self::Temporal => 300,
            // Nearly every record has a window of its own: its key comes once in ten of them.
            Self::Window => 400,
        }
    }
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
fn run(join: Join, records: u64) -> (Checksum, u64) {
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
    match join {
        Join::Interval => left
            .keyed(key)
            .connect(right.keyed(key))
            .interval_join("pairs", Offset::before(INTERVAL)..=Offset::after(INTERVAL), |_, left, right| {
                pair(*left, *right)
            })
            .sink("checksum", sink),
        Join::Window => left
            .keyed(key)
            .connect(right.keyed(key))
            .window(Tumbling::of(INTERVAL))
            .inner("pairs", |_, left, right| pair(*left, *right))
            .sink("checksum", sink),
        Join::Temporal => left
            .keyed(|event| (event.key % VERSIONED_KEYS, event.number))
            // Of versions of one moment it is not said which is the newest.
            .connect(right.keyed(|event| (event.key % VERSIONED_KEYS, Some(event.time as u64))))
            .temporal_join("pairs", |_, left, version| Some(pair(left, *version?)))
            .sink("checksum", sink),
    };
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::builder().parallelism(2).backend(Lmdb::at(directory.path().join("state")));
    let engine = engine.checkpoints(CheckpointConfig::every(Duration::from_secs(1)));
    let memory = MemoryWatch::start();
    engine.start_blocking(topology).unwrap().wait_blocking().unwrap();
    (total(), memory.stop().rss_anon)
}

fn expected(join: Join, records: u64) -> Checksum {
    let interval = INTERVAL.as_millis() as i64;
    match join {
        Join::Interval => pairs(records, |one, other| one.time.abs_diff(other.time) <= interval.unsigned_abs()),
        Join::Window => pairs(records, |one, other| one.time / interval == other.time / interval),
        Join::Temporal => versioned(records),
    }
}

/// The pairs of a key that `is_pair` takes, found by going back from each record as far as the interval and the disorder reach.
fn pairs(records: u64, is_pair: impl Fn(&Event, &Event) -> bool) -> Checksum {
    let reach = (INTERVAL.as_millis() as u64 + DISORDER) * 10;
    let (mut near, mut checksum) = (HashMap::<u64, VecDeque<Event>>::new(), Checksum::default());
    for event in (0..records).map(event) {
        let others = near.entry(event.key).or_default();
        while others.front().is_some_and(|other| other.number + reach < event.number) {
            others.pop_front();
        }
        let pairs = others.iter().filter(|other| other.number % 2 != event.number % 2);
        for other in pairs.filter(|other| is_pair(&event, other)) {
            let (left, right) = if event.number.is_multiple_of(2) { (&event, other) } else { (other, &event) };
            checksum.add(pair(left.number, right.number));
        }
        others.push_back(event);
    }
    checksum
}

/// In the order of time, the newest version before each record of the first stream.
fn versioned(records: u64) -> Checksum {
    let mut events: Vec<_> = (0..records).map(event).collect();
    events.sort_unstable_by_key(|event| (event.time, event.number.is_multiple_of(2)));
    let (mut newest, mut checksum) = (HashMap::<u64, i64>::new(), Checksum::default());
    for event in events {
        let key = event.key % VERSIONED_KEYS;
        if !event.number.is_multiple_of(2) {
            newest.insert(key, event.time);
        } else if let Some(time) = newest.get(&key) {
            checksum.add(pair(event.number, *time as u64));
        }
    }
    checksum
}

fn main() {
    let args = Args::parse();
    if !args.names.is_empty() {
        return;
    }
    let joins = if args.joins.is_empty() { Join::value_variants() } else { &args.joins };
    joins.iter().for_each(|join| check(*join, args.records));
}

fn check(join: Join, records: u64) {
    let began = Instant::now();
    let (once, once_mib) = run(join, records);
    let seconds = began.elapsed().as_secs_f64();
    let (twice, twice_mib) = run(join, 2 * records);
    println!(
        "join={join:?} records={records} seconds={seconds:.1} pairs={} rss_anon_mib={once_mib} rss_anon_mib_twice={twice_mib}",
        once.rows
    );
    assert_eq!(once, expected(join, records), "{join:?}: the pairs of {records} records");
    assert_eq!(twice, expected(join, 2 * records), "{join:?}: the pairs of {} records", 2 * records);
    let most = join.most();
    assert!(once_mib <= most, "{join:?}: {once_mib} MiB were taken, and {most} are enough");
    let twice_most = once_mib + most / BESIDE;
    assert!(twice_mib <= twice_most, "{join:?}: {twice_mib} MiB for twice the records, {once_mib} MiB before");
}
