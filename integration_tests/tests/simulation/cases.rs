//! Topologies whose result does not depend on interleaving, and what each must have published.

use std::{collections::HashMap, fmt::Debug};

use cofferdam::connector::{CollectSink, Generator};
use cofferdam_engine::{Collector, ValueState, topology::Topology};
use cofferdam_testkit::{Fault, Point, every_fault};

/// Faults that abort a checkpoint and end no attempt.
pub const ABORTS: [(Point, Fault); 4] = [
    (Point::Acknowledge, Fault::Lose),
    (Point::TriggerHeard, Fault::Lose),
    (Point::AbortHeard, Fault::Lose),
    (Point::PreCommitBefore, Fault::Delay),
];

/// Faults that end an attempt, and faults that end the process.
pub fn ends() -> Vec<(Point, Fault)> {
    let errors =
        [Point::SourceSnapshot, Point::Frozen, Point::Encoded, Point::CommitBegun].map(|point| (point, Fault::Error));
    let kills =
        [Point::BarrierSent, Point::Aligned, Point::LastAcknowledgement, Point::CommitDurable, Point::CommitBefore];
    errors.into_iter().chain(kills.map(|point| (point, Fault::Kill))).collect()
}

/// Every fault but the death of the process.
pub fn all_but_death() -> Vec<(Point, Fault)> {
    every_fault().into_iter().filter(|(point, fault)| !fault.kills(*point)).collect()
}

/// A topology and its oracle.
pub struct Case {
    pub name: &'static str,
    pub topology: Box<dyn Fn() -> Topology>,
    /// Panics unless the rows published are those of a plain loop.
    pub check: Box<dyn Fn()>,
}

/// Records of every source below.
pub const RECORDS: u64 = 100;

fn number(i: u64) -> u64 {
    i * i * 7 + i
}

fn key(n: &u64) -> u64 {
    n % 5
}

fn case(
    name: &'static str,
    build: impl Fn(&Topology, CollectSink<(u64, u64)>) + 'static,
    check: impl Fn(Vec<(u64, u64)>) + 'static,
) -> Case {
    let (sink, rows) = CollectSink::new();
    let topology = move || {
        let topology = Topology::new(name);
        build(&topology, sink.clone());
        topology
    };
    Case { name, topology: Box::new(topology), check: Box::new(move || check(rows.snapshot())) }
}

/// The same rows, whatever their order.
pub fn same<T: Ord + Debug>(mut rows: Vec<T>, mut expected: Vec<T>) {
    rows.sort();
    expected.sort();
    assert!(rows == expected, "published {rows:?}\nexpected {expected:?}");
}

/// For each key 1, 2, 3, ... in this order, up to the number of its records.
pub fn counts_in_order(rows: &[(u64, u64)], records: impl Iterator<Item = u64>) {
    let mut expected: HashMap<u64, u64> = HashMap::new();
    records.for_each(|key| *expected.entry(key).or_default() += 1);
    let mut seen: HashMap<u64, u64> = HashMap::new();
    for (key, count) in rows {
        let last = seen.entry(*key).or_default();
        assert_eq!(*count, *last + 1, "key {key}, published {rows:?}");
        *last = *count;
    }
    assert_eq!(seen, expected);
}

/// Counts per key.
pub fn counted() -> Case {
    case(
        "counted",
        |topology, sink| {
            topology
                .source("numbers", Generator::bounded(RECORDS, number))
                .key_by(key)
                .fold("count", 0u64, |count, _| *count += 1)
                .sink("counts", sink);
        },
        |rows| counts_in_order(&rows, (0..RECORDS).map(number).map(|n| key(&n))),
    )
}

/// Two sources of unequal length and parallelism in one stream.
fn united() -> Case {
    case(
        "united",
        |topology, sink| {
            // Paced, so that it waits for its next record now and then.
            let few = topology.source("few", Generator::bounded(10, number).rate(5_000)).parallelism(1);
            let many = topology.source("many", Generator::bounded(RECORDS, number)).parallelism(2);
            few.union(many).key_by(key).fold("count", 0u64, |count, _| *count += 1).parallelism(3).sink("counts", sink);
        },
        |rows| counts_in_order(&rows, (0..10).chain(0..RECORDS).map(number).map(|n| key(&n))),
    )
}

/// Every record to each of three subtasks.
fn broadcast() -> Case {
    case(
        "broadcast",
        |topology, sink| {
            let numbers = topology.source("numbers", Generator::bounded(RECORDS, |i| i)).parallelism(2);
            numbers.broadcast().map(|n| (n, n)).parallelism(3).sink("copies", sink);
        },
        |rows| same(rows, (0..RECORDS).flat_map(|n| [(n, n); 3]).collect()),
    )
}

/// One stream used twice, each time with a sink of its own.
fn shared() -> Case {
    let (odd_sink, odd) = CollectSink::new();
    let Case { name, topology, check } = case(
        "shared",
        move |topology, sink| {
            let shared = topology.source("numbers", Generator::bounded(RECORDS, |i| (i, 0))).share();
            shared.stream().map(|(n, _): (u64, u64)| (n, 1)).sink("all", sink);
            shared.stream().filter(|(n, _): &(u64, u64)| n % 2 == 1).rebalance().sink("odd", odd_sink.clone());
        },
        |rows| same(rows, (0..RECORDS).map(|n| (n, 1)).collect()),
    );
    let check_both = move || {
        check();
        same(odd.snapshot(), (0..RECORDS).filter(|n| n % 2 == 1).map(|n| (n, 0)).collect());
    };
    Case { name, topology, check: Box::new(check_both) }
}

/// Records that become many, or none.
fn exploded() -> Case {
    case(
        "exploded",
        |topology, sink| {
            topology
                .source("numbers", Generator::bounded(RECORDS / 2, |i| i))
                .flat_map(|n: u64| (0..n % 7).map(move |i| n + i))
                .key_by(key)
                .fold("count", 0u64, |count, _| *count += 1)
                .sink("counts", sink);
        },
        |rows| {
            counts_in_order(&rows, (0..RECORDS / 2).flat_map(|n| (0..n % 7).map(move |i| n + i)).map(|n| key(&n)));
        },
    )
}

/// State that is cleared and begins anew: every third record of a key comes out.
pub fn every_third() -> Case {
    case(
        "every-third",
        |topology, sink| {
            topology
                .source("numbers", Generator::bounded(RECORDS * 2, number))
                .key_by(|n| n % 17)
                .process(
                    "third",
                    |key: &u64, _: u64, seen: &mut ValueState<'_, u64>, out: &mut Collector<'_, (u64, u64)>| {
                        if seen.update(
                            || 0,
                            |count| {
                                *count += 1;
                                *count
                            },
                        ) == 3
                        {
                            seen.clear();
                            out.emit((*key, 3));
                            out.emit((*key, 4));
                        }
                    },
                )
                .sink("thirds", sink);
        },
        |rows| {
            let mut counts: HashMap<u64, u64> = HashMap::new();
            (0..RECORDS * 2).map(|i| number(i) % 17).for_each(|key| *counts.entry(key).or_default() += 1);
            let twice = |(key, count): (u64, u64)| (0..count / 3).flat_map(move |_| [(key, 3), (key, 4)]);
            same(rows, counts.into_iter().flat_map(twice).collect());
        },
    )
}

/// Records dealt out twice, over chains of different parallelism.
fn dealt() -> Case {
    case(
        "dealt",
        |topology, sink| {
            let numbers = topology.source("numbers", Generator::bounded(RECORDS, |i| i)).parallelism(2);
            numbers.rebalance().map(|n| (n, n + 1)).parallelism(3).rebalance().parallelism(1).sink("pairs", sink);
        },
        |rows| same(rows, (0..RECORDS).map(|n| (n, n + 1)).collect()),
    )
}

/// One stream, parted and brought together again.
fn diamond() -> Case {
    case(
        "diamond",
        |topology, sink| {
            let shared = topology.source("numbers", Generator::bounded(RECORDS / 2, number)).share();
            let slow = shared.stream().rebalance().filter(|n| n % 3 != 0);
            shared.stream().union(slow).key_by(key).fold("count", 0u64, |count, _| *count += 1).sink("counts", sink);
        },
        |rows| {
            let all = (0..RECORDS / 2).map(number);
            let twice = all.clone().chain(all.filter(|n| n % 3 != 0));
            counts_in_order(&rows, twice.map(|n| key(&n)));
        },
    )
}

/// Two keyed steps, one after the other.
fn counted_twice() -> Case {
    case(
        "counted-twice",
        |topology, sink| {
            topology
                .source("numbers", Generator::bounded(RECORDS, number))
                .key_by(key)
                .fold("first", 0u64, |count, _| *count += 1)
                .parallelism(2)
                .key_by(|(_, count)| count % 3)
                .parallelism(3)
                .fold("second", 0u64, |count, _| *count += 1)
                .sink("counts", sink);
        },
        |rows| {
            let mut counts: HashMap<u64, u64> = HashMap::new();
            let first = (0..RECORDS).map(number).map(move |n| {
                let count = counts.entry(key(&n)).or_default();
                *count += 1;
                *count % 3
            });
            counts_in_order(&rows, first);
        },
    )
}

/// All of them.
pub fn all() -> Vec<Case> {
    vec![counted(), united(), broadcast(), shared(), exploded(), every_third(), dealt(), diamond(), counted_twice()]
}

/// One of them, with empty sinks.
pub fn nth(number: u64) -> Case {
    let mut cases = all();
    cases.swap_remove(number as usize % cases.len())
}
