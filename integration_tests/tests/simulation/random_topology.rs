//! Topologies drawn from a seed: every exchange, in any order, with streams used once or more.

use std::collections::BTreeMap;

use cofferdam::connector::{CollectSink, Generator};
use cofferdam_engine::{
    Collector, ValueState,
    checkpoint::coordinator::JobEnd,
    topology::{SharedStream, Topology},
};
use cofferdam_testkit::{Faults, Request, Setup, Simulation, every_fault};

use crate::{cases::same, seeds::seeds};

/// A stream, and what a plain loop says that it holds.
struct Node {
    stream: SharedStream<u64>,
    rows: Vec<u64>,
    used: bool,
}

const SINKS: usize = 12;

/// Draws a topology. Gives back the rows that each sink must get, for as many sinks as it has.
fn draw(seed: u64, sinks: &[CollectSink<u64>]) -> (Topology, Vec<Vec<u64>>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let topology = Topology::new("drawn");
    let mut nodes = Vec::new();
    for number in 0..random.u64(1..4) {
        let (first, count) = (number * 100, random.u64(0..50));
        let source = Generator::bounded(count, move |i| first + i);
        let stream = topology.source(format!("source-{number}"), source).parallelism(random.u32(1..4)).share();
        nodes.push(Node { stream, rows: (first..first + count).collect(), used: false });
    }
    for number in 0..random.usize(1..6) {
        let node = add(&mut random, number, &mut nodes);
        nodes.push(node);
    }
    let mut expected = Vec::new();
    for (node, sink) in nodes.into_iter().filter(|node| !node.used).zip(sinks) {
        let stream = node.stream.stream().parallelism(random.u32(1..4));
        stream.sink(format!("sink-{}", expected.len()), sink.clone());
        expected.push(node.rows);
    }
    (topology, expected)
}

fn add(random: &mut fastrand::Rng, number: usize, nodes: &mut [Node]) -> Node {
    let parallelism = random.u32(1..4);
    let chosen = random.usize(0..nodes.len());
    nodes[chosen].used = true;
    let (input, rows) = (nodes[chosen].stream.stream().parallelism(random.u32(1..4)), nodes[chosen].rows.clone());
    let kind = if rows.len() > 150 { 1 } else { random.u32(0..10) };
    let (stream, rows) = match kind {
        0 => (input.map(|n| n + 1).share(), rows.into_iter().map(|n| n + 1).collect()),
        1 => (input.filter(|n| n % 3 != 0).share(), rows.into_iter().filter(|n| n % 3 != 0).collect()),
        2 => {
            let many = |n: u64| std::iter::repeat_n(n, (n % 4) as usize);
            (input.flat_map(many).share(), rows.into_iter().flat_map(many).collect())
        }
        3 => (input.rebalance().parallelism(parallelism).share(), rows),
        4 => {
            let keyed = input.key_by(|n| n % 4).parallelism(parallelism);
            (keyed.entries().map(|(_, n)| n).share(), rows)
        }
        5 => {
            let copies = rows.into_iter().flat_map(|n| std::iter::repeat_n(n, parallelism as usize));
            (input.broadcast().parallelism(parallelism).share(), copies.collect())
        }
        6 => {
            let other = random.usize(0..nodes.len());
            nodes[other].used = true;
            let united = [rows, nodes[other].rows.clone()].concat();
            (input.union(nodes[other].stream.stream()).parallelism(parallelism).share(), united)
        }
        7 => {
            let counted = input.key_by(|n| n % 5).parallelism(parallelism);
            let counted = counted.fold(format!("fold-{number}"), 0u64, |count, _| *count += 1);
            let each = per_key(&rows, 5).into_iter().flat_map(|(key, count)| (1..=count).map(move |n| key * 1000 + n));
            (counted.map(|(key, count)| key * 1000 + count).share(), each.collect())
        }
        8 => {
            // Each number goes round until it is below 20.
            let looped = input.iterate(format!("loop-{number}"), |looped| {
                let halved = looped.map(|n| if n < 20 { n } else { n / 2 }).share();
                let (again, done) = (halved.stream().filter(|n| *n >= 20), halved.stream().filter(|n| *n < 20));
                (again.rebalance().parallelism(parallelism), done.share())
            });
            (looped, rows.into_iter().map(|n| (0..).map(|by| n >> by).find(|n| *n < 20).unwrap_or(0)).collect())
        }
        _ => {
            let third = |key: &u64, _: u64, seen: &mut ValueState<'_, u64>, out: &mut Collector<'_, u64>| {
                seen.update(|| 0, |count| *count += 1);
                if seen.get() == Some(&3) {
                    seen.clear();
                    out.emit(*key);
                }
            };
            let thirds = input.key_by(|n| n % 7).parallelism(parallelism).process(format!("third-{number}"), third);
            let each = per_key(&rows, 7).into_iter().flat_map(|(key, count)| (0..count / 3).map(move |_| key));
            (thirds.share(), each.collect())
        }
    };
    Node { stream, rows, used: false }
}

fn per_key(rows: &[u64], keys: u64) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    rows.iter().for_each(|n| *counts.entry(n % keys).or_insert(0) += 1);
    counts
}

/// Runs a drawn topology to its end, through stops and whatever else comes.
fn run(seed: u64, faults: Faults) {
    let (sinks, published): (Vec<_>, Vec<_>) = (0..SINKS).map(|_| CollectSink::<u64>::new()).unzip();
    let (_, expected) = draw(seed, &sinks);
    let mut simulation = Simulation::new(seed, Setup::drawn(seed), faults, move || draw(seed, &sinks).0);
    if seed.is_multiple_of(4) {
        simulation = simulation.request_at(100 + seed % 400, Request::Stop);
    }
    loop {
        match simulation.run() {
            Ok(JobEnd::Finished) => break,
            Ok(JobEnd::Stopped) => {}
            // Stopped while it waited for a restart.
            Err(error) if seed.is_multiple_of(4) && error.to_string().contains("injected") => {}
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    for (published, expected) in published.iter().zip(expected) {
        same(published.snapshot(), expected);
    }
}

#[test]
fn any_topology_without_faults_publishes_what_a_plain_loop_does() {
    seeds(0..150).for_each(|seed| run(seed, Faults::none()));
}

#[test]
fn any_topology_with_any_faults_publishes_every_row_once() {
    seeds(1_000..1_400).for_each(|seed| run(seed, Faults::drawn(&every_fault(), 8, 150)));
}
