//! Windows: each record counts once in each of its windows, whatever goes wrong and on however many subtasks.

use std::{collections::BTreeMap, time::Duration};

use cofferdam::connector::CollectSink;
use cofferdam_engine::{
    Timestamp, WatermarkStrategy,
    checkpoint::coordinator::JobEnd,
    topology::Topology,
    window::{Global, Session, Sliding, Trigger, Tumbling},
};
use cofferdam_testkit::{Faults, Setup, Simulation};

use super::{
    seeds::{all, faults, seeds, starts},
    time::{LATENESS, Readings, SPLITS, aligned, length, time, unaligned},
};

const SIZE: i64 = 60;
const SLIDE: i64 = 25;
const GAP: i64 = 12;
/// The last moment there is: that of a global window's row.
const LAST: i64 = i64::MAX - 1;
/// Records a row of the trigger.
const PART: usize = 3;

/// Which windows, a sensor, a window's start, and how many readings it has.
type Row = (&'static str, u64, i64, u64);

fn sensor(split: u64) -> u64 {
    split % 3
}

fn millis(of: i64) -> Duration {
    Duration::from_millis(of.unsigned_abs())
}

/// Loops over lists.
fn oracle() -> Vec<Row> {
    let mut by_sensor: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for split in 0..SPLITS {
        by_sensor.entry(sensor(split)).or_default().extend((0..length(split)).map(|number| time(split, number)));
    }
    let mut rows = Vec::new();
    for (sensor, mut times) in by_sensor {
        times.sort_unstable();
        for start in (-10..200).map(|nth| nth * SLIDE) {
            let count = times.iter().filter(|time| (start..start + SIZE).contains(time)).count() as u64;
            if count > 0 {
                rows.push(("sliding", sensor, start, count));
            }
        }
        let starts = (0..10).map(|nth| LAST - LAST % SLIDE - nth * SLIDE);
        for start in starts.take_while(|start| LAST - start < SIZE) {
            rows.push(("of all", sensor, start, times.len() as u64));
        }
        for session in times.chunk_by(|one, next| next - one <= GAP) {
            rows.push(("session", sensor, session[0], session.len() as u64));
        }
        for window in times.chunk_by(|one, next| one.div_euclid(SIZE) == next.div_euclid(SIZE)) {
            let start = window[0].div_euclid(SIZE) * SIZE;
            rows.extend(window.chunks(PART).map(|part| ("parts", sensor, start, part.len() as u64)));
        }
    }
    rows.sort_unstable();
    rows
}

fn run(seed: u64, setup: Setup, faults: Faults, rescales: bool) -> Vec<Row> {
    let (sink, rows) = CollectSink::new();
    let starts = starts(seed, rescales);
    let topology = move || {
        let start = starts();
        let parallelism = 1 + start / 3 % 3;
        let strategy = WatermarkStrategy::bounded(Duration::from_millis(LATENESS));
        let topology = Topology::new("windows");
        let readings = topology
            .source("readings", Readings { is_bounded: false })
            .parallelism(1 + start % 3)
            .event_time("time", strategy, |(_, time)| Timestamp::from_millis(*time))
            .share();
        let keyed = || readings.stream().key_by(|(split, _)| sensor(*split)).parallelism(parallelism);
        let sliding = keyed()
            .window(Sliding::of(millis(SIZE)).every(millis(SLIDE)))
            .count("sliding")
            .map(|row| ("sliding".to_string(), row.key, row.window.start.as_millis(), row.value));
        let sessions = keyed().window(Session::gap(millis(GAP))).process("session", |sensor, window, records, out| {
            out.emit(("session".to_string(), *sensor, window.start.as_millis(), records.len() as u64));
        });
        let parts = keyed()
            .window(Tumbling::of(millis(SIZE)))
            .allowed_lateness(millis(30))
            .trigger(Trigger::count(PART as u64).or_at_end().purging())
            .count("parts")
            .map(|row| ("parts".to_string(), row.key, row.window.start.as_millis(), row.value));
        let of_all = keyed()
            .window(Global)
            .count("all")
            .key_by(|row| row.key)
            .window(Sliding::of(millis(SIZE)).every(millis(SLIDE)))
            .sum("of all", |row| row.value)
            .map(|row| ("of all".to_string(), row.key, row.window.start.as_millis(), row.value));
        sliding.union(sessions).union(parts).union(of_all).sink("rows", sink.clone());
        topology
    };
    let end = Simulation::new(seed, setup, faults, topology).run();
    assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
    let named =
        |name: &str| ["sliding", "session", "parts", "of all"].into_iter().find(|known| *known == name).unwrap();
    let rows = rows.snapshot().into_iter();
    let mut rows: Vec<Row> = rows.map(|(name, key, start, count)| (named(&name), key, start, count)).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn with_any_faults_each_window_has_its_rows_once() {
    all(0..80, aligned, false, run, &oracle());
}

#[test]
fn with_barriers_that_overtake_too() {
    all(1_000..1_080, unaligned, false, run, &oracle());
}

#[test]
fn and_on_another_number_of_subtasks_after_each_death() {
    all(2_000..2_060, aligned, true, run, &oracle());
    all(3_000..3_060, unaligned, true, run, &oracle());
}

/// Readings, out of order by more than the watermark knows, of which many are late: those in windows, and those at the side output.
fn run_late(seed: u64, setup: Setup, faults: Faults) -> (Vec<(u64, i64)>, Vec<(u64, i64)>) {
    let ((sink, rows), (late_sink, late_rows)) = (CollectSink::new(), CollectSink::new());
    let starts = starts(seed, true);
    let topology = move || {
        let start = starts();
        let topology = Topology::new("late");
        let late = topology.side_output::<(u64, i64)>("late");
        topology
            .source("readings", Readings { is_bounded: false })
            .parallelism(1 + start % 3)
            .event_time("time", WatermarkStrategy::monotonous(), |(_, time)| {
                Timestamp::from_millis(time - time % 7 * 5)
            })
            .key_by(|(split, _)| sensor(*split))
            .parallelism(1 + start / 3 % 3)
            .window(Tumbling::of(millis(3)))
            .late_to(&late)
            .process("windows", |_, _, records, out| records.iter().for_each(|record| out.emit(**record)))
            .sink("rows", sink.clone());
        late.stream().sink("late rows", late_sink.clone());
        topology
    };
    let end = Simulation::new(seed, setup, faults, topology).run();
    assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
    (rows.snapshot(), late_rows.snapshot())
}

#[test]
fn what_is_late_goes_to_its_side_output_and_nothing_is_lost_or_doubled() {
    let mut expected: Vec<_> =
        (0..SPLITS).flat_map(|split| (0..length(split)).map(move |number| (split, time(split, number)))).collect();
    expected.sort_unstable();
    let mut seen_late = 0;
    for seed in seeds(0..80) {
        let setup = if seed.is_multiple_of(2) { aligned(seed) } else { unaligned(seed) };
        let (rows, late) = run_late(seed, setup, faults(seed));
        seen_late += late.len();
        let mut all = [rows, late].concat();
        all.sort_unstable();
        assert_eq!(all, expected, "seed {seed}");
    }
    assert!(seen_late > 0, "some were late");
}
