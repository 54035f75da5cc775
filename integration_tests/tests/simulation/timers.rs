//! Timers by event time: each fires once, with what came before it, whatever goes wrong and on however many subtasks.

use std::{collections::BTreeMap, time::Duration};

use cofferdam::connector::{CollectSink, Collected};
use cofferdam_engine::{
    BoxError, ProcessingTime, Read, Source, SplitReader, Timestamp, WatermarkStrategy, checkpoint::coordinator::JobEnd,
    state, topology::Topology,
};
use cofferdam_testkit::{Faults, Request, Setup, Simulation};

use super::{
    cases::counts_in_order,
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

/// Numbers, and then silence; or ever more of them.
struct Numbers {
    count: u64,
}

struct Next {
    number: u64,
    count: u64,
}

impl Source for Numbers {
    type Record = u64;
    type Split = ();
    type Position = u64;
    type Reader = Next;

    fn is_bounded(&self) -> bool {
        false
    }

    fn splits(&self, _: u32) -> Result<Vec<()>, BoxError> {
        Ok(vec![()])
    }

    fn open(&self, (): &(), position: Option<&u64>) -> Result<Next, BoxError> {
        Ok(Next { number: position.copied().unwrap_or(0), count: self.count })
    }
}

impl SplitReader for Next {
    type Record = u64;
    type Position = u64;

    fn read(&mut self, now: ProcessingTime) -> Result<Read<u64>, BoxError> {
        if self.number == self.count {
            return Ok(Read::NotBefore(now.after(Duration::from_millis(10))));
        }
        self.number += 1;
        Ok(Read::Record(self.number - 1))
    }

    fn position(&mut self) -> Result<u64, BoxError> {
        Ok(self.number)
    }
}

/// When a timer of [`Anew::ByEventTime`] is due.
const DUE: u64 = 50;

#[derive(Clone, Copy, PartialEq)]
enum Anew {
    ByWallClock,
    ByEventTime,
}

/// Counts by key the numbers of a source, each a millisecond behind the one before it; beside that, timers set themselves anew for the moment that they fire at, for ever.
/// Nothing goes wrong: there always is something to do, so the clock creeps, and what waits for a pause after a failure would wait too long for the simulation.
fn anew(anew: Anew, count: u64, seed: u64, setup: Setup) -> (Simulation, Collected<(u64, u64)>) {
    let (sink, rows) = CollectSink::new();
    let topology = move || {
        let topology = Topology::new("anew");
        topology
            .source("numbers", Numbers { count })
            .event_time("time", WatermarkStrategy::monotonous(), |number| Timestamp::from_millis(*number as i64))
            .key_by(|number| number % 4)
            .process_with_timers(
                "counts",
                state::value::<u64>("count"),
                move |_, cx| {
                    let count = cx.states().update(
                        || 0,
                        |count| {
                            *count += 1;
                            *count
                        },
                    );
                    match anew {
                        Anew::ByWallClock if count == 1 => drop(cx.set_wall_timer(Duration::ZERO)),
                        Anew::ByEventTime if count == 1 => drop(cx.set_timer(Timestamp::from_millis(DUE as i64))),
                        _ => {}
                    }
                    cx.emit((*cx.key(), count));
                },
                |timer, cx| match timer.is_wall {
                    true => drop(cx.set_wall_timer(Duration::ZERO)),
                    false => drop(cx.set_timer(timer.time)),
                },
            )
            .sink("rows", sink.clone());
        topology
    };
    (Simulation::new(seed, setup, Faults::none(), topology), rows)
}

/// Stops it, three times: each time it has gone on.
fn stops(seed: u64, simulation: &mut Simulation, mut has_gone_on: impl FnMut(&Simulation) -> bool) {
    for _ in 0..3 {
        let end = simulation.run_steps(1_500);
        assert!(end.is_none(), "seed {seed}: {end:?}");
        simulation.request(Request::Stop);
        let end = simulation.run_steps(20_000);
        assert!(matches!(end, Some(Ok(JobEnd::Stopped))), "seed {seed}: {end:?}");
        assert!(has_gone_on(simulation), "seed {seed}");
    }
}

#[test]
fn one_that_sets_itself_anew_by_the_wall_clock_keeps_neither_records_nor_checkpoints_nor_a_stop_waiting() {
    for seed in seeds(5_000..5_060) {
        let setup = if seed % 2 == 0 { aligned(seed) } else { unaligned(seed) };
        let (mut simulation, rows) = anew(Anew::ByWallClock, u64::MAX, seed, setup);
        let mut given = 0;
        stops(seed, &mut simulation, |_| std::mem::replace(&mut given, rows.snapshot().len()) < rows.snapshot().len());
        let rows = rows.snapshot();
        counts_in_order(&rows, rows.iter().map(|(key, _)| *key));
    }
}

#[test]
fn one_that_sets_itself_anew_by_event_time_keeps_neither_checkpoints_nor_a_stop_waiting_if_no_record_is_behind_it() {
    for seed in seeds(6_000..6_060) {
        let (mut simulation, rows) = anew(Anew::ByEventTime, DUE + 2, seed, aligned(seed));
        let mut checkpoints = 0;
        stops(seed, &mut simulation, |simulation| {
            let committed = simulation.committed().len();
            std::mem::replace(&mut checkpoints, committed) + 1 < committed
        });
        let rows = rows.snapshot();
        counts_in_order(&rows, (0..DUE + 2).map(|number| number % 4));
    }
}

#[test]
fn with_records_behind_it_barriers_that_overtake_do_not_wait() {
    for seed in seeds(7_000..7_060) {
        let (mut simulation, rows) = anew(Anew::ByEventTime, u64::MAX, seed, unaligned(seed));
        assert!(simulation.run_steps(10_000).is_none(), "seed {seed}");
        let (given, committed) = (rows.snapshot().len(), simulation.committed().len());
        assert!(simulation.run_steps(3_000).is_none(), "seed {seed}");
        assert_eq!(rows.snapshot().len(), given, "seed {seed}: no record comes through any more");
        assert!(simulation.committed().len() > committed + 1, "seed {seed}: {committed} checkpoints");
    }
}
