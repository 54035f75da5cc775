//! Stop, drain, cancel, and starting again.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cofferdam::prelude::*;

use crate::until::until;

const EVERY: Duration = Duration::from_millis(20);

fn engine(directory: &std::path::Path) -> EngineBuilder {
    Engine::builder()
        .parallelism(2)
        .checkpoints(CheckpointConfig::every(EVERY))
        .backend(Lmdb::at(directory))
        .restart(RestartStrategy::None)
}

/// Counts per key, published as they change.
fn counting<F>(source: Generator<F>, sink: CollectSink<(u64, u64)>) -> Topology
where
    Generator<F>: Source<Record = u64>,
{
    let topology = Topology::new("counting");
    topology.source("numbers", source).key_by(|n| n % 10).fold("count", 0u64, |count, _| *count += 1).sink("out", sink);
    topology
}

/// Each key's counts are 1, 2, 3, ... without a gap or a double.
fn assert_exact(rows: Vec<(u64, u64)>) -> u64 {
    let mut rows = rows;
    rows.sort_unstable();
    let mut expected = Vec::new();
    for key in 0..10 {
        let count = rows.iter().filter(|row| row.0 == key).count() as u64;
        expected.extend((1..=count).map(|count| (key, count)));
    }
    assert_eq!(rows, expected);
    rows.len() as u64
}

#[test]
fn a_stopped_job_goes_on_as_if_never_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, rows) = CollectSink::new();
    let endless = || Generator::unbounded(|i| i).rate(20_000);
    let job = engine(directory.path()).start_blocking(counting(endless(), sink.clone())).unwrap();
    assert_eq!(job.status().started_from, Some(StartedFrom::Beginning));
    until("three checkpoints", || job.status().checkpoints_completed >= 3);
    assert_eq!(job.stop_blocking().unwrap(), JobEnd::Stopped);
    let first = assert_exact(rows.snapshot());
    assert!(first > 0);
    assert_eq!(first, job.status().records_read, "everything read before the stop is published");

    let job = engine(directory.path()).start_blocking(counting(endless(), sink)).unwrap();
    assert!(matches!(job.status().started_from, Some(StartedFrom::Checkpoint(checkpoint)) if checkpoint.0 >= 3));
    until("three more checkpoints", || job.status().checkpoints_completed >= 3);
    assert_eq!(job.stop_blocking().unwrap(), JobEnd::Stopped);
    assert!(assert_exact(rows.snapshot()) > first);
}

#[test]
fn a_drained_job_is_finished_and_a_new_start_does_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, rows) = CollectSink::new();
    let endless = || Generator::unbounded(|i| i).rate(20_000);
    let job = engine(directory.path()).start_blocking(counting(endless(), sink.clone())).unwrap();
    until("a checkpoint", || job.status().checkpoints_completed >= 1);
    assert_eq!(job.drain_blocking().unwrap(), JobEnd::Finished);
    let count = assert_exact(rows.snapshot());
    assert_eq!(count, job.status().records_read);

    let job = engine(directory.path()).start_blocking(counting(endless(), sink)).unwrap();
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
    assert!(matches!(job.status().started_from, Some(StartedFrom::Finished(_))));
    assert_eq!(assert_exact(rows.snapshot()), count);
}

#[test]
fn a_cancelled_job_deletes_its_state_and_publishes_no_half_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let (sink, rows) = CollectSink::new();
    let job = engine(&state).start_blocking(counting(Generator::unbounded(|i| i).rate(20_000), sink)).unwrap();
    until("two checkpoints", || job.status().checkpoints_completed >= 2);
    assert_eq!(job.cancel_blocking().unwrap(), JobEnd::Cancelled);
    assert!(!state.exists(), "the state directory is gone");
    assert!(assert_exact(rows.snapshot()) > 0);
}

#[test]
fn a_directory_in_use_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let endless = || Generator::unbounded(|i| i).rate(1000);
    let job = engine(directory.path()).start_blocking(counting(endless(), CollectSink::new().0)).unwrap();
    let error =
        engine(directory.path()).start_blocking(counting(endless(), CollectSink::new().0)).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains(directory.path().to_str().unwrap()), "{error}");
    job.stop_blocking().unwrap();
}

#[test]
fn the_state_of_another_topology_is_refused_with_the_operator_and_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let job = engine(directory.path())
        .start_blocking(counting(Generator::bounded(100, |i| i), CollectSink::new().0))
        .unwrap();
    job.wait_blocking().unwrap();

    let topology = Topology::new("counting");
    topology
        .source("numbers", Generator::bounded(100, |i| i))
        .key_by(|n| n % 10)
        .fold("total", 0u64, |total, n| *total += n)
        .sink("out", CollectSink::new().0);
    let error = engine(directory.path()).start_blocking(topology).map(|_| ()).unwrap_err().to_string();
    for part in ["'count'", "no such step", "uid", "delete the state", directory.path().to_str().unwrap()] {
        assert!(error.contains(part), "{part} in: {error}");
    }

    let topology = Topology::new("another");
    topology.source("numbers", Generator::bounded(1, |i| i)).sink("out", CollectSink::new().0);
    let error = engine(directory.path()).start_blocking(topology).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("it is the state of job 'counting'"), "{error}");
}

#[test]
fn a_value_of_another_type_is_refused_with_operator_and_state() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, rows) = CollectSink::new();
    let job =
        engine(directory.path()).start_blocking(counting(Generator::unbounded(|i| i).rate(10_000), sink)).unwrap();
    until("rows", || !rows.snapshot().is_empty());
    job.stop_blocking().unwrap();

    let topology = Topology::new("counting");
    topology
        .source("numbers", Generator::unbounded(|i| i).rate(1000))
        .key_by(|n| n % 10)
        .fold("count", String::new(), |text: &mut String, _| text.push('x'))
        .map(|(key, text)| (key, text.len() as u64))
        .sink("out", CollectSink::new().0);
    let error = engine(directory.path()).start_blocking(topology).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("count/value"), "{error}");
}

#[test]
fn a_sink_slower_than_its_source_holds_memory_bounded() {
    let topology = Topology::new("slow");
    let read = Arc::new(AtomicU64::new(0));
    let written = Arc::new(AtomicU64::new(0));
    let (counter, done) = (read.clone(), written.clone());
    let lead = Arc::new(AtomicU64::new(0));
    let most = lead.clone();
    topology
        .source("numbers", Generator::bounded(30_000, |i| i))
        .parallelism(1)
        .inspect(move |_| {
            let read = counter.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(read - done.load(Ordering::Relaxed), Ordering::Relaxed);
        })
        .key_by(|n| *n)
        .parallelism(1)
        .fold("count", 0u64, |count, _| *count += 1)
        .inspect(move |_| {
            if written.fetch_add(1, Ordering::Relaxed).is_multiple_of(100) {
                std::thread::sleep(Duration::from_millis(1));
            }
        })
        .sink("out", CollectSink::new().0);
    let job = Engine::builder().batch_size(16).start_blocking(topology).unwrap();
    job.wait_blocking().unwrap();
    // One channel of 16 batches, a batch on each side, and one being filled.
    assert!(lead.load(Ordering::Relaxed) <= 16 * 20, "the source was {} records ahead", lead.load(Ordering::Relaxed));
    assert_eq!(read.load(Ordering::Relaxed), 30_000);
}

#[test]
fn restarts_of_a_job_that_always_fails_end_with_the_first_cause() {
    let topology = Topology::new("doomed");
    topology
        .source("numbers", Generator::bounded(10, |i| i))
        .try_map(|n: u64| if n == 3 { Err("three is too many") } else { Ok(n) })
        .name("counter")
        .sink("out", CollectSink::new().0);
    let strategy = RestartStrategy::FixedDelay { attempts: 2, delay: Duration::from_millis(1) };
    let job = Engine::builder().parallelism(1).restart(strategy).start_blocking(topology).unwrap();
    let error = job.wait_blocking().unwrap_err();
    assert_eq!(
        error.to_string(),
        "given up after 2 restarts: job 'doomed', operator 'counter', subtask 0 failed: three is too many"
    );
    assert_eq!(job.status().restarts, 2);
}

#[test]
fn a_broadcast_reaches_every_subtask_and_a_shared_stream_every_consumer() {
    let topology = Topology::new("copies");
    let (all, all_rows) = CollectSink::new();
    let (even, even_rows) = CollectSink::new();
    let (odd, odd_rows) = CollectSink::new();
    let numbers = topology.source("numbers", Generator::bounded(1000, |i| i)).share();
    numbers.stream().broadcast().parallelism(3).sink("all", all);
    numbers.stream().filter(|n| n % 2 == 0).sink("even", even);
    let left = numbers.stream().filter(|n| n % 2 == 1);
    left.union(topology.source("more", Generator::bounded(10, |i| 2001 + 2 * i))).rebalance().sink("odd", odd);
    Engine::builder().parallelism(2).start_blocking(topology).unwrap().wait_blocking().unwrap();
    let sorted = |rows: Collected<u64>| {
        let mut rows = rows.snapshot();
        rows.sort_unstable();
        rows
    };
    assert_eq!(sorted(all_rows), (0..1000u64).flat_map(|n| [n; 3]).collect::<Vec<_>>());
    assert_eq!(sorted(even_rows), (0..1000).step_by(2).collect::<Vec<_>>());
    assert_eq!(sorted(odd_rows), (1..1000).step_by(2).chain((2001..2021).step_by(2)).collect::<Vec<_>>());
}

#[test]
fn an_exploding_flat_map_neither_stalls_the_job_nor_outgrows_its_output() {
    let topology = Topology::new("explosion");
    let (sink, rows) = CollectSink::new();
    topology
        .source("numbers", Generator::bounded(3, |i| i))
        .parallelism(1)
        .flat_map(|n: u64| (0..1_000_000u64).map(move |m| n + m))
        .key_by(|n| n % 2)
        .process("sum", |_: &u64, n: u64, sum: &mut ValueState<u64>, out: &mut Collector<u64>| {
            let sum = sum.update(
                || 0,
                |sum| {
                    *sum += 1;
                    *sum
                },
            );
            if sum.is_multiple_of(500_000) {
                out.emit(n);
            }
        })
        .sink("out", sink);
    let job = engine(tempfile::tempdir().unwrap().path()).start_blocking(topology).unwrap();
    job.wait_blocking().unwrap();
    assert_eq!(rows.snapshot().len(), 6);
}

/// Numbers that cannot be read: the first try fails at once, every later one when the test says so.
struct Stubborn {
    tries: Arc<AtomicU64>,
    go: Arc<AtomicBool>,
}

impl Source for Stubborn {
    type Record = u64;
    type Split = ();
    type Position = ();
    type Reader = Nothing;

    fn is_bounded(&self) -> bool {
        true
    }

    fn splits(&self, _parallelism: u32) -> Result<Vec<()>, BoxError> {
        Ok(vec![()])
    }

    fn open(&self, (): &(), _position: Option<&()>) -> Result<Nothing, BoxError> {
        let is_first = self.tries.fetch_add(1, Ordering::SeqCst) == 0;
        while !is_first && !self.go.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Err("there is nothing to read".into())
    }
}

struct Nothing;

impl SplitReader for Nothing {
    type Record = u64;
    type Position = ();

    fn read(&mut self, _now: ProcessingTime) -> Result<Read<u64>, BoxError> {
        Ok(Read::End)
    }

    fn position(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn a_job_that_cannot_open_can_still_be_stopped() {
    let (tries, go) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let topology = Topology::new("stubborn");
    topology
        .source("numbers", Stubborn { tries: tries.clone(), go: go.clone() })
        .parallelism(1)
        .sink("out", CollectSink::new().0);
    let strategy = RestartStrategy::FixedDelay { attempts: u32::MAX, delay: Duration::from_millis(1) };
    let job = Engine::builder().restart(strategy).start_blocking(topology).unwrap();
    until("the second try", || tries.load(Ordering::SeqCst) == 2);
    // However the request and the failure meet now, the job must not go on trying.
    let stopping = job.clone();
    let stop = std::thread::spawn(move || stopping.stop_blocking());
    go.store(true, Ordering::SeqCst);
    until("the end", || stop.is_finished());
    let error = stop.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("there is nothing to read"), "{error}");
}
