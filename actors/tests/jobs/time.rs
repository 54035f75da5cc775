//! Event time and timers, on real threads.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cofferdam::prelude::*;
use tempfile::tempdir;

use crate::until::until;

const RECORDS: u64 = 20_000;
const WINDOW: u64 = 100;

/// A key, the beginning of a window, and the records in it.
type Row = ((u64, u64), u64);

/// A loop over a map.
fn oracle() -> Vec<Row> {
    let mut counts = BTreeMap::new();
    for n in 0..RECORDS {
        *counts.entry((n % 7, n / WINDOW * WINDOW)).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

/// Each hundredth record of a split says how far time has come.
#[derive(Clone)]
struct Hundredths;

impl WatermarkGenerator<u64> for Hundredths {
    type State = (u64, Option<Timestamp>);

    fn observe(&self, (count, reached): &mut Self::State, _: &u64, time: Timestamp) {
        *count += 1;
        if count.is_multiple_of(100) {
            *reached = Some(time);
        }
    }

    fn watermark(&self, (_, reached): &Self::State) -> Timestamp {
        reached.unwrap_or(Timestamp::MIN)
    }
}

fn by_window<G: WatermarkGenerator<u64>>(
    numbers: Stream<impl Operator<Out = u64, Time = NoTime>>,
    strategy: WatermarkStrategy<G>,
) -> KeyedStream<(u64, u64), u64, Timestamp> {
    let numbers = numbers.event_time("time", strategy, |n| Timestamp::from_millis(*n as i64));
    numbers.key_by(|n| (n % 7, n / WINDOW * WINDOW))
}

/// Counts by window, which a timer at its end gives.
fn windows<G: WatermarkGenerator<u64>>(sink: CollectSink<Row>, strategy: WatermarkStrategy<G>) -> Topology {
    let topology = Topology::new("windows");
    let numbers = topology.source("numbers", Generator::bounded(RECORDS, |n| n).rate(5_000));
    by_window(numbers, strategy)
        .process_with_timers(
            "counts",
            state::value::<u64>("count"),
            |_, cx| {
                let end = Timestamp::from_millis((cx.key().1 + WINDOW) as i64);
                cx.states().update(|| 0, |count| *count += 1);
                cx.set_timer(end);
            },
            |_, cx| {
                let row = (*cx.key(), cx.states().get().copied().unwrap_or(0));
                cx.states().clear();
                cx.emit(row);
            },
        )
        .sink("rows", sink);
    topology
}

#[test]
fn a_job_stopped_and_started_on_other_numbers_of_subtasks_fires_each_timer_once() {
    each_timer_fires_once(WatermarkStrategy::monotonous);
}

#[test]
fn so_it_does_with_watermarks_of_ones_own() {
    each_timer_fires_once(|| WatermarkStrategy::own(Hundredths));
}

fn each_timer_fires_once<G: WatermarkGenerator<u64>>(strategy: impl Fn() -> WatermarkStrategy<G>) {
    let (sink, rows) = CollectSink::new();
    let state = tempdir().unwrap();
    let start = |parallelism| {
        let checkpoints = CheckpointConfig::every(Duration::from_millis(20));
        let engine = Engine::builder().parallelism(parallelism).checkpoints(checkpoints);
        engine.backend(Lmdb::at(state.path())).start_blocking(windows(sink.clone(), strategy())).unwrap()
    };
    for parallelism in [2, 3, 1] {
        let job = start(parallelism);
        until("two checkpoints", || job.status().checkpoints_completed >= 2);
        job.stop_blocking().unwrap();
    }
    start(2).wait_blocking().unwrap();
    let mut rows = rows.snapshot();
    rows.sort_unstable();
    assert_eq!(rows, oracle());
}

#[test]
fn a_timer_by_the_wall_clock_fires_while_nothing_comes() {
    let (sink, rows) = CollectSink::new();
    let topology = Topology::new("silence");
    topology
        // The second one comes after an hour.
        .source("numbers", Generator::unbounded(|n| n).rate(1.0 / 3600.0))
        .key_by(|_| 0u64)
        .process_with_timers(
            "silence",
            state::value::<u64>("count"),
            |_, cx| {
                cx.states().update(|| 0, |count| *count += 1);
                cx.set_wall_timer(Duration::from_millis(30));
            },
            |timer, cx| {
                let row = (timer.is_wall, cx.states().get().copied());
                cx.emit(row);
            },
        )
        .sink("rows", sink);
    let checkpoints = CheckpointConfig::every(Duration::from_millis(20));
    let job = Engine::builder().parallelism(1).checkpoints(checkpoints).start_blocking(topology).unwrap();
    until("the timer", || !rows.snapshot().is_empty());
    job.stop_blocking().unwrap();
    assert_eq!(rows.snapshot(), [(true, Some(1))]);
}

/// How far each of two sources has been read, and how far apart that was at most.
#[derive(Default)]
struct Seen {
    by: [AtomicU64; 2],
    furthest: AtomicU64,
}

/// Counts, and says so.
fn counting(own: usize, seen: Arc<Seen>) -> impl Fn(u64) -> u64 + Clone + Send + Sync + 'static {
    move |n| {
        let ahead = n.saturating_sub(1).saturating_sub(seen.by[1 - own].load(Ordering::SeqCst));
        seen.furthest.fetch_max(ahead, Ordering::SeqCst);
        seen.by[own].store(n, Ordering::SeqCst);
        n
    }
}

#[test]
fn a_fast_source_is_read_no_further_ahead_of_a_slow_one_than_it_may_be() {
    const DRIFT: u64 = 40;
    let (sink, rows) = CollectSink::new();
    let seen = Arc::new(Seen::default());
    let topology = Topology::new("apart");
    let strategy = WatermarkStrategy::monotonous().align(Alignment::group("both", Duration::from_millis(DRIFT)));
    let [fast, slow] = [("fast", 1e9), ("slow", 4_000.0)].map(|(name, rate)| {
        let numbers = Generator::bounded(2_000, counting(usize::from(name == "slow"), seen.clone()));
        let stream = topology.source(name, numbers.rate(rate)).parallelism(1);
        stream.event_time(format!("{name} time"), strategy.clone(), |n| Timestamp::from_millis(*n as i64))
    });
    fast.union(slow).sink("rows", sink);
    let checkpoints = CheckpointConfig::every(Duration::from_millis(20));
    let job = Engine::builder().checkpoints(checkpoints).start_blocking(topology).unwrap();
    job.wait_blocking().unwrap();
    assert_eq!(rows.snapshot().len(), 4_000);
    let furthest = seen.furthest.load(Ordering::SeqCst);
    assert!((DRIFT / 2..=DRIFT).contains(&furthest), "{furthest} ms apart");
}
