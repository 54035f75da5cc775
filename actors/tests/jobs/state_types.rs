//! Every type of state through failures, stops and starts at other parallelisms.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use cofferdam::prelude::*;

use crate::until::until;

const NUMBERS: u64 = 12_000;
const RULES: u64 = 300;
const ENDS: u64 = 300;

/// A key, its list's sum, its map, and the most that it has seen.
type Digest = (u64, u64, BTreeMap<u64, u64>, u64);

/// What came out, as far as it does not depend on which subtask did what.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rows {
    keyed: Vec<Digest>,
    list: Vec<u64>,
    union: Vec<u64>,
    broadcast: BTreeSet<(u64, u64)>,
}

#[derive(Clone)]
struct Sinks {
    keyed: CollectSink<Digest>,
    held: CollectSink<(u8, u64)>,
    rules: CollectSink<(u64, u64)>,
}

struct Collected3(Collected<Digest>, Collected<(u8, u64)>, Collected<(u64, u64)>);

fn sinks() -> (Sinks, Collected3) {
    let ((keyed, a), (held, b), (rules, c)) = (CollectSink::new(), CollectSink::new(), CollectSink::new());
    (Sinks { keyed, held, rules }, Collected3(a, b, c))
}

impl Collected3 {
    fn rows(&self) -> Rows {
        let of = |kind| self.1.snapshot().into_iter().filter(move |(row, _)| *row == kind).map(|(_, n)| n);
        let mut rows = Rows {
            keyed: self.0.snapshot(),
            list: of(LIST).collect(),
            union: of(UNION).collect(),
            broadcast: self.2.snapshot().into_iter().collect(),
        };
        rows.keyed.sort();
        rows.list.sort_unstable();
        rows.union.sort_unstable();
        rows
    }
}

const LIST: u8 = 0;
const UNION: u8 = 1;

const DATA: u8 = 0;
const TICK: u8 = 1;
const END: u8 = 2;

/// Fails at the next number if `fails` is set, which it then no longer is.
fn topology(sinks: &Sinks, fails: &Arc<AtomicBool>) -> Topology {
    let topology = Topology::new("states");
    let numbers = topology.source("numbers", Generator::bounded(NUMBERS, |n| n).rate(4_000)).parallelism(1).share();
    let fails = fails.clone();
    let states = (
        state::value::<u64>("count"),
        state::list::<u64>("list"),
        state::map::<u64, u64>("map").ttl(Ttl::after(Duration::from_secs(3600))),
        state::reducing("most", |most: &mut u64, n: u64| *most = n.max(*most)),
    );
    numbers
        .stream()
        .parallelism(1) // so that the records of a key stay in order
        .key_by(|n| n % 13)
        .process_with("keyed", states, move |key, n, (count, list, map, most), out| {
            assert!(!fails.swap(false, Ordering::SeqCst), "number {n} fails");
            count.update(|| 0, |count| *count += 1);
            list.push(n);
            if list.len() > 20 {
                list.pop_front();
            }
            map.update(n % 5, || 0, |sum| *sum += n);
            most.add(n);
            let entries = map.iter().map(|(kind, sum)| (*kind, *sum)).collect();
            out.emit((*key * 1_000 + count.get().unwrap(), list.iter().sum(), entries, *most.get().unwrap()));
        })
        .sink("keyed-rows", sinks.keyed.clone());
    // Held back, wherever they happen to be, until the end is told to every subtask.
    let ticks = Generator::bounded(ENDS, |n| (if n + 1 == ENDS { END } else { TICK }, n)).rate(100);
    let ends = topology.source("ends", ticks).parallelism(1).broadcast();
    let union = state::union::<u64>("union").on_restore(|all, subtask, parallelism| {
        all.into_iter().filter(|n| n % u64::from(parallelism) == u64::from(subtask.0)).collect()
    });
    let states = (state::list::<u64>("list"), union, state::broadcast::<u8, bool>("ended"));
    numbers
        .stream()
        .map(|n| (DATA, n))
        .rebalance()
        .union(ends)
        .process_operator("held", states, |(what, n), (list, union, ended), out| {
            match what {
                DATA => {
                    list.push(n);
                    union.push(n);
                }
                END => drop(ended.insert(END, true)),
                _ => {}
            }
            if ended.contains_key(&END) {
                list.drain(..).for_each(|n| out.emit((LIST, n)));
                union.drain(..).for_each(|n| out.emit((UNION, n)));
            }
        })
        .sink("held-rows", sinks.held.clone());
    topology
        .source("rules", Generator::bounded(RULES, |n| n).rate(100))
        .parallelism(1)
        .broadcast()
        .process_operator("known", state::broadcast::<u64, u64>("rules"), |n, known, out| {
            known.insert(n, n * n);
            if n + 1 == RULES {
                out.emit((known.len() as u64, known.values().sum::<u64>()));
            }
        })
        .sink("rules-rows", sinks.rules.clone());
    topology
}

fn engine(state: &Path, parallelism: u32) -> EngineBuilder {
    Engine::builder()
        .parallelism(parallelism)
        .checkpoints(CheckpointConfig::every(Duration::from_millis(20)))
        .backend(Lmdb::at(state))
        .restart(RestartStrategy::FixedDelay { attempts: 10, delay: Duration::from_millis(1) })
}

#[test]
fn on_1_then_4_then_3_then_2_subtasks_and_through_failures_every_state_is_that_of_an_undisturbed_run() {
    let fails = Arc::new(AtomicBool::new(false));
    let (sinks_undisturbed, undisturbed) = sinks();
    let directory = tempfile::tempdir().unwrap();
    let job = engine(directory.path(), 1).start_blocking(topology(&sinks_undisturbed, &Arc::default())).unwrap();

    let (sinks, rows) = sinks();
    let directory = tempfile::tempdir().unwrap();
    for parallelism in [1, 4, 3] {
        let job = engine(directory.path(), parallelism).start_blocking(topology(&sinks, &fails)).unwrap();
        until("two checkpoints", || job.status().checkpoints_completed >= 2);
        fails.store(true, Ordering::SeqCst);
        until("a failure", || !job.failures().is_empty());
        let before = job.status().checkpoints_completed;
        until("two more checkpoints", || job.status().checkpoints_completed >= before + 2);
        assert_eq!(job.stop_blocking().unwrap(), JobEnd::Stopped, "on {parallelism}");
        assert_eq!(job.failures().len(), 1);
    }
    let last = engine(directory.path(), 2).start_blocking(topology(&sinks, &fails)).unwrap();
    assert_eq!(last.wait_blocking().unwrap(), JobEnd::Finished);
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
    let (rows, expected) = (rows.rows(), undisturbed.rows());
    assert_eq!(rows.list, (0..NUMBERS).collect::<Vec<_>>());
    assert_eq!(rows.union, rows.list);
    assert_eq!(rows.broadcast, BTreeSet::from([(RULES, (0..RULES).map(|n| n * n).sum())]));
    assert!(rows == expected, "{rows:?}\nand undisturbed\n{expected:?}");
}

/// Whether the state of the one key there is was seen by each record.
fn seeing(ttl: Duration, sink: CollectSink<bool>) -> Topology {
    let topology = Topology::new("seeing");
    topology
        .source("numbers", Generator::unbounded(|n| n).rate(1_000))
        .key_by(|_| 0u8)
        .process_with("seen", state::value::<u64>("last").ttl(Ttl::after(ttl)), |_, n, last, out| {
            out.emit(last.get().is_some());
            last.set(n);
        })
        .sink("rows", sink);
    topology
}

#[test]
fn time_to_live_goes_on_while_the_job_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, rows) = CollectSink::new();
    let first_seen = |ttl| {
        let checkpoints = CheckpointConfig::every(Duration::from_millis(5));
        let engine = Engine::builder().parallelism(1).checkpoints(checkpoints).backend(Lmdb::at(directory.path()));
        let job = engine.start_blocking(seeing(ttl, sink.clone())).unwrap();
        until("a row", || !rows.snapshot().is_empty());
        job.stop_blocking().unwrap();
        let stopped = SystemTime::now();
        until("time passes", || stopped.elapsed().is_ok_and(|passed| passed > Duration::from_millis(5)));
        rows.take()[0]
    };
    let (long, short) = (Duration::from_secs(3600), Duration::from_millis(3));
    assert!(!first_seen(long), "nothing is there yet");
    assert!(first_seen(long));
    assert!(!first_seen(short), "it was written more than three milliseconds ago");
    assert!(first_seen(long), "written by the run before");
}

#[test]
fn the_states_of_a_step_are_in_what_it_is_refused_with() {
    let directory = tempfile::tempdir().unwrap();
    let job = engine(directory.path(), 1).start_blocking(seeing(Duration::from_secs(1), CollectSink::new().0)).unwrap();
    until("a checkpoint", || job.status().checkpoints_completed >= 1);
    job.stop_blocking().unwrap();
    let topology = Topology::new("seeing");
    topology
        .source("numbers", Generator::unbounded(|n| n).rate(1_000))
        .key_by(|_| 0u8)
        .process_with("seen", state::map::<u64, u64>("last"), |_, n, last, out| out.emit(last.contains(&n)))
        .sink("rows", CollectSink::new().0);
    let error = engine(directory.path(), 1).start_blocking(topology).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let text = error.to_string();
    assert!(text.contains("state 'last' of 'seen' was of kind 'value', and is of kind 'map' now"), "{text}");
}
