//! State of every type, under every fault, and on 1, 4, 3 and 2 subtasks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cofferdam::connector::{CollectSink, Collected, Generator};
use cofferdam_engine::{
    checkpoint::coordinator::JobEnd,
    state::{self, Ttl},
    topology::Topology,
};
use cofferdam_testkit::{Faults, Setup, Simulation, every_fault};

use crate::{
    cases::{RECORDS, same},
    seeds::seeds,
};

type Rows = Collected<(u64, u64)>;

/// What a topology is, and what it must have published.
struct Case {
    topology: fn(CollectSink<(u64, u64)>) -> Topology,
    check: fn(Vec<(u64, u64)>),
    /// Records in flight between equal numbers of subtasks bind the job to that number.
    is_aligned: bool,
}

const CASES: [Case; 3] = [
    Case { topology: keyed, check: check_keyed, is_aligned: false },
    Case { topology: held, check: check_held, is_aligned: true },
    Case { topology: rules, check: check_rules, is_aligned: false },
];

fn number(i: u64) -> u64 {
    i * i * 7 + i
}

const KEYS: u64 = 5;

/// Six states of a key, each of which must have seen the same records; the last record of a key tells what is in them.
fn keyed(sink: CollectSink<(u64, u64)>) -> Topology {
    let topology = Topology::new("keyed");
    let states = (
        state::value::<u64>("count"),
        state::list::<u64>("list"),
        state::map::<u64, u64>("map"),
        state::reducing("most", |most: &mut u64, n: u64| *most = n.max(*most)),
        state::map::<u64, u64>("alive").ttl(Ttl::after(Duration::from_secs(3600)).refreshed_on_read()),
        state::list::<u64>("recent").ttl(Ttl::after(Duration::from_micros(1))),
    );
    let totals = totals();
    topology
        .source("numbers", Generator::bounded(RECORDS, number))
        .key_by(|n| n % KEYS)
        .process_with("states", states, move |key, n, (count, list, map, most, alive, recent), out| {
            count.update(|| 0, |count| *count += 1);
            list.push(n);
            map.update(n % 7, || 0, |sum| *sum += n);
            most.add(n);
            alive.insert(n, n + 1);
            recent.push(n);
            let count = count.get().copied().unwrap_or_default();
            assert_eq!((list.len() as u64, alive.len() as u64), (count, count), "states of one moment");
            assert!(alive.iter().all(|(n, next)| n + 1 == *next));
            // How much time passes is the simulation's choice.
            assert_eq!(recent.iter().last(), Some(&n));
            out.emit((*key, count));
            if count == totals[key].len() as u64 {
                out.emit((1000 + key, list.iter().sum()));
                out.emit((2000 + key, map.values().sum()));
                out.emit((3000 + key, map.len() as u64));
                out.emit((4000 + key, most.get().copied().unwrap_or_default()));
            }
        })
        .sink("rows", sink);
    topology
}

/// The records of each key.
fn totals() -> BTreeMap<u64, Vec<u64>> {
    let mut totals: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    (0..RECORDS).map(number).for_each(|n| totals.entry(n % KEYS).or_default().push(n));
    totals
}

fn check_keyed(rows: Vec<(u64, u64)>) {
    let expected = totals().into_iter().flat_map(|(key, all)| {
        let kinds: BTreeSet<_> = all.iter().map(|n| n % 7).collect();
        let sum = all.iter().sum();
        let last = [(1000, sum), (2000, sum), (3000, kinds.len() as u64), (4000, *all.iter().max().unwrap())];
        let counts = (1..=all.len() as u64).map(move |count| (key, count));
        counts.chain(last.map(|(kind, n)| (kind + key, n)))
    });
    same(rows, expected.collect());
}

const DATA: u8 = 0;
const TICK: u8 = 1;
const END: u8 = 2;

/// The last of them is the end.
const TICKS: u64 = 20;

/// Numbers are held back, wherever they happen to be, until the end is told to all subtasks; then each is given once from the list and once from the
/// union.
fn held(sink: CollectSink<(u64, u64)>) -> Topology {
    let topology = Topology::new("held");
    let numbers = topology.source("numbers", Generator::bounded(RECORDS, |n| (DATA, n)));
    let ticks = Generator::bounded(TICKS, |n| (if n + 1 == TICKS { END } else { TICK }, n)).rate(4_000);
    let ends = topology.source("ends", ticks).parallelism(1);
    let union = state::union::<u64>("union").on_restore(|all, subtask, parallelism| {
        all.into_iter().filter(|n| n % u64::from(parallelism) == u64::from(subtask.0)).collect()
    });
    let states = (state::list::<u64>("list"), union, state::broadcast::<u64, bool>("ended"));
    numbers
        .rebalance()
        .union(ends.broadcast())
        .process_operator("held", states, |(what, n), (list, union, ended), out| {
            match what {
                DATA => {
                    list.push(n);
                    union.push(n);
                }
                END => drop(ended.insert(0, true)),
                _ => {}
            }
            if ended.contains_key(&0) {
                list.drain(..).for_each(|n| out.emit((0, n)));
                union.drain(..).for_each(|n| out.emit((1, n)));
            }
        })
        .sink("rows", sink);
    topology
}

fn check_held(rows: Vec<(u64, u64)>) {
    let of = |kind| rows.iter().filter(move |(row, _)| *row == kind).map(|(_, n)| *n);
    same(of(0).collect(), (0..RECORDS).collect());
    same(of(1).collect(), (0..RECORDS).collect());
}

/// Every rule goes to every subtask; the last one has each tell what it knows.
fn rules(sink: CollectSink<(u64, u64)>) -> Topology {
    let topology = Topology::new("rules");
    topology
        .source("rules", Generator::bounded(RECORDS, |n| n))
        .parallelism(1)
        .broadcast()
        .process_operator("known", state::broadcast::<u64, u64>("known"), |n, known, out| {
            known.insert(n, number(n));
            if n == RECORDS - 1 {
                out.emit((known.len() as u64, known.values().sum::<u64>()));
            }
        })
        .sink("rows", sink);
    topology
}

fn check_rules(rows: Vec<(u64, u64)>) {
    let all = (RECORDS, (0..RECORDS).map(number).sum());
    assert!(!rows.is_empty() && rows.iter().all(|row| *row == all), "{rows:?}, and each should be {all:?}");
}

fn simulation(case: &'static Case, seed: u64, faults: Faults) -> (Simulation, Rows) {
    let (sink, rows) = CollectSink::new();
    let setup = Setup::drawn(seed).checkpoints(|mut checkpoints| {
        if case.is_aligned {
            (checkpoints.unaligned, checkpoints.aligned_timeout) = (false, Duration::ZERO);
        }
        checkpoints
    });
    (Simulation::new(seed, setup, faults, move || (case.topology)(sink.clone())), rows)
}

fn finish(simulation: &mut Simulation, seed: u64) {
    let end = simulation.run();
    assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}\n{}", simulation.trace());
}

#[test]
fn state_of_every_type_is_exact_under_any_faults() {
    for seed in seeds(0..450) {
        let case = &CASES[seed as usize % CASES.len()];
        let (mut simulation, rows) = simulation(case, seed, Faults::drawn(&every_fault(), 8, 150));
        finish(&mut simulation, seed);
        (case.check)(rows.snapshot());
    }
}

#[test]
fn state_of_every_type_is_exact_on_1_then_4_then_3_then_2_subtasks_whatever_the_checkpoint() {
    let mut in_flight = 0;
    for seed in seeds(0..450) {
        let case = &CASES[seed as usize % CASES.len()];
        let (mut simulation, rows) = simulation(case, seed, Faults::drawn(&every_fault(), 3, 200));
        simulation.set_up(|setup| setup.settings.parallelism = 1);
        let mut random = fastrand::Rng::with_seed(seed);
        for parallelism in [4, 3, 2] {
            simulation.run_steps(random.u64(20..250));
            simulation.kill();
            simulation.set_up(|setup| setup.settings.parallelism = parallelism);
            in_flight += simulation.restored_in_flight();
        }
        finish(&mut simulation, seed);
        (case.check)(rows.snapshot());
    }
    assert!(in_flight > 0, "nothing was ever in flight");
}
