//! Side outputs, parts and splits on real threads.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cofferdam::prelude::*;
use tempfile::tempdir;

use crate::until::until;

const RECORDS: u64 = 20_000;

/// Numbers split by their remainder to three. Of multiples of three each tenth goes aside, by a timer at its own time; what leaves a remainder of one is parted in even and odd.
struct Sinks {
    thirds: CollectSink<u64>,
    tenths: CollectSink<(u64, i64)>,
    even: CollectSink<u64>,
    odd: CollectSink<u64>,
    others: CollectSink<u64>,
}

fn topology(sinks: &Sinks) -> Topology {
    let topology = Topology::new("sides");
    let [thirds, parted, others] = topology
        .source("numbers", Generator::bounded(RECORDS, |n| n).rate(10_000))
        .event_time("time", WatermarkStrategy::monotonous(), |n| Timestamp::from_millis(*n as i64))
        .split(|n| (n % 3) as usize);
    let tenths = topology.side_output::<(u64, i64)>("tenths");
    let tag = tenths.tag();
    thirds
        .parallelism(2)
        .key_by(|n| *n)
        .process_with_timers(
            "thirds",
            state::value::<u64>("none"),
            |n, cx| {
                if n.is_multiple_of(10) {
                    let time = cx.timestamp();
                    cx.set_timer(time);
                }
                cx.emit(n);
            },
            move |timer, cx| {
                let row = (*cx.key(), timer.time.0);
                cx.emit_to(&tag, row);
            },
        )
        .with_side(&tenths)
        .sink("thirds-out", sinks.thirds.clone());
    tenths.stream().parallelism(1).sink("tenths-out", sinks.tenths.clone());
    let (even, odd) = parted.parallelism(2).part("odd", |n| match n % 2 {
        0 => Part::Main(n),
        _ => Part::Side(n),
    });
    even.sink("even-out", sinks.even.clone());
    odd.parallelism(2).sink("odd-out", sinks.odd.clone());
    others.parallelism(2).sink("others-out", sinks.others.clone());
    topology
}

fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort_unstable();
    rows
}

fn numbers(keep: impl Fn(&u64) -> bool) -> Vec<u64> {
    (0..RECORDS).filter(keep).collect()
}

fn each_row_comes_once(checkpoints: CheckpointConfig) {
    let (thirds, third_rows) = CollectSink::new();
    let (tenths, tenth_rows) = CollectSink::new();
    let (even, even_rows) = CollectSink::new();
    let (odd, odd_rows) = CollectSink::new();
    let (others, other_rows) = CollectSink::new();
    let sinks = Sinks { thirds, tenths, even, odd, others };
    let state = tempdir().unwrap();
    let start = |parallelism| {
        // Small batches and one after the other: there is always something on its way.
        let engine = Engine::builder().parallelism(parallelism).batch_size(16).checkpoints(checkpoints.clone());
        engine.backend(Lmdb::at(state.path())).start_blocking(topology(&sinks)).unwrap()
    };
    for parallelism in [2, 3, 1] {
        let job = start(parallelism);
        until("two checkpoints", || job.status().checkpoints_completed >= 2);
        job.stop_blocking().unwrap();
    }
    let job = start(2);
    job.wait_blocking().unwrap();
    assert_eq!(job.status().late_records, 0);
    assert_eq!(sorted(third_rows.snapshot()), numbers(|n| n % 3 == 0));
    let tenths: Vec<_> = numbers(|n| n % 30 == 0).into_iter().map(|n| (n, n as i64)).collect();
    assert_eq!(sorted(tenth_rows.snapshot()), tenths);
    assert_eq!(sorted(even_rows.snapshot()), numbers(|n| n % 3 == 1 && n % 2 == 0));
    assert_eq!(sorted(odd_rows.snapshot()), numbers(|n| n % 3 == 1 && n % 2 == 1));
    assert_eq!(sorted(other_rows.snapshot()), numbers(|n| n % 3 == 2));
}

#[test]
fn each_row_comes_once_on_its_own_stream_across_stops_and_other_numbers_of_subtasks() {
    each_row_comes_once(CheckpointConfig::every(Duration::from_millis(20)));
}

#[test]
fn and_with_barriers_that_overtake() {
    each_row_comes_once(CheckpointConfig::every(Duration::from_millis(20)).unaligned(Duration::ZERO));
}

#[test]
fn an_error_of_a_split_names_it_and_ends_the_job() {
    let topology = Topology::new("split");
    let (sink, _rows) = CollectSink::new();
    let [low, high] = topology.source("numbers", Generator::bounded(100, |n| n)).split(|n| (n / 40) as usize);
    low.union(high).sink("rows", sink);
    let job = Engine::builder().restart(RestartStrategy::None).start_blocking(topology).unwrap();
    let error = job.wait_blocking().unwrap_err().to_string();
    assert!(error.contains("split-") && error.contains("part 2 of 2"), "{error}");
}
