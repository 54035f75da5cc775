//! Timers by event time: each fires once, with what came before it, whatever goes wrong and on however many subtasks.

use std::{collections::BTreeMap, time::Duration};

use cofferdam::connector::CollectSink;
use cofferdam_engine::{Timestamp, WatermarkStrategy, checkpoint::coordinator::JobEnd, state, topology::Topology};
use cofferdam_testkit::{Faults, Request, Setup, Simulation};

use super::{
    seeds::{all, seeds, starts},
    time::{LATENESS, Readings, SPLITS, aligned, length, time, unaligned},
};

const WINDOW: i64 = 50;

/// A sensor, the beginning of a window, and the readings in it.
type Row = ((u64, i64), u64);

fn sensor(split: u64) -> u64 {
    split % 3
}

fn window(time: i64) -> i64 {
    time / WINDOW * WINDOW
}

/// A loop over a map.
fn oracle() -> Vec<Row> {
    let mut counts = BTreeMap::new();
    for split in 0..SPLITS {
        for number in 0..length(split) {
            *counts.entry((sensor(split), window(time(split, number)))).or_insert(0) += 1;
        }
    }
    counts.into_iter().collect()
}

/// Counts by window, which a timer at its end gives.
fn run(seed: u64, setup: Setup, faults: Faults, rescales: bool) -> Vec<Row> {
    stopped(seed, setup, faults, rescales, &[]).0
}

/// The same, stopped at these steps and started again; and how many steps there were.
fn stopped(seed: u64, setup: Setup, faults: Faults, rescales: bool, stops: &[u64]) -> (Vec<Row>, u64) {
    let (sink, rows) = CollectSink::new();
    let starts = starts(seed, rescales);
    let topology = move || {
        let start = starts();
        let strategy = WatermarkStrategy::bounded(Duration::from_millis(LATENESS));
        let topology = Topology::new("timers");
        topology
            .source("readings", Readings { is_bounded: false })
            .parallelism(1 + start % 3)
            .event_time("time", strategy, |(_, time)| Timestamp::from_millis(*time))
            .key_by(|(split, time)| (sensor(*split), window(*time)))
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
    let mut simulation = Simulation::new(seed, setup, faults, topology);
    for step in stops {
        simulation = simulation.request_at(*step, Request::Stop);
    }
    let mut end = simulation.run();
    while matches!(end, Ok(JobEnd::Stopped)) {
        end = simulation.run();
    }
    assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
    let mut rows = rows.snapshot();
    rows.sort_unstable();
    (rows, simulation.steps())
}

#[test]
fn with_any_faults_each_timer_fires_once_with_all_that_came_before_it() {
    all(0..200, aligned, false, run, &oracle());
}

#[test]
fn with_barriers_that_overtake_too() {
    all(1_000..1_200, unaligned, false, run, &oracle());
}

#[test]
fn and_on_another_number_of_subtasks_after_each_death() {
    all(2_000..2_150, aligned, true, run, &oracle());
    all(3_000..3_150, unaligned, true, run, &oracle());
}

/// Towards the end most of all: then all that is left is due.
#[test]
fn and_stopped_at_any_step_and_started_again() {
    for seed in seeds(4_000..4_040) {
        let run = |stops: &[u64]| stopped(seed, unaligned(seed), Faults::none(), false, stops);
        let (_, steps) = run(&[]);
        for stops in [vec![steps / 2], vec![steps * 7 / 8], (1..40).map(|n| steps * 2 / 3 + n * 7).collect()] {
            assert_eq!(run(&stops).0, oracle(), "seed {seed}, stopped at {stops:?}");
        }
    }
}
