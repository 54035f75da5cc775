//! Side outputs, parts and splits in whole jobs: each row once, on the stream where it belongs, whatever goes wrong and on however many subtasks.

use std::{collections::BTreeMap, time::Duration};

use cofferdam::connector::{CollectSink, Generator};
use cofferdam_engine::{
    Timestamp, WatermarkStrategy,
    checkpoint::{config::CheckpointConfig, coordinator::JobEnd},
    state,
    topology::{Part, Topology},
};
use cofferdam_testkit::{Faults, Request, Setup, Simulation, every_fault};

use super::time::{LATENESS, Readings, SPLITS, aligned, length, time, unaligned};
use crate::{
    cases::same,
    seeds::{faults, seeds, starts},
};

const WINDOW: i64 = 50;

/// The end of what a timer gives aside, so that it is no reading's.
const OF_TIMER: u64 = 1_000;

fn window(time: i64) -> i64 {
    time / WINDOW * WINDOW
}

/// What the sinks got.
#[derive(Debug, Default, PartialEq)]
struct Rows {
    /// Even readings of the first split of the stream, as they came, and how many of both kinds its windows had.
    even: Vec<(i64, u64)>,
    /// Odd ones, and the windows' ends, counted by window behind the side output.
    odd: Vec<(i64, u64)>,
    /// Readings of the second split above some time, and those below.
    above: Vec<i64>,
    below: Vec<i64>,
    /// Readings of the third.
    others: Vec<(u64, i64)>,
}

impl Rows {
    fn sorted(mut self) -> Self {
        self.even.sort_unstable();
        self.odd.sort_unstable();
        self.above.sort_unstable();
        self.below.sort_unstable();
        self.others.sort_unstable();
        self
    }
}

const BOUND: i64 = 1_300;

/// Loops over maps.
fn oracle() -> Rows {
    let (mut rows, mut counts, mut odd) = (Rows::default(), BTreeMap::new(), BTreeMap::new());
    for split in 0..SPLITS {
        for time in (0..length(split)).map(|number| time(split, number)) {
            match split {
                0 => {
                    *counts.entry(window(time)).or_insert(0) += 1;
                    match time % 2 {
                        0 => rows.even.push((time, 0)),
                        _ => *odd.entry(window(time)).or_insert(0) += 1,
                    }
                }
                1 if time < BOUND => rows.below.push(time),
                1 => rows.above.push(time),
                _ => rows.others.push((split, time)),
            }
        }
    }
    for (window, count) in counts {
        rows.even.push((window + WINDOW, count));
        // It bears the window's end, and so is one of the next.
        *odd.entry(window + WINDOW).or_insert(0) += OF_TIMER;
    }
    rows.odd.extend(odd);
    rows.sorted()
}

/// A job that gives `Rows`: split in three; the first has a keyed step with a side output, whose stream goes by time itself, with a chain in between or straight; the second is parted.
fn run(seed: u64, setup: Setup, faults: Faults, rescales: bool, stops: bool) -> usize {
    let (even, even_rows) = CollectSink::new();
    let (odd, odd_rows) = CollectSink::new();
    let (above, above_rows) = CollectSink::new();
    let (below, below_rows) = CollectSink::new();
    let (others, other_rows) = CollectSink::new();
    let starts = starts(seed, rescales);
    let topology = move || {
        let start = starts();
        let strategy = WatermarkStrategy::bounded(Duration::from_millis(LATENESS));
        let topology = Topology::new("sides");
        let [first, second, third] = topology
            .source("readings", Readings { is_bounded: false })
            .parallelism(1 + start % 3)
            .event_time("time", strategy, |(_, time)| Timestamp::from_millis(*time))
            .split(|(split, _)| (*split).min(2) as usize);

        let aside = topology.side_output::<(i64, u64)>("odd");
        let (tag, of_timer) = (aside.tag(), aside.tag());
        first
            .parallelism(2)
            .keyed(|(_, time)| (window(time), time))
            .parallelism(1 + start / 3 % 3)
            .process_with_timers(
                "parity",
                state::value::<u64>("count"),
                move |time, cx| {
                    let end = Timestamp::from_millis(*cx.key() + WINDOW);
                    cx.states().update(|| 0, |count| *count += 1);
                    cx.set_timer(end);
                    match time % 2 {
                        0 => cx.emit((time, 0)),
                        _ => cx.emit_to(&tag, (*cx.key(), 1)),
                    }
                },
                move |timer, cx| {
                    let row = (timer.time.0, cx.states().get().copied().unwrap_or(0));
                    cx.states().clear();
                    cx.emit(row);
                    cx.emit_to(&of_timer, (timer.time.0, OF_TIMER));
                },
            )
            .with_side(&aside)
            .sink("even", even.clone());
        let aside = match seed % 2 {
            0 => aside.stream().parallelism(2).keyed(|odd| odd),
            _ => aside.keyed_stream(),
        };
        // A mark that came in front of a record of its window would make two rows of it.
        aside
            .parallelism(1 + start / 2 % 3)
            .process_with_timers(
                "sums",
                state::value::<u64>("sum"),
                |count, cx| {
                    let end = Timestamp::from_millis(*cx.key() + WINDOW);
                    cx.states().update(|| 0, |sum| *sum += count);
                    cx.set_timer(end);
                },
                |_, cx| {
                    let row = (*cx.key(), cx.states().get().copied().unwrap_or(0));
                    cx.states().clear();
                    cx.emit(row);
                },
            )
            .sink("odd sums", odd.clone());

        let (high, low) = second.parallelism(2).part("low", |(_, time)| match time {
            ..BOUND => Part::Side(time),
            _ => Part::Main(time),
        });
        high.map(|time| time).sink("above", above.clone());
        low.parallelism(2).sink("below", below.clone());
        third.parallelism(2).sink("others", others.clone());
        topology
    };
    let mut simulation = Simulation::new(seed, setup, faults, topology);
    if stops {
        simulation = simulation.request_at(100 + seed % 700, Request::Stop);
    }
    loop {
        match simulation.run() {
            Ok(JobEnd::Finished) => break,
            Ok(JobEnd::Stopped) if stops => {}
            Err(error) if stops && error.to_string().contains("injected") => {}
            end => panic!("seed {seed}: {end:?}"),
        }
    }
    let rows = Rows {
        even: even_rows.snapshot(),
        odd: odd_rows.snapshot(),
        above: above_rows.snapshot(),
        below: below_rows.snapshot(),
        others: other_rows.snapshot(),
    };
    assert_eq!(rows.sorted(), oracle(), "seed {seed}");
    simulation.restored_in_flight()
}

fn all(few: std::ops::Range<u64>, setup: impl Fn(u64) -> Setup, rescales: bool, stops: bool) -> usize {
    seeds(few).map(|seed| run(seed, setup(seed), faults(seed), rescales, stops)).sum()
}

#[test]
fn with_any_faults_each_row_comes_once_on_its_own_stream() {
    all(0..150, aligned, false, false);
}

#[test]
fn with_barriers_that_overtake_too() {
    assert!(all(1_000..1_150, unaligned, false, false) > 100, "too little was in flight");
}

#[test]
fn and_on_another_number_of_subtasks_after_each_death() {
    all(2_000..2_100, aligned, true, false);
    assert!(all(3_000..3_100, unaligned, true, false) > 50, "too little was in flight");
}

#[test]
fn a_job_that_is_stopped_goes_on_at_the_next_start_on_other_numbers_of_subtasks() {
    all(4_000..4_100, aligned, true, true);
}

/// What goes round is the main output, and what leaves the loop its side output.
#[test]
fn a_loop_may_be_left_by_a_side_output() {
    const NUMBERS: u64 = 30;
    for seed in seeds(0..150) {
        let (sink, rows) = CollectSink::new();
        let topology = move || {
            let topology = Topology::new("loop");
            let numbers = topology.source("numbers", Generator::bounded(NUMBERS, |n| (n, n % 7)));
            let arrived = numbers.iterate("round", |looped| {
                looped.part("arrived", |(n, left)| match left {
                    0 => Part::Side(n),
                    _ => Part::Main((n, left - 1)),
                })
            });
            arrived.sink("rows", sink.clone());
            topology
        };
        let setup = if seed % 2 == 0 { aligned(seed) } else { unaligned(seed) };
        let faults = if seed % 4 == 0 { Faults::none() } else { Faults::drawn(&every_fault(), 6, 150) };
        let end = Simulation::new(seed, setup, faults, topology).run();
        assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
        same(rows.snapshot(), (0..NUMBERS).collect());
    }
}

/// Each of three records goes aside, so there is no bound on the side output but what is under way.
#[test]
fn a_side_output_that_stands_still_brings_its_source_to_a_stop() {
    for seed in seeds(0..60) {
        let (main, _main_rows) = CollectSink::new();
        let (side, _side_rows) = CollectSink::new();
        let topology = move || {
            let topology = Topology::new("endless");
            let numbers = topology.source("numbers", Generator::unbounded(|n| n)).parallelism(2);
            let (others, thirds) = numbers.part("thirds", |n: u64| match n % 3 {
                0 => Part::Side(n),
                _ => Part::Main(n),
            });
            others.sink("others", main.clone());
            thirds.parallelism(2).sink("slow", side.clone());
            topology
        };
        let setup = Setup::drawn(seed).checkpoints(|checkpoints| {
            CheckpointConfig::every(Duration::from_millis(1)).alignment_buffer(checkpoints.alignment_buffer)
        });
        // Two channels, and each subtask's generator has the thirds spread evenly.
        let batches = setup.channel_capacity + 3 + setup.settings.checkpoints.alignment_buffer;
        let bound = 2 * (batches * setup.settings.batch_size) as u64;
        let mut simulation = Simulation::new(seed, setup, Faults::none(), topology);
        simulation.run_steps(300);
        simulation.pause("thirds -> slow", true);
        simulation.run_steps(2_000);
        let (source, sink) = ("numbers -> part-1 -> others", "thirds -> slow");
        let read = simulation.records(source).records_in;
        let written = simulation.records(sink).records_out;
        assert!(read > 0 && read <= 3 * (written + bound + 2), "seed {seed}: {read} read, {written} aside, {bound}");
        simulation.run_steps(1_000);
        assert_eq!(simulation.records(source).records_in, read, "seed {seed}: it went on reading");
        simulation.pause(sink, false);
        simulation.run_steps(1_000);
        assert!(simulation.records(source).records_in > read, "seed {seed}: it never went on");
    }
}
