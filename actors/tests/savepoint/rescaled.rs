//! Files and generated numbers, read on one parallelism after the other.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cofferdam::prelude::*;

use crate::support::*;

/// A source that gives as many records as it is allowed to, by whichever of its splits.
#[derive(Clone)]
struct Allowed<S>(S, Arc<AtomicU64>);

impl<S: Source> Source for Allowed<S> {
    type Record = S::Record;
    type Split = S::Split;
    type Position = S::Position;
    type Reader = Allowed<S::Reader>;

    fn is_bounded(&self) -> bool {
        self.0.is_bounded()
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<S::Split>, BoxError> {
        self.0.splits(parallelism)
    }

    fn open(&self, split: &S::Split, position: Option<&S::Position>) -> Result<Self::Reader, BoxError> {
        Ok(Allowed(self.0.open(split, position)?, self.1.clone()))
    }
}

impl<R: SplitReader> SplitReader for Allowed<R> {
    type Record = R::Record;
    type Position = R::Position;

    fn read(&mut self, now: ProcessingTime) -> Result<Read<R::Record>, BoxError> {
        let spent = self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
        if spent {
            return Ok(Read::NotBefore(now.after(Duration::from_millis(1))));
        }
        let read = self.0.read(now);
        if !matches!(read, Ok(Read::Record(_))) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
        read
    }

    fn position(&mut self) -> Result<R::Position, BoxError> {
        self.0.position()
    }
}

const FILES: u64 = 7;
const LINES: u64 = 2_000;
const NUMBERS: u64 = 12_000;

/// Counts what the files and a generator give, modulo 97.
fn topology(input: &Path, allowed: [&Arc<AtomicU64>; 2], rows: CollectSink<(u64, u64)>) -> Topology {
    let topology = Topology::new("splits");
    let files = FileSource::lines(input.join("*.txt").to_str().unwrap());
    let lines = topology.source("files", Allowed(files, allowed[0].clone()));
    let numbers = topology.source("numbers", Allowed(Generator::bounded(NUMBERS, |n| n), allowed[1].clone()));
    let lines = lines.map(|line: String| line.parse::<u64>().unwrap());
    let all = lines.rebalance().union(numbers.rebalance());
    all.key_by(|number| number % 97).fold("count", 0u64, |count, _| *count += 1).sink("rows", rows);
    topology
}

#[test]
fn files_and_generated_numbers_are_read_once_on_1_then_4_then_3_then_2_subtasks_from_checkpoints_and_savepoints() {
    for by_savepoint in [false, true] {
        let places = Places::new();
        let input = places.at("input");
        std::fs::create_dir(&input).unwrap();
        let mut expected = BTreeMap::<u64, u64>::new();
        for file in 0..FILES {
            let numbers = || (0..LINES).map(|n| n * 31 + file);
            numbers().for_each(|n| *expected.entry(n % 97).or_default() += 1);
            let text: String = numbers().map(|n| format!("{n}\n")).collect();
            std::fs::write(input.join(format!("{file}.txt")), text).unwrap();
        }
        (0..NUMBERS).for_each(|n| *expected.entry(n % 97).or_default() += 1);

        let (sink, rows) = CollectSink::new();
        let (lines, numbers) = (Arc::default(), Arc::default());
        let start = |leg: usize, parallelism| {
            let place = if by_savepoint { format!("state {leg}") } else { "state".to_string() };
            let builder = engine().parallelism(parallelism).backend(Lmdb::at(places.at(&place)));
            let builder = match leg {
                1.. if by_savepoint => builder.from_savepoint(places.at(&format!("savepoint {}", leg - 1))),
                _ => builder,
            };
            builder.start_blocking(topology(&input, [&lines, &numbers], sink.clone())).unwrap()
        };
        for (leg, parallelism) in [1, 4, 3].into_iter().enumerate() {
            // Some splits are in their midst, some may have ended, some have not begun.
            lines.store(3_001, Ordering::SeqCst);
            numbers.store(2_003, Ordering::SeqCst);
            let job = start(leg, parallelism);
            until("what is allowed is read", || job.status().records_read == 3_001 + 2_003);
            if by_savepoint {
                job.stop_with_savepoint_blocking(places.at(&format!("savepoint {leg}"))).unwrap();
            } else {
                assert_eq!(job.stop_blocking().unwrap(), JobEnd::Stopped);
            }
        }
        lines.store(u64::MAX, Ordering::SeqCst);
        numbers.store(u64::MAX, Ordering::SeqCst);
        assert_eq!(start(3, 2).wait_blocking().unwrap(), JobEnd::Finished);
        let rows = rows.take();
        assert_eq!(rows.len() as u64, FILES * LINES + NUMBERS);
        let mut counts = BTreeMap::<u64, u64>::new();
        for (key, count) in rows {
            let most = counts.entry(key).or_default();
            *most = count.max(*most);
        }
        assert_eq!(counts, expected);
    }
}
