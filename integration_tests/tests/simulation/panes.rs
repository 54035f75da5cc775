//! Tumbling windows: each gives a row of all its records, once, whatever goes wrong and on however many subtasks.

use std::{collections::BTreeMap, time::Duration};

use cofferdam::connector::CollectSink;
use cofferdam_engine::{
    Timestamp, WatermarkStrategy,
    topology::Topology,
    window::{Tumbling, Windowed, aggregates::Summed},
};
use cofferdam_testkit::{Faults, Setup};

use super::{
    seeds::{all, finish, starts},
    time::{LATENESS, Readings, SPLITS, aligned, length, time, unaligned},
};

const WINDOW: i64 = 50;
const OFFSET: i64 = 15;

/// A window's start and end, a sensor, and the sum of its readings.
type Row = (i64, i64, u64, i64);

/// Many, so that no key group fires in one go.
const SENSORS: u64 = 150;

/// The sensors that a reading is of.
fn sensors(split: u64, time: i64) -> impl Iterator<Item = u64> {
    (0..SENSORS).filter(move |sensor| (sensor + split + time.unsigned_abs()).is_multiple_of(7))
}

/// A loop over a map.
fn oracle() -> Vec<Row> {
    let mut sums = BTreeMap::new();
    for split in 0..SPLITS {
        for time in (0..length(split)).map(|number| time(split, number)) {
            let start = (time - OFFSET).div_euclid(WINDOW) * WINDOW + OFFSET;
            sensors(split, time).for_each(|sensor| *sums.entry((start, sensor)).or_insert(0) += time);
        }
    }
    sums.into_iter().map(|((start, sensor), sum)| (start, start + WINDOW, sensor, sum)).collect()
}

fn run(seed: u64, setup: Setup, faults: Faults, rescales: bool) -> Vec<Row> {
    let (sink, rows) = CollectSink::new();
    let starts = starts(seed, rescales);
    let topology = move || {
        let start = starts();
        let strategy = WatermarkStrategy::bounded(Duration::from_millis(LATENESS));
        let millis = |millis: i64| Duration::from_millis(millis.unsigned_abs());
        let topology = Topology::new("panes");
        topology
            .source("readings", Readings { is_bounded: false })
            .parallelism(1 + start % 3)
            .event_time("time", strategy, |(_, time)| Timestamp::from_millis(*time))
            .flat_map(|(split, time)| sensors(split, time).map(move |sensor| (sensor, time)))
            .keyed(|reading| reading)
            .parallelism(1 + start / 3 % 3)
            .window(Tumbling::of(millis(WINDOW)).offset(millis(OFFSET)))
            .aggregate("sums", Summed::by(|time: &i64| *time))
            .map(|Windowed { key, window, value }| (window.start.0, window.end.0, key, value))
            .sink("rows", sink.clone());
        topology
    };
    finish(seed, setup, faults, topology, &rows)
}

#[test]
fn with_any_faults_each_window_has_one_row_of_all_its_records() {
    all(0..60, aligned, false, run, &oracle());
}

#[test]
fn with_barriers_that_overtake_too() {
    all(1_000..1_060, unaligned, false, run, &oracle());
}

#[test]
fn and_on_another_number_of_subtasks_after_each_death() {
    all(2_000..2_040, aligned, true, run, &oracle());
    all(3_000..3_040, unaligned, true, run, &oracle());
}
