//! Event time: whatever goes wrong, it comes as far as it would have, never falls, and ends with the input.

use std::{collections::BTreeMap, time::Duration};

use cofferdam::connector::CollectSink;
use cofferdam_engine::{
    BoxError, ProcessingTime, Read, Source, SplitReader, Timestamp, WatermarkStrategy,
    checkpoint::{config::CheckpointConfig, coordinator::JobEnd, snapshot::EdgeTime},
    topology::Topology,
};
use cofferdam_testkit::{Faults, Setup, Simulation};

use crate::{
    cases::counts_in_order,
    seeds::{faults, seeds, starts},
};

const RECORDS: u64 = 60;
pub const SPLITS: u64 = 4;
pub const LATENESS: u64 = 5;

/// Splits of unequal pace and length, their times out of order by less than the lateness; without an end in sight for whoever reads them: by turns.
pub struct Readings {
    pub is_bounded: bool,
}

pub struct Readers {
    split: u64,
    next: u64,
    has_waited: bool,
}

pub fn length(split: u64) -> u64 {
    RECORDS / (split + 1)
}

pub fn time(split: u64, number: u64) -> i64 {
    (1_000 + number * 10 * (split + 1) + number * 7 % LATENESS) as i64
}

impl Source for Readings {
    type Record = (u64, i64);
    type Split = u64;
    type Position = u64;
    type Reader = Readers;

    fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    fn splits(&self, _: u32) -> Result<Vec<u64>, BoxError> {
        Ok((0..SPLITS).collect())
    }

    fn open(&self, split: &u64, position: Option<&u64>) -> Result<Readers, BoxError> {
        Ok(Readers { split: *split, next: position.copied().unwrap_or(0), has_waited: false })
    }
}

impl SplitReader for Readers {
    type Record = (u64, i64);
    type Position = u64;

    fn read(&mut self, now: ProcessingTime) -> Result<Read<(u64, i64)>, BoxError> {
        if self.next == length(self.split) {
            return Ok(Read::End);
        }
        // Every so often there is nothing for a while.
        self.has_waited = self.next % 7 == self.split && !self.has_waited;
        if self.has_waited {
            return Ok(Read::NotBefore(ProcessingTime(now.0 + 300_000)));
        }
        self.next += 1;
        Ok(Read::Record((self.split, time(self.split, self.next - 1))))
    }

    fn position(&mut self) -> Result<u64, BoxError> {
        Ok(self.next)
    }
}

fn highest() -> i64 {
    (0..SPLITS).flat_map(|split| (0..length(split)).map(move |number| time(split, number))).max().unwrap()
}

/// The least that any subtask at the end of each edge knows.
fn by_edge(times: &[EdgeTime]) -> BTreeMap<&str, Timestamp> {
    let mut least = BTreeMap::new();
    for one in times {
        let known = least.entry(&*one.edge).or_insert(Timestamp::MAX);
        *known = one.event_time.min(*known);
    }
    least
}

/// How time went in one run.
struct Went {
    /// Checkpoints in which it was between its ends.
    between: u32,
    rescaled: u32,
}

fn run(seed: u64, is_bounded: bool, setup: Setup, faults: Faults, rescales: bool) -> Went {
    let (sink, rows) = CollectSink::new();
    let starts = starts(seed, rescales);
    let topology = move || {
        let start = starts();
        let strategy = WatermarkStrategy::bounded(Duration::from_millis(LATENESS));
        let strategy = if seed.is_multiple_of(2) { strategy.idle_after(Duration::from_micros(200)) } else { strategy };
        let topology = Topology::new("timed");
        topology
            .source("readings", Readings { is_bounded })
            .parallelism(1 + start % 3)
            .event_time("time", strategy, |(_, time)| Timestamp::from_millis(*time))
            .key_by(|(split, _)| *split)
            .parallelism(1 + start / 3 % 3)
            .fold("count", 0u64, |count, _| *count += 1)
            .sink("counts", sink.clone());
        topology
    };
    let mut simulation = Simulation::new(seed, setup, faults, topology);
    let (mut last, mut parallelism) = (BTreeMap::<String, Timestamp>::new(), None);
    let mut went = Went { between: 0, rescaled: 0 };
    let (mut checkpoint, mut end) = (None, None);
    while end.is_none() {
        end = simulation.run_steps(1);
        let Some(stored) = simulation.stored().filter(|stored| Some(stored.checkpoint) != checkpoint) else { continue };
        checkpoint = Some(stored.checkpoint);
        let now = stored.times.iter().map(|one| (one.edge.clone(), one.parallelism)).collect::<Vec<_>>();
        went.rescaled +=
            u32::from(!stored.times.is_empty() && parallelism.replace(now.clone()).is_some_and(|was| was != now));
        for (edge, time) in by_edge(&stored.times) {
            let before = last.insert(edge.to_string(), time).unwrap_or(Timestamp::MIN);
            assert!(
                before <= time,
                "seed {seed}: time on '{edge}' fell from {before} to {time}\n{}",
                simulation.trace()
            );
            let is_between = time != Timestamp::MIN && time != Timestamp::MAX;
            went.between += u32::from(is_between);
            assert!(!is_between || time.0 < highest(), "seed {seed}: nothing is later than the last record");
        }
    }
    assert!(matches!(end, Some(Ok(JobEnd::Finished))), "seed {seed}: {end:?}");
    assert_eq!(last.len(), 1, "one edge has time: {last:?}");
    assert!(last.values().all(|time| *time == Timestamp::MAX), "seed {seed}: {last:?}");
    counts_in_order(&rows.snapshot(), (0..SPLITS).flat_map(|split| (0..length(split)).map(move |_| split)));
    went
}

/// A source that never ends, and one that does, need checkpoints to be seen at.
pub fn aligned(seed: u64) -> Setup {
    let setup = Setup::drawn(seed);
    let interval = setup.step_time * (3 + seed % 20) as u32;
    setup.checkpoints(|checkpoints| CheckpointConfig { interval: Some(interval), ..checkpoints })
}

pub fn unaligned(seed: u64) -> Setup {
    let setup = aligned(seed);
    let timeout = setup.step_time * (seed % 3 * 5) as u32;
    setup.checkpoints(|checkpoints| checkpoints.unaligned(timeout))
}

fn all(few: std::ops::Range<u64>, setup: impl Fn(u64) -> Setup, rescales: bool) {
    let mut between = 0;
    let mut rescaled = 0;
    for seed in seeds(few) {
        let went = run(seed, seed.is_multiple_of(5), setup(seed), faults(seed), rescales);
        between += went.between;
        rescaled += went.rescaled;
    }
    assert!(between > 20, "time was on its way in {between} checkpoints only");
    assert_eq!(rescaled > 0, rescales, "rescaled {rescaled} times");
}

#[test]
fn with_any_faults_time_never_falls_and_ends_with_the_input() {
    all(0..200, aligned, false);
}

#[test]
fn with_barriers_that_overtake_too() {
    all(1_000..1_200, unaligned, false);
}

#[test]
fn and_on_another_number_of_subtasks_after_each_death() {
    all(2_000..2_100, aligned, true);
    all(3_000..3_100, unaligned, true);
}
