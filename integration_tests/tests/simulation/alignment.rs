//! Sources that run apart, and are aligned: none is read further ahead than it may be, and none waits for ever.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use cofferdam::connector::CollectSink;
use cofferdam_engine::{
    BoxError, ProcessingTime, Read, Source, SplitReader, Timestamp, WatermarkStrategy,
    checkpoint::{config::CheckpointConfig, coordinator::JobEnd},
    time::{Alignment, Bounded},
    topology::Topology,
};
use cofferdam_testkit::{Fault, Faults, Point, Setup, Simulation, every_fault};

use crate::{seeds::seeds, time::aligned};

const DRIFT: i64 = 50;
const SPLITS: u64 = 2;
const FAST: u64 = 0;
const SLOW: u64 = 1;

/// What readers have seen of each other.
#[derive(Default)]
struct Lanes {
    /// The watermark of each split that is open.
    marks: BTreeMap<(u64, u64), i64>,
    /// The furthest that a split was ahead of the slowest of the others when it was read again.
    furthest: i64,
    /// Whether the fast source had ended when the slow one went on after its long pause.
    had_ended: bool,
}

impl Lanes {
    fn is_open(&self, source: u64) -> bool {
        self.marks.keys().any(|(one, _)| *one == source)
    }

    /// A split is read again.
    fn read(&mut self, own: (u64, u64), next: i64) {
        let mark = self.marks.insert(own, next).unwrap_or(i64::MIN);
        let others = self.marks.iter().filter(|(split, _)| **split != own);
        if let Some(slowest) = others.map(|(_, mark)| *mark).min() {
            self.furthest = self.furthest.max(mark.saturating_sub(slowest));
        }
    }
}

/// Splits whose times go by tens, and which have nothing for a while every so often.
struct Paced {
    source: u64,
    length: u64,
    /// Every so many records, and for how long.
    pause: Option<(u64, Duration)>,
    lanes: Arc<Mutex<Lanes>>,
}

struct PacedReader {
    own: (u64, u64),
    length: u64,
    pause: Option<(u64, Duration)>,
    lanes: Arc<Mutex<Lanes>>,
    next: u64,
    has_waited: bool,
}

fn mark(next: u64) -> i64 {
    if next == 0 { i64::MIN } else { next as i64 * 10 - 1 }
}

impl Source for Paced {
    type Record = (u64, u64, u64);
    type Split = u64;
    type Position = u64;
    type Reader = PacedReader;

    /// All splits are read at once.
    fn is_bounded(&self) -> bool {
        false
    }

    fn splits(&self, _: u32) -> Result<Vec<u64>, BoxError> {
        Ok((0..SPLITS).collect())
    }

    fn open(&self, split: &u64, position: Option<&u64>) -> Result<PacedReader, BoxError> {
        let (own, next) = ((self.source, *split), position.copied().unwrap_or(0));
        self.lanes.lock().unwrap().marks.insert(own, mark(next));
        let Self { length, pause, lanes, .. } = self;
        Ok(PacedReader { own, length: *length, pause: *pause, lanes: lanes.clone(), next, has_waited: false })
    }
}

impl SplitReader for PacedReader {
    type Record = (u64, u64, u64);
    type Position = u64;

    fn read(&mut self, now: ProcessingTime) -> Result<Read<(u64, u64, u64)>, BoxError> {
        let mut lanes = self.lanes.lock().unwrap();
        if self.next == self.length {
            lanes.marks.remove(&self.own);
            return Ok(Read::End);
        }
        if let Some((every, pause)) = self.pause.filter(|(every, _)| self.next % every == every - 1) {
            self.has_waited = !self.has_waited;
            if self.has_waited {
                return Ok(Read::NotBefore(now.after(pause)));
            }
            lanes.had_ended = every > 10 && !lanes.is_open(FAST);
        }
        self.next += 1;
        lanes.read(self.own, mark(self.next));
        Ok(Read::Record((self.own.0, self.own.1, self.next)))
    }

    fn position(&mut self) -> Result<u64, BoxError> {
        Ok(self.next)
    }
}

/// A job that reads a fast and a slow source into one sink.
struct Job {
    fast: u64,
    slow: u64,
    pause: (u64, Duration),
    strategy: WatermarkStrategy<Bounded>,
    setup: fn(u64) -> Setup,
}

impl Job {
    fn aligned() -> Self {
        let drift = Alignment::group("both", Duration::from_millis(DRIFT as u64));
        let strategy = WatermarkStrategy::monotonous().align(drift);
        Self { fast: 120, slow: 60, pause: (5, Duration::from_micros(300)), strategy, setup: aligned }
    }

    /// The simulation, and what its readers see; to be `finished`.
    fn start(self, seed: u64, faults: Faults) -> Run {
        let (sink, rows) = CollectSink::new();
        let lanes = Arc::new(Mutex::new(Lanes::default()));
        let Self { fast, slow, pause, strategy, setup } = self;
        let readers = lanes.clone();
        let topology = move || {
            let topology = Topology::new("aligned");
            let time = |(_, _, number): &(u64, u64, u64)| Timestamp(*number as i64 * 10);
            let [fast, slow] =
                [(FAST, "fast", fast, None), (SLOW, "slow", slow, Some(pause))].map(|(source, name, length, pause)| {
                    let paced = Paced { source, length, pause, lanes: readers.clone() };
                    let stream = topology.source(name, paced).parallelism(1 + (seed % 2) as u32);
                    stream.event_time(format!("{name} time"), strategy.clone(), time)
                });
            fast.union(slow).sink("rows", sink.clone());
            topology
        };
        let numbers =
            |source, length| (0..SPLITS).flat_map(move |split| (1..=length).map(move |number| (source, split, number)));
        let expected = numbers(FAST, fast).chain(numbers(SLOW, slow)).collect();
        let rows = Box::new(move || rows.snapshot());
        Run { simulation: Simulation::new(seed, setup(seed), faults, topology), lanes, expected, rows, seed }
    }
}

struct Run {
    simulation: Simulation,
    lanes: Arc<Mutex<Lanes>>,
    expected: Vec<(u64, u64, u64)>,
    rows: Box<dyn Fn() -> Vec<(u64, u64, u64)>>,
    seed: u64,
}

impl Run {
    /// How far apart the splits were read.
    fn finish(mut self) -> i64 {
        let end = self.simulation.run();
        assert!(matches!(end, Ok(JobEnd::Finished)), "seed {}: {end:?}", self.seed);
        let mut rows = (self.rows)();
        rows.sort_unstable();
        assert!(rows == self.expected, "seed {}: rows are lost, or came twice", self.seed);
        self.lanes.lock().unwrap().furthest
    }
}

fn assert_bounded(seed: u64, furthest: i64) {
    assert!(furthest <= DRIFT, "seed {seed}: a split was read when it was {furthest} ms ahead");
}

#[test]
fn no_split_is_read_further_ahead_than_it_may_be_whatever_goes_wrong() {
    let mut furthest = 0;
    for seed in seeds(0..100) {
        let faults = if seed % 4 == 0 { Faults::none() } else { Faults::drawn(&every_fault(), 8, 150) };
        let apart = Job::aligned().start(seed, faults).finish();
        assert_bounded(seed, apart);
        furthest = furthest.max(apart);
    }
    assert!(furthest > DRIFT / 2, "they were never apart");
}

#[test]
fn without_alignment_they_run_apart() {
    let job = |_| Job { strategy: WatermarkStrategy::monotonous(), ..Job::aligned() };
    assert!((0..10).any(|seed| job(seed).start(seed, Faults::none()).finish() > 2 * DRIFT));
}

#[test]
fn a_limit_that_is_lost_is_made_good() {
    let mut lost = 0;
    for seed in seeds(0..20) {
        let mut run = Job::aligned().start(seed, Faults::drawn(&[(Point::LimitHeard, Fault::Lose)], 12, 10));
        while run.simulation.run_steps(100).is_none() {}
        lost += run.simulation.injected().len();
        assert_bounded(seed, run.lanes.lock().unwrap().furthest);
    }
    assert!(lost > 40, "{lost} were lost");
}

#[test]
fn checkpoints_complete_while_a_source_is_held() {
    for seed in seeds(0..6) {
        // The slow one stands still for a long time, at its sixth record of ten.
        let job = Job { slow: 10, pause: (6, Duration::from_millis(200)), ..Job::aligned() };
        let mut run = job.start(seed, Faults::none());
        let (mut before, mut while_held) = (0, 0);
        loop {
            let end = run.simulation.run_steps(1);
            let committed = run.simulation.committed().len();
            let marks: Vec<i64> = run.lanes.lock().unwrap().marks.values().copied().collect();
            let is_held = marks.len() == 4 && marks == [109, 109, 49, 49];
            while_held += if is_held { committed - before } else { 0 };
            before = committed;
            if let Some(end) = end {
                assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
                break;
            }
        }
        assert!(while_held >= 3, "seed {seed}: {while_held} completed");
        assert_bounded(seed, run.finish());
    }
}

#[test]
fn nobody_waits_for_a_source_that_is_idle() {
    for seed in seeds(0..20) {
        // The slow one has nothing for a minute, from its thirtieth record on. Meanwhile little else is to happen.
        let setup = |seed| {
            aligned(seed)
                .checkpoints(|checkpoints| CheckpointConfig { interval: Some(Duration::from_secs(5)), ..checkpoints })
        };
        let job = Job { slow: 40, pause: (30, Duration::from_secs(60)), setup, ..Job::aligned() };
        let strategy = job.strategy.clone().idle_after(Duration::from_millis(5));
        let run = Job { strategy, ..job }.start(seed, Faults::none());
        let lanes = run.lanes.clone();
        run.finish();
        assert!(lanes.lock().unwrap().had_ended, "seed {seed}: the fast one waited");
    }
}
