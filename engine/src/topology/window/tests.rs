//! Windows, on steps that are driven by hand, against computations over a plain list of what came.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::{
    operator::Step,
    state::Merge,
    time::{ByClock, Timestamp},
    topology::by_hand::{self, Interruption, Job, interruptions, kept, keyed},
    window::Windowed,
};

mod by_clock;
mod ends_of_time;
mod kinds;
mod panes;
mod triggers;

/// The records of these tests are their numbers, in the order in which they come.
type Record = u32;

type Event = by_hand::Event<Record>;

/// A window's start and end.
type Bounds = (i64, i64);

/// What each window of a key gave, row after row: the numbers of the records.
type Rows = BTreeMap<(u32, Bounds), Vec<Vec<Record>>>;

/// All records, and a count of what it was asked for.
#[derive(Clone, Default)]
struct Numbers {
    adds: Arc<AtomicU64>,
    merges: Arc<AtomicU64>,
}

impl Aggregate for Numbers {
    type In = Record;
    type Accumulator = Vec<Record>;
    type Out = Vec<Record>;

    fn create(&self) -> Vec<Record> {
        Vec::new()
    }

    fn add(&self, accumulator: &mut Vec<Record>, record: Record) {
        self.adds.fetch_add(1, Ordering::Relaxed);
        accumulator.push(record);
    }

    fn get(&self, accumulator: &Vec<Record>) -> Vec<Record> {
        accumulator.clone()
    }
}

impl Merge for Numbers {
    fn merge(&self, into: &mut Vec<Record>, other: Vec<Record>) {
        self.merges.fetch_add(1, Ordering::Relaxed);
        into.extend(other);
    }
}

/// A record that came: its key, its time, its number, and how far time had come.
#[derive(Clone, Copy, Debug)]
struct Came {
    key: u32,
    time: i64,
    number: Record,
    clock: i64,
}

fn ms(of: i64) -> Duration {
    Duration::from_millis(of.try_into().unwrap())
}

fn keyed_by_time() -> KeyedStream<u32, Record, Timestamp> {
    keyed()
}

const END: i64 = i64::MAX;

/// Batches and watermarks, as key and time of each record; at last the end.
fn numbered(events: Vec<Result<Vec<(u32, i64)>, i64>>) -> Vec<Event> {
    let mut numbers = 0..;
    let event = |event| match event {
        Ok(batch) => {
            let records: Vec<(u32, i64)> = batch;
            let mut number = || numbers.next().unwrap();
            Event::Batch(records.into_iter().map(|(key, time)| (key, time, number())).collect())
        }
        Err(mark) => Event::Mark(mark),
    };
    events.into_iter().chain([Err(END)]).map(event).collect()
}

/// Out of order, and now and then late.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let record = (0..5_u32, 0..100_i64);
    let event = prop_oneof![
        3 => proptest::collection::vec(record, 1..12).prop_map(Ok),
        2 => (0..120_i64).prop_map(Err),
    ];
    proptest::collection::vec(event, 0..14).prop_map(numbered)
}

/// What came, in order.
fn came(events: &[Event]) -> Vec<Came> {
    let (mut all, mut clock) = (Vec::new(), i64::MIN);
    for event in events {
        match event {
            Event::Mark(time) => clock = clock.max(*time),
            Event::Batch(records) => all.extend(records.iter().map(|(key, time, number)| Came {
                key: *key,
                time: *time,
                number: *number,
                clock,
            })),
        }
    }
    all
}

fn bounds(window: Window) -> Bounds {
    (window.start.0, window.end.0)
}

/// What a step gave, each row at the last moment of its window, numbers in order where `sorts`.
fn rows<S>(given: &[(Windowed<u32, Vec<Record>>, S)], sorts: bool) -> Rows {
    let mut rows = Rows::new();
    for (row, _) in given {
        let mut numbers = row.value.clone();
        if sorts {
            numbers.sort_unstable();
        }
        rows.entry((row.key, bounds(row.window))).or_default().push(numbers);
    }
    rows
}

/// Runs a step over events, with interruptions: what it gave, and how many records were late.
fn run<O>(
    stream: Stream<O>,
    events: &[Event],
    (interruptions, parallelism, slice): (Vec<Option<Interruption>>, u32, u64),
) -> (Vec<(O::Out, O::Time)>, u64)
where
    O: Operator,
{
    let mut job = Job::new(stream, parallelism);
    job.slice = slice;
    let late = job.do_interrupted(events, interruptions);
    (job.rows, late)
}

/// How a run goes: what interrupts it, on how many subtasks it begins, and how long a slice is.
fn runs() -> impl Strategy<Value = (Vec<Option<Interruption>>, u32, u64)> {
    (interruptions(), 1..4_u32, 1..20_u64)
}
