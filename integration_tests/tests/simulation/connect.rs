//! Steps that see two streams: with any faults, and on however many subtasks, both are counted as one after the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cofferdam::connector::CollectSink;
use cofferdam_engine::{
    Record, Timestamp, WatermarkStrategy, state,
    topology::{KeyedStream, Topology},
};
use cofferdam_testkit::{Faults, Setup};

use super::{
    seeds::{all, finish, starts},
    time::{LATENESS, Readings, SPLITS, aligned, length, time, unaligned},
};

const WINDOW: i64 = 50;

/// A sensor, the beginning of a window, the readings of it in the first stream, and what those in the second say.
type Row = ((u64, i64), u64, String);

type Topologies<R> = fn(&Topology, u32, CollectSink<R>);

fn readings<T: Record>(
    topology: &Topology,
    name: &str,
    parallelism: u32,
    value: fn((u64, i64)) -> T,
) -> KeyedStream<(u64, i64), T, Timestamp> {
    let strategy = WatermarkStrategy::bounded(Duration::from_millis(LATENESS));
    topology
        .source(name, Readings { is_bounded: false })
        .parallelism(parallelism)
        .event_time(format!("{name}-time"), strategy, |(_, time)| Timestamp::from_millis(*time))
        .keyed(move |reading| (key(reading), value(reading)))
}

fn key((split, time): (u64, i64)) -> (u64, i64) {
    (split % 3, time / WINDOW * WINDOW)
}

fn all_readings() -> impl Iterator<Item = (u64, i64)> {
    (0..SPLITS).flat_map(|split| (0..length(split)).map(move |number| (split, time(split, number))))
}

fn run<R: Ord + Record + Clone>(build: Topologies<R>) -> impl Fn(u64, Setup, Faults, bool) -> Vec<R> {
    move |seed, setup, faults, rescales| {
        let (sink, rows) = CollectSink::new();
        let starts = starts(seed, rescales);
        let topology = move || {
            let topology = Topology::new("connected");
            build(&topology, starts(), sink.clone());
            topology
        };
        finish(seed, setup, faults, topology, &rows)
    }
}

/// What each window has of both streams, which are of different types, when both are through with it.
fn counted(topology: &Topology, start: u32, sink: CollectSink<Row>) {
    let left = readings(topology, "left", 1 + start % 3, |_| ());
    let right = readings(topology, "right", 1 + start / 2 % 2, |(split, _)| split.to_string());
    left.connect(right)
        .parallelism(1 + start / 3 % 3)
        .process_with_timers(
            "counts",
            (state::value::<u64>("left"), state::value::<BTreeSet<String>>("right")),
            |(), cx| {
                let end = Timestamp::from_millis(cx.key().1 + WINDOW);
                cx.states().0.update(|| 0, |count| *count += 1);
                cx.set_timer(end);
            },
            |split, cx| {
                cx.states().1.update(BTreeSet::new, |splits| splits.insert(split));
            },
            |_, cx| {
                let key = *cx.key();
                let (left, right) = cx.states();
                let said = right.get().map(|splits| splits.iter().cloned().collect::<Vec<_>>().join(" "));
                let row = (key, left.get().copied().unwrap_or(0), said.unwrap_or_default());
                left.clear();
                right.clear();
                cx.emit(row);
            },
        )
        .sink("rows", sink);
}

/// Loops over maps.
fn counted_by_loops() -> Vec<Row> {
    let (mut left, mut right) = (BTreeMap::new(), BTreeMap::<_, BTreeSet<String>>::new());
    all_readings().for_each(|reading| *left.entry(key(reading)).or_insert(0) += 1);
    for reading in all_readings() {
        right.entry(key(reading)).or_default().insert(reading.0.to_string());
    }
    let said = |key| right[key].iter().cloned().collect::<Vec<_>>().join(" ");
    left.iter().map(|(key, count)| (*key, *count, said(key))).collect()
}

/// A sensor, the beginning of a window, and a reading of each stream in it.
type Pair = ((u64, i64), u64, String);

/// Every reading of the first stream with every one of the second: whichever comes second makes the pair.
fn paired(topology: &Topology, start: u32, sink: CollectSink<Pair>) {
    let left = readings(topology, "left", 1 + start % 3, |(_, time)| time as u64);
    let right = readings(topology, "right", 1 + start / 2 % 2, |(split, time)| format!("{split}/{time}"));
    left.connect(right)
        .parallelism(1 + start / 3 % 3)
        .process_with(
            "pairs",
            (state::list::<u64>("left"), state::list::<String>("right")),
            |key, time, (lefts, rights), out| {
                rights.iter().for_each(|right| out.emit((*key, time, right.clone())));
                lefts.push(time);
            },
            |key, text, (lefts, rights), out| {
                lefts.iter().for_each(|left| out.emit((*key, *left, text.clone())));
                rights.push(text);
            },
        )
        .sink("rows", sink);
}

fn paired_by_loops() -> Vec<Pair> {
    let mut pairs = Vec::new();
    for left in all_readings() {
        for right in all_readings().filter(|right| key(*right) == key(left)) {
            pairs.push((key(left), left.1 as u64, format!("{}/{}", right.0, right.1)));
        }
    }
    pairs.sort();
    pairs
}

/// Windows, and how many rules of their sensor's number every subtask has been told at the end.
fn ruled(topology: &Topology, start: u32, sink: CollectSink<((u64, i64), u64)>) {
    let strategy = WatermarkStrategy::bounded(Duration::from_millis(LATENESS));
    let rules = topology
        .source("rules", Readings { is_bounded: false })
        .parallelism(1)
        .event_time("rules-time", strategy, |(_, time)| Timestamp::from_millis(*time))
        .map(|(split, _)| split);
    readings(topology, "readings", 1 + start % 3, |(split, _)| split % 3)
        .connect_broadcast("rules-told", rules, state::broadcast::<u64, u64>("told"), |split, told| {
            *told.entry(split).or_insert(0) += 1;
        })
        .parallelism(1 + start / 3 % 3)
        .process_with_timers(
            "ruled",
            state::value::<u64>("split"),
            |split, _, cx| {
                cx.states().set(split);
                cx.set_timer(Timestamp::from_millis(1_000_000));
            },
            |_, told, cx| {
                let split = cx.states().get().copied().unwrap_or(u64::MAX);
                let row = (*cx.key(), told.get(&split).copied().unwrap_or(0));
                cx.states().clear();
                cx.emit(row);
            },
        )
        .sink("rows", sink);
}

fn ruled_by_loops() -> Vec<((u64, i64), u64)> {
    let told = |split: u64| length(split);
    let keys: BTreeSet<_> = all_readings().map(key).collect();
    keys.into_iter().map(|key| (key, told(key.0))).collect()
}

#[test]
fn with_any_faults_a_step_sees_each_record_of_two_streams_once() {
    all(0..60, aligned, false, run(counted), &counted_by_loops());
    all(1_000..1_060, unaligned, false, run(counted), &counted_by_loops());
}

#[test]
fn and_on_another_number_of_subtasks_after_each_death() {
    all(2_000..2_060, aligned, true, run(counted), &counted_by_loops());
    all(3_000..3_060, unaligned, true, run(counted), &counted_by_loops());
}

#[test]
fn pairs_of_two_streams_are_made_once_whatever_fails() {
    let expected = paired_by_loops();
    all(8_000..8_030, aligned, false, run(paired), &expected);
    all(9_000..9_030, unaligned, false, run(paired), &expected);
    all(10_000..10_030, aligned, true, run(paired), &expected);
    all(11_000..11_030, unaligned, true, run(paired), &expected);
}

#[test]
fn every_subtask_has_each_broadcast_record_once_whatever_fails() {
    all(4_000..4_060, aligned, false, run(ruled), &ruled_by_loops());
    all(5_000..5_060, unaligned, false, run(ruled), &ruled_by_loops());
    all(6_000..6_060, aligned, true, run(ruled), &ruled_by_loops());
    all(7_000..7_060, unaligned, true, run(ruled), &ruled_by_loops());
}
