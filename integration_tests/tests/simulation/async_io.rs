//! Requests to a service that is slow and fails: whatever else goes wrong, what it answers is given on once, in front of its watermark.

use std::{
    collections::BTreeMap,
    future,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use cofferdam::connector::{CollectSink, Generator};
use cofferdam_engine::{
    AsyncConfig, Backoff, Diverted, Timestamp, WatermarkStrategy, checkpoint::coordinator::JobEnd, state,
    topology::Topology,
};
use cofferdam_testkit::{Emitted, Faults, OperatorHarness, Request, Setup, Simulation, every_fault};

use super::time::{LATENESS, Readings, SPLITS, aligned, length, time, unaligned};
use crate::{
    cases::same,
    seeds::{faults, finish, seeds},
};

const CAPACITY: usize = 3;

/// Fails every seventh time, and is polled up to three times until it answers.
#[derive(Clone, Default)]
struct Service {
    asked: Arc<AtomicU32>,
    alive: Arc<AtomicUsize>,
    most_alive: Arc<AtomicUsize>,
}

/// As long as a future is.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service {
    fn ask<T: Send + 'static>(&self, record: T) -> impl Future<Output = Result<T, String>> + Send + use<T> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(self.alive.clone());
        self.most_alive.fetch_max(1 + self.alive.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        async move {
            let _alive = alive;
            let mut polls = 0;
            let answered = future::poll_fn(|_| {
                polls += 1;
                if polls > number % 3 { Poll::Ready(()) } else { Poll::Pending }
            });
            answered.await;
            if number % 7 == 6 { Err(format!("request {number} is too much")) } else { Ok(record) }
        }
    }

    /// That it was asked about each record, and never about too many at once.
    fn check(&self, subtasks: u32, records: u64) {
        let (asked, most_alive) = (self.asked.load(Ordering::SeqCst), self.most_alive.load(Ordering::SeqCst));
        assert!(u64::from(asked) >= records);
        assert!(most_alive <= CAPACITY * subtasks as usize, "{most_alive} at once on {subtasks} subtasks");
        assert_eq!(self.alive.load(Ordering::SeqCst), 0);
    }
}

/// Tries that take long are given up, and all are made again until one is answered.
fn config(seed: u64, setup: &Setup) -> AsyncConfig {
    let config = if seed.is_multiple_of(2) { AsyncConfig::ordered(CAPACITY) } else { AsyncConfig::unordered(CAPACITY) };
    let backoff = Backoff::exponential(setup.step_time, setup.step_time * 20);
    let config = config.retries(u32::MAX, backoff);
    if seed.is_multiple_of(3) { config } else { config.timeout(setup.step_time * 150) }
}

const WINDOW: i64 = 50;

/// A split, the beginning of a window, and the readings in it.
type Row = ((u64, i64), u64);

fn window(time: i64) -> i64 {
    time / WINDOW * WINDOW
}

/// A loop over a map.
fn counts() -> Vec<Row> {
    let mut counts = BTreeMap::new();
    for split in 0..SPLITS {
        for number in 0..length(split) {
            *counts.entry((split, window(time(split, number)))).or_insert(0) += 1;
        }
    }
    counts.into_iter().collect()
}

/// Counts by window, behind a step that asks. A timer gives each count, once: an answer that its watermark has overtaken would set a second one.
fn run_windows(seed: u64, setup: Setup, faults: Faults, rescales: bool) -> Service {
    let (sink, rows) = CollectSink::new();
    let service = Service::default();
    let starts = Arc::new(AtomicU32::new(seed as u32));
    let (config, asking) = (config(seed, &setup), service.clone());
    let topology = move || {
        let start = if rescales { starts.fetch_add(1, Ordering::SeqCst) } else { seed as u32 };
        // Ordered, records in flight from each subtask to the one of its number would keep a job from going on with another number.
        let (reading, asking_at_once) = match seed.is_multiple_of(2) {
            true => (2, 1 + start / 2 % 2 * 2),
            false => (1 + start % 3, 1 + start / 2 % 3),
        };
        let strategy = WatermarkStrategy::bounded(Duration::from_millis(LATENESS));
        let service = asking.clone();
        let topology = Topology::new("asking");
        topology
            .source("readings", Readings { is_bounded: seed.is_multiple_of(5) })
            .parallelism(reading)
            .event_time("time", strategy, |(_, time)| Timestamp::from_millis(*time))
            .map_async("ask", config.clone(), move |reading| service.ask(reading))
            .parallelism(asking_at_once)
            .key_by(|(split, time)| (*split, window(*time)))
            .parallelism(1 + start / 3 % 3)
            .process_with_timers(
                "counts",
                state::value::<u64>("count"),
                |_, cx| {
                    let end = Timestamp::from_millis(cx.key().1 + WINDOW);
                    cx.states().update(|| 0, |count| *count += 1);
                    cx.set_timer(end);
                },
                |_, cx| {
                    let row = (*cx.key(), cx.states().get().copied().unwrap_or(0));
                    cx.states().clear();
                    cx.emit(row);
                },
            )
            .sink("rows", sink.clone());
        topology
    };
    assert_eq!(finish(seed, setup, faults, topology, &rows), counts(), "seed {seed}");
    service
}

fn all_windows(few: std::ops::Range<u64>, setup: impl Fn(u64) -> Setup, rescales: bool) {
    let seeds = seeds(few);
    let records: u64 = (0..SPLITS).map(length).sum();
    let mut asked = 0;
    for seed in seeds.clone() {
        let service = run_windows(seed, setup(seed), faults(seed), rescales);
        service.check(3, records);
        asked += u64::from(service.asked.load(Ordering::SeqCst));
    }
    let records = records * (seeds.end - seeds.start);
    assert!(asked > records * 8 / 7, "{asked} requests for {records} records: next to none was made again");
}

#[test]
fn with_any_faults_what_is_answered_is_given_on_once_and_in_front_of_its_watermark() {
    all_windows(0..150, aligned, false);
}

#[test]
fn with_barriers_that_overtake_too() {
    all_windows(1_000..1_150, unaligned, false);
}

#[test]
fn and_on_another_number_of_subtasks_after_each_death() {
    all_windows(2_000..2_120, aligned, true);
    all_windows(3_000..3_120, unaligned, true);
}

const RECORDS: u64 = 80;

#[test]
fn ordered_rows_keep_the_order_of_the_records() {
    for seed in seeds(0..200).map(|seed| seed * 2) {
        let (sink, rows) = CollectSink::new();
        let service = Service::default();
        let setup = if seed % 4 == 0 { aligned(seed) } else { unaligned(seed) };
        let (config, asking) = (config(seed, &setup), service.clone());
        let topology = move || {
            let service = asking.clone();
            let topology = Topology::new("ordered");
            topology
                .source("numbers", Generator::bounded(RECORDS, |i| i))
                .parallelism(1)
                .map_async("ask", config.clone(), move |number| service.ask(number))
                .sink("rows", sink.clone());
            topology
        };
        let faults = if seed % 3 == 0 { Faults::none() } else { Faults::drawn(&every_fault(), 8, 150) };
        let end = Simulation::new(seed, setup, faults, topology).run();
        assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
        assert_eq!(rows.snapshot(), (0..RECORDS).collect::<Vec<_>>(), "seed {seed}");
        service.check(1, RECORDS);
    }
}

/// What is stopped waits for no answer, and is asked again when it goes on; what has no answer in the end is diverted.
#[test]
fn a_job_that_is_stopped_and_started_again_asks_again_and_loses_nothing() {
    let mut stops = 0;
    for seed in seeds(0..150) {
        let (sink, rows) = CollectSink::new();
        let setup = Setup::drawn(seed);
        let config = AsyncConfig::unordered(CAPACITY).retries(1, Backoff::constant(setup.step_time));
        let topology = move || {
            let topology = Topology::new("stopped");
            topology
                .source("numbers", Generator::bounded(RECORDS, |i| i))
                .map_async_or_divert("ask", config.clone(), |number| async move {
                    if number % 10 == 3 { Err("of threes it knows nothing") } else { Ok(number) }
                })
                .map(|row: Result<u64, Diverted<u64>>| match row {
                    Ok(number) => (number, 1),
                    Err(diverted) => (diverted.record, diverted.failures),
                })
                .sink("rows", sink.clone());
            topology
        };
        let faults = if seed % 2 == 0 { Faults::none() } else { Faults::drawn(&every_fault(), 6, 120) };
        let has_faults = seed % 2 != 0;
        let mut simulation = Simulation::new(seed, setup, faults, topology);
        for step in [100, 300, 350, 600, 900] {
            simulation = simulation.request_at(step + seed % 50, Request::Stop);
        }
        loop {
            match simulation.run() {
                Ok(JobEnd::Finished) => break,
                Ok(JobEnd::Stopped) => stops += 1,
                // Stopped while it waited for a restart.
                Err(_) if has_faults && !simulation.injected().is_empty() => {}
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        same(rows.snapshot(), (0..RECORDS).map(|number| (number, if number % 10 == 3 { 2 } else { 1 })).collect());
    }
    assert!(stops > 150, "only {stops}");
}

/// How many steps a number takes to 1 (Collatz), by a plain loop.
fn steps(first: u64) -> u64 {
    let (mut n, mut steps) = (first, 0);
    while n > 1 {
        (n, steps) = (if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 }, steps + 1);
    }
    steps
}

/// A record that is being asked about is nowhere to be seen in a loop: and yet the loop is not empty.
#[test]
fn a_loop_ends_only_when_nothing_in_it_is_under_way() {
    for seed in seeds(0..150) {
        let (sink, rows) = CollectSink::new();
        let setup = Setup::drawn(seed);
        let config = config(seed, &setup);
        let topology = move || {
            let service = Service::default();
            let config = config.clone();
            let topology = Topology::new("asked in a loop");
            let numbers = topology.source("numbers", Generator::bounded(9, |i| i + 1));
            let arrived = numbers.map(|n| (n, n, 0_u64)).iterate("walk", |looped| {
                let stepped = looped.map_async("next", config, move |walk: (u64, u64, u64)| service.ask(walk));
                let stepped = stepped.map(|(first, n, steps)| match n {
                    1 => (first, 1, steps),
                    n if n.is_multiple_of(2) => (first, n / 2, steps + 1),
                    n => (first, 3 * n + 1, steps + 1),
                });
                let stepped = stepped.share();
                (stepped.stream().filter(|(_, n, _)| *n != 1), stepped.stream().filter(|(_, n, _)| *n == 1))
            });
            arrived.map(|(first, _, steps)| (first, steps)).sink("steps", sink.clone());
            topology
        };
        let faults = if seed % 2 == 0 { Faults::none() } else { Faults::drawn(&every_fault(), 6, 120) };
        let end = Simulation::new(seed, setup, faults, topology).run();
        assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
        same(rows.snapshot(), (1..10).map(|n| (n, steps(n))).collect());
    }
}

#[test]
fn a_harness_polls_requests_within_the_call_that_makes_them() {
    let is_open = Arc::new(AtomicU32::new(0));
    let door = is_open.clone();
    let mut steps = OperatorHarness::<u64, _>::new(move |numbers| {
        let door = door.clone();
        let config = AsyncConfig::ordered(3);
        numbers.map_async("double", config, move |number| {
            let door = door.clone();
            future::poll_fn(move |_| match door.load(Ordering::SeqCst) {
                0 => Poll::Pending,
                _ => Poll::Ready(Ok::<_, String>(number * 2)),
            })
        })
    })
    .unwrap();
    steps.push_to(0, vec![1, 2, 3]).unwrap();
    let snapshot = steps.snapshot().unwrap();
    assert_eq!(steps.take_output(), [Emitted::Barrier(snapshot.checkpoint())]);
    is_open.store(1, Ordering::SeqCst);
    steps.push(4).unwrap();
    assert_eq!(steps.take_output(), [2, 4, 6, 8].map(Emitted::Record));
    let mut restored = steps.restore(&snapshot, 1).unwrap();
    restored.end().unwrap();
    assert_eq!(restored.take_output(), [Emitted::Record(2), Emitted::Record(4), Emitted::Record(6), Emitted::End]);
}
