//! Kinds of windows and timers that the other suites leave out: moved windows, sessions whose gap is the record's, windows that wait for late records, and timers that are taken back.

use std::{collections::BTreeMap, time::Duration};

use cofferdam::connector::CollectSink;
use cofferdam_engine::{
    Timestamp, WatermarkStrategy, state,
    time::WatermarkGenerator,
    topology::Topology,
    window::{Session, Sliding, Tumbling},
};
use cofferdam_testkit::{Faults, Setup};
use serde::{Deserialize, Serialize};

use super::{
    seeds::{all, finish, starts},
    time::{LATENESS, Readings, SPLITS, aligned, length, time, unaligned},
};

const SIZE: i64 = 60;
const SLIDE: i64 = 20;
const OFFSET: i64 = 7;
/// Of a timer that always fires, and of one that it may take back.
const FIRST: i64 = 10_000;
const SECOND: i64 = 20_000;

/// What it is, a sensor, a moment, and how many.
type Row = (u8, u64, i64, u64);

fn sensor(split: u64) -> u64 {
    split % 3
}

fn millis(of: i64) -> Duration {
    Duration::from_millis(of.unsigned_abs())
}

/// How long a session waits behind a reading.
fn gap(time: i64) -> i64 {
    4 + time % 3 * 9
}

fn is_taken_back(time: i64) -> bool {
    time % 3 == 1
}

/// A strategy of one's own: as far as the disorder lets it be known, and only at each third reading.
#[derive(Clone)]
struct EachThird;

/// How many readings there were, the highest time, and how far time is.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Known {
    readings: u64,
    highest: i64,
    is_at: Option<Timestamp>,
}

impl WatermarkGenerator<(u64, i64)> for EachThird {
    type State = Known;

    fn observe(&self, known: &mut Known, _: &(u64, i64), time: Timestamp) {
        known.readings += 1;
        known.highest = known.highest.max(time.as_millis());
        if known.readings.is_multiple_of(3) {
            known.is_at = Some(Timestamp::from_millis(known.highest - LATENESS as i64 - 1));
        }
    }

    fn watermark(&self, known: &Known) -> Timestamp {
        known.is_at.unwrap_or(Timestamp::MIN)
    }
}

/// Loops over the times of each sensor.
fn oracle() -> Vec<Row> {
    let mut by_sensor: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for split in 0..SPLITS {
        by_sensor.entry(sensor(split)).or_default().extend((0..length(split)).map(|number| time(split, number)));
    }
    let mut rows = Vec::new();
    for (sensor, mut times) in by_sensor {
        times.sort_unstable();
        let count = |from: i64, to: i64| times.iter().filter(|time| (from..to).contains(time)).count() as u64;
        for start in (-10..500).map(|nth| nth * SLIDE + OFFSET) {
            rows.push((0, sensor, start, count(start, start + SIZE)));
        }
        for start in (-10..500).map(|nth| nth * SIZE + OFFSET) {
            rows.push((1, sensor, start, count(start, start + SIZE)));
        }
        let mut sessions: Vec<(i64, i64, u64)> = Vec::new();
        for time in &times {
            match sessions.last_mut() {
                Some((_, end, count)) if *time <= *end => (*end, *count) = ((*end).max(time + gap(*time)), *count + 1),
                _ => sessions.push((*time, time + gap(*time), 1)),
            }
        }
        rows.extend(sessions.into_iter().map(|(start, _, count)| (2, sensor, start, count)));
        let mut moments = times.clone();
        moments.dedup();
        rows.extend(moments.into_iter().filter(|time| !is_taken_back(*time)).map(|time| (3, sensor, time, 1)));
    }
    rows.retain(|row| row.3 > 0);
    rows.sort_unstable();
    rows
}

fn run(seed: u64, setup: Setup, faults: Faults, rescales: bool) -> Vec<Row> {
    let (sink, rows) = CollectSink::new();
    let starts = starts(seed, rescales);
    let topology = move || {
        let start = starts();
        let parallelism = 1 + start / 3 % 3;
        let topology = Topology::new("kinds");
        let readings = topology
            .source("readings", Readings { is_bounded: false })
            .parallelism(1 + start % 3)
            .event_time("time", WatermarkStrategy::own(EachThird), |(_, time)| Timestamp::from_millis(*time))
            .share();
        let keyed = || readings.stream().keyed(|(split, time)| (sensor(split), time)).parallelism(parallelism);
        let sliding = keyed()
            .window(Sliding::of(millis(SIZE)).every(millis(SLIDE)).offset(millis(OFFSET)))
            .allowed_lateness(millis(25))
            .final_only()
            .count("sliding")
            .map(|row| (0u8, row.key, row.window.start.as_millis(), row.value));
        let tumbling = keyed()
            .window(Tumbling::of(millis(SIZE)).offset(millis(OFFSET)))
            .allowed_lateness(millis(25))
            .final_only()
            .process("tumbling", |sensor, window, times, out| {
                out.emit((1u8, *sensor, window.start.as_millis(), times.len() as u64));
            });
        let sessions = keyed()
            .window(Session::gap_by(|time: &i64| millis(gap(*time))))
            .allowed_lateness(millis(25))
            .final_only()
            .count("sessions")
            .map(|row| (2u8, row.key, row.window.start.as_millis(), row.value));
        let timers = keyed().process_with_timers(
            "timers",
            state::value::<u64>("unused"),
            |time, cx| {
                cx.set_timer(Timestamp::from_millis(FIRST + time));
                cx.set_timer(Timestamp::from_millis(SECOND + time));
            },
            |timer, cx| {
                let at = timer.time.as_millis();
                if at >= SECOND {
                    let row = (3u8, *cx.key(), at - SECOND, 1);
                    cx.emit(row);
                } else if is_taken_back(at - FIRST) {
                    cx.cancel_timer(Timestamp::from_millis(at - FIRST + SECOND));
                }
            },
        );
        sliding.union(tumbling).union(sessions).union(timers).sink("rows", sink.clone());
        topology
    };
    finish(seed, setup, faults, topology, &rows)
}

#[test]
fn moved_windows_sessions_of_many_gaps_and_timers_taken_back_come_out_once_whatever_fails() {
    let expected = oracle();
    assert!((0..4).all(|kind| expected.iter().filter(|row| row.0 == kind).count() > 10));
    all(0..40, aligned, false, run, &expected);
    all(1_000..1_040, unaligned, false, run, &expected);
}

#[test]
fn and_on_another_number_of_subtasks_after_each_death() {
    let expected = oracle();
    all(2_000..2_030, aligned, true, run, &expected);
    all(3_000..3_030, unaligned, true, run, &expected);
}
