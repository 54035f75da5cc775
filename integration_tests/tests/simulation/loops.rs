//! Loops: what circulates is part of each checkpoint, and the input of what follows ends when nothing circulates any more.

use cofferdam::connector::{CollectSink, Generator};
use cofferdam_engine::{
    checkpoint::{
        config::{CheckpointConfig, CheckpointMode},
        coordinator::JobEnd,
    },
    topology::{Topology, plan::Plan},
};
use cofferdam_testkit::{Faults, Request, Setup, Simulation, every_fault};

use crate::{cases::same, seeds::seeds};

const NUMBERS: u64 = 12;

/// A number, where it has come to, and how many steps it took.
type Walk = (u64, u64, u64);

fn next(n: u64) -> u64 {
    if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 }
}

/// How many steps a number takes to 1 (Collatz), by a plain loop.
fn steps(first: u64) -> u64 {
    let (mut n, mut steps) = (first, 0);
    while n > 1 {
        (n, steps) = (next(n), steps + 1);
    }
    steps
}

/// Counts the steps in a loop with a keyed state in its body, so that a record that is lost or comes twice shows: the state's count is what is given.
fn collatz(sink: CollectSink<(u64, u64)>) -> Topology {
    let topology = Topology::new("collatz");
    let numbers = topology.source("numbers", Generator::bounded(NUMBERS, |i| i + 1));
    let walks = numbers.map(|n| -> Walk { (n, n, 0) });
    let arrived = walks.iterate("walk", |looped| {
        let stepped = looped
            .key_by(|(first, _, _)| *first)
            .fold("seen", (0u64, 0u64), |(at, seen), (_, n, _): Walk| (*at, *seen) = (n, *seen + 1))
            .map(|(first, (n, seen))| -> Walk { (first, if n > 1 { next(n) } else { n }, seen) })
            .share();
        // A walk that has come to 1 goes round once more, and is let out by its count.
        let again = stepped.stream().filter(|(first, _, seen)| *seen <= steps(*first));
        (again, stepped.stream().filter(|(first, _, seen)| *seen > steps(*first)))
    });
    arrived.map(|(first, _, seen)| (first, seen - 1)).sink("steps", sink);
    topology
}

fn expected() -> Vec<(u64, u64)> {
    (1..=NUMBERS).map(|n| (n, steps(n))).collect()
}

/// Loops keep some of what circulates in memory, or nothing.
fn setups(seed: u64) -> [Setup; 2] {
    [Setup::drawn(seed), Setup::drawn(seed).loop_mark(0)]
}

fn run(seed: u64, faults: &Faults, stops: bool) {
    setups(seed).into_iter().for_each(|setup| run_with(seed, setup, faults.clone(), stops));
}

fn run_with(seed: u64, setup: Setup, faults: Faults, stops: bool) {
    let (sink, rows) = CollectSink::new();
    let spills_all = setup.loop_mark == 0;
    let mut simulation = Simulation::new(seed, setup, faults, move || collatz(sink.clone()));
    if stops {
        simulation = simulation.request_at(100 + seed % 1_500, Request::Stop);
    }
    loop {
        match simulation.run() {
            Ok(JobEnd::Finished) => break,
            Ok(JobEnd::Stopped) => {}
            Err(error) if stops && error.to_string().contains("injected") => {}
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    same(rows.snapshot(), expected());
    assert!(simulation.spilled() > 0 || !spills_all, "seed {seed}: nothing was spilled");
}

#[test]
fn a_loop_gives_what_a_plain_loop_does_and_ends() {
    seeds(0..100).for_each(|seed| run(seed, &Faults::none(), false));
}

#[test]
fn a_loop_is_exactly_once_whatever_fails() {
    seeds(1_000..1_300).for_each(|seed| run(seed, &Faults::drawn(&every_fault(), 8, 150), false));
}

#[test]
fn a_loop_that_is_stopped_goes_on_at_the_next_start() {
    seeds(2_000..2_200).for_each(|seed| run(seed, &Faults::none(), true));
    seeds(3_000..3_100).for_each(|seed| run(seed, &Faults::drawn(&every_fault(), 4, 150), true));
}

#[test]
fn two_loops_one_behind_the_other_end_in_turn() {
    for (seed, setup) in seeds(0..150).flat_map(|seed| setups(seed).map(|setup| (seed, setup))) {
        let (sink, rows) = CollectSink::new();
        let topology = move || {
            let topology = Topology::new("two loops");
            let numbers = topology.source("numbers", Generator::bounded(40, |i| (i, i % 7)));
            let round = |n: (u64, u64)| (n.0, n.1.saturating_sub(1));
            let first = numbers.iterate("first", |looped| {
                let stepped = looped.map(round).share();
                (stepped.stream().filter(|n| n.1 > 0), stepped.stream().filter(|n| n.1 == 0))
            });
            let second = first.map(|(n, _)| (n, n % 5)).iterate("second", |looped| {
                let stepped = looped.map(round).share();
                (stepped.stream().filter(|n| n.1 > 0), stepped.stream().filter(|n| n.1 == 0))
            });
            second.map(|(n, _)| n).sink("out", sink.clone());
            topology
        };
        let faults = if seed % 2 == 0 { Faults::none() } else { Faults::drawn(&every_fault(), 6, 150) };
        let mut simulation = Simulation::new(seed, setup, faults, topology);
        let end = simulation.run();
        assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
        same(rows.snapshot(), (0..40).collect());
    }
}

/// More circulates than the head admits, and never leaves.
#[test]
fn a_loop_that_is_always_busy_takes_checkpoints_and_stops() {
    for (seed, setup) in seeds(0..60).flat_map(|seed| setups(seed).map(|setup| (seed, setup))) {
        let (sink, rows) = CollectSink::new();
        let topology = move || {
            let topology = Topology::new("busy");
            let numbers = topology.source("numbers", Generator::unbounded(|i| i)).parallelism(2);
            let even = numbers.iterate("round", |looped| {
                let all = looped.share();
                (all.stream().filter(|n| n % 2 == 1), all.stream().filter(|n| n % 2 == 0))
            });
            even.sink("even", sink.clone());
            topology
        };
        let setup = setup.checkpoints(|checkpoints| {
            let interval = checkpoints.interval.unwrap_or(std::time::Duration::from_micros(500));
            CheckpointConfig { interval: Some(interval), ..checkpoints }
        });
        let mut simulation = Simulation::new(seed, setup, Faults::none(), topology);
        simulation.run_steps(4_000);
        simulation.request(Request::Stop);
        let end = simulation.run();
        assert!(matches!(end, Ok(JobEnd::Stopped)), "seed {seed}: {end:?}");
        assert!(rows.snapshot().iter().all(|n| n % 2 == 0));
    }
}

/// How many numbers have no divisor but 1 on the way from `first`, by a plain recursion: each number falls apart into all those it can be divided by.
fn fall_apart(first: u64, leaves: &mut Vec<(u64, u64)>, n: u64) {
    match divisors(n) {
        divisors if divisors.is_empty() => leaves.push((first, n)),
        divisors => divisors.into_iter().for_each(|divisor| fall_apart(first, leaves, divisor)),
    }
}

fn divisors(n: u64) -> Vec<u64> {
    (2..n).filter(|divisor| n.is_multiple_of(*divisor)).collect()
}

/// What circulates grows far beyond what was read, and is gone in the end.
#[test]
fn a_loop_whose_body_makes_many_records_of_one_is_exactly_once_while_it_spills() {
    let (mut spilled, mut in_flight) = (0, 0);
    for (seed, setup) in seeds(0..150).flat_map(|seed| setups(seed).map(|setup| (seed, setup))) {
        let (sink, rows) = CollectSink::new();
        let topology = move || {
            let topology = Topology::new("divisors");
            let numbers = topology.source("numbers", Generator::bounded(4, |i| (24 * (i + 1), 24 * (i + 1))));
            let leaves = numbers.iterate("fall apart", |looped| {
                let parts = looped.rebalance().flat_map(|(first, n): (u64, u64)| {
                    let divisors = divisors(n);
                    if divisors.is_empty() {
                        vec![(first, n, true)]
                    } else {
                        divisors.into_iter().map(|n| (first, n, false)).collect()
                    }
                });
                let parts = parts.share();
                let again = parts.stream().filter(|part| !part.2).map(|(first, n, _)| (first, n));
                (again, parts.stream().filter(|part| part.2).map(|(first, n, _)| (first, n)))
            });
            leaves.sink("leaves", sink.clone());
            topology
        };
        let faults = if seed % 3 == 0 { Faults::none() } else { Faults::drawn(&every_fault(), 6, 150) };
        let mut simulation = Simulation::new(seed, setup, faults, topology);
        let end = simulation.run();
        assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
        let mut expected = Vec::new();
        (1..=4).for_each(|i| fall_apart(24 * i, &mut expected, 24 * i));
        same(rows.snapshot(), expected);
        spilled += simulation.spilled();
        in_flight += simulation.restored_in_flight();
    }
    assert!(spilled > 100_000 && in_flight > 100, "{spilled} bytes were spilled, {in_flight} batches put back");
}

#[test]
fn at_least_once_a_loop_loses_nothing_and_gives_a_result_twice_only_after_a_failure() {
    let mut doubled = 0;
    for (seed, setup) in seeds(0..200).flat_map(|seed| setups(seed).map(|setup| (seed, setup))) {
        let (sink, rows) = CollectSink::new();
        let topology = move || {
            let topology = Topology::new("collatz");
            let numbers = topology.source("numbers", Generator::bounded(NUMBERS, |i| i + 1)).parallelism(2);
            let arrived = numbers.map(|n| -> Walk { (n, n, 0) }).iterate("walk", |looped| {
                let stepped = looped.rebalance().map(|(first, n, steps)| match n {
                    1 => (first, 0, steps),
                    n => (first, next(n), steps + 1),
                });
                let stepped = stepped.share();
                (stepped.stream().filter(|walk| walk.1 > 0), stepped.stream().filter(|walk| walk.1 == 0))
            });
            arrived.map(|(first, _, steps)| (first, steps)).sink("steps", sink.clone());
            topology
        };
        let faults = if seed % 4 == 0 { Faults::none() } else { Faults::drawn(&every_fault(), 6, 150) };
        let has_faults = seed % 4 != 0;
        let mut simulation = Simulation::new(seed, setup.mode(CheckpointMode::AtLeastOnce), faults, topology);
        let end = simulation.run();
        assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
        let mut once = rows.snapshot();
        once.sort_unstable();
        once.dedup();
        same(once, expected());
        let is_doubled = rows.snapshot().len() > expected().len();
        assert!(has_faults || !is_doubled, "seed {seed}: doubled without a failure");
        doubled += usize::from(is_doubled);
    }
    assert!(doubled > 5, "in only {doubled} runs");
}

#[test]
fn what_could_not_be_held_back_or_told_to_be_empty_is_refused_in_words() {
    let number = || Generator::bounded(3, |i| i);
    let refused = |topology: Topology| {
        let settings = Setup::drawn(1).settings;
        Plan::new(topology, settings).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let topology = Topology::new("fed");
    let other = topology.source("other", number());
    let out = topology.source("numbers", number()).iterate("round", |looped| {
        let all = looped.union(other).share();
        (all.stream().filter(|n| *n > 5), all.stream())
    });
    out.sink("out", CollectSink::new().0);
    let error = refused(topology);
    assert!(error.contains("come into loop 'round' otherwise than by its head"), "{error}");

    let topology = Topology::new("nested");
    let out = topology.source("numbers", number()).iterate("outer", |looped| {
        let inner = looped.iterate("inner", |looped| {
            let all = looped.share();
            (all.stream().filter(|n| *n > 5), all.stream())
        });
        let all = inner.share();
        (all.stream().filter(|n| *n > 7), all.stream())
    });
    out.sink("out", CollectSink::new().0);
    let error = refused(topology);
    assert!(error.contains("stands within loop"), "{error}");
}
