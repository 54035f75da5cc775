//! Savepoints of a job in which everything goes wrong: each is one, whole, or an error.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use cofferdam::connector::Generator;
use cofferdam_engine::{
    BoxError, CheckpointId, Sink, SubtaskIndex,
    checkpoint::{config::CheckpointConfig, coordinator::JobEnd, store::StateBackend},
    fail_point::Point,
    savepoint::{Savepoint, SavepointInfo},
    topology::Topology,
};
use cofferdam_storage::{Lmdb, Memory};
use cofferdam_testkit::{Fault, Faults, Request, Setup, Simulation, every_fault};

use crate::seeds::seeds;

const RECORDS: u64 = 200;
const KEYS: u64 = 5;

/// Counts as a sink without transactions is given them.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<Vec<(u64, u64)>>>);

impl Sink<(u64, u64)> for Counts {
    type Writer = Box<dyn FnMut((u64, u64)) -> Result<(), BoxError> + Send>;

    fn open(&self, _: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        let counts = self.0.clone();
        Ok(Box::new(move |count| {
            counts.lock().map_err(|error| error.to_string())?.push(count);
            Ok(())
        }))
    }
}

fn counting(counts: &Counts) -> impl Fn() -> Topology + 'static {
    let sink = counts.clone();
    move || {
        let topology = Topology::new("counts");
        let numbers = topology.source("numbers", Generator::bounded(RECORDS, |i| i)).parallelism(2);
        let counted = numbers.key_by(|n| n % KEYS).fold("count", 0u64, |count, _| *count += 1);
        counted.sink_at_least_once("counts", sink.clone());
        topology
    }
}

/// Asks for savepoints again and again while processes die.
fn take(seed: u64, backend: impl StateBackend, faults: Faults, directory: &Path) -> Simulation {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut simulation =
        Simulation::new(seed, Setup::drawn(seed), faults, counting(&Counts::default())).backend(backend);
    simulation = simulation.savepoints_in(directory);
    for _ in 0..30 {
        if simulation.run_steps(random.u64(20..200)).is_some() {
            break;
        }
        simulation.request(Request::Savepoint);
        if random.u32(0..10) == 0 {
            simulation.kill();
        }
    }
    assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
    simulation
}

/// Goes on from the savepoint without faults, at a parallelism of its own: each key is counted from where it stood to its last, and none twice.
fn go_on(seed: u64, info: &SavepointInfo, backend: impl StateBackend) {
    Savepoint::open(&info.path).unwrap().verify().unwrap();
    let counts = Counts::default();
    let setup = Setup::drawn(seed).parallelism(1 + seed as u32 % 4);
    // With more subtasks a checkpoint takes more steps.
    let interval = Some(setup.step_time * 200);
    let setup = setup.checkpoints(|checkpoints| CheckpointConfig { interval, ..checkpoints });
    let mut simulation = Simulation::new(seed, setup, Faults::none(), counting(&counts)).backend(backend);
    simulation.from_savepoint(&info.path);
    assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
    assert_eq!(simulation.committed()[0].1, info.checkpoint);
    assert!(simulation.triggered().iter().all(|(_, number)| *number > info.checkpoint), "a number came again");
    check(seed, &counts.0.lock().unwrap());
}

fn check(seed: u64, counts: &[(u64, u64)]) {
    let mut seen: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    counts.iter().for_each(|(key, count)| seen.entry(*key).or_default().push(*count));
    for (key, counts) in &mut seen {
        counts.sort_unstable();
        let first = counts[0];
        let expected: Vec<_> = (first..=RECORDS / KEYS).collect();
        assert_eq!(counts, &expected, "seed {seed}, key {key}");
    }
}

fn run(seed: u64, backend: impl StateBackend) -> (usize, u32) {
    let directory = tempfile::tempdir().unwrap();
    let simulation = take(seed, backend, Faults::drawn(&every_fault(), 6, 100), directory.path());
    let (written, failed) = simulation.savepoints();
    written.iter().for_each(|info| go_on(seed, info, Memory::new()));
    assert!(whole_files(directory.path()) >= written.len(), "seed {seed}");
    (written.len(), failed)
}

/// How many files there are; each is a savepoint.
fn whole_files(directory: &Path) -> usize {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| Savepoint::open(path).unwrap().verify().unwrap()).count()
}

fn sum(runs: impl Iterator<Item = (usize, u32)>) -> (usize, u32) {
    runs.fold((0, 0), |(written, failed), run| (written + run.0, failed + run.1))
}

#[test]
fn each_is_whole_and_goes_on_as_if_nothing_had_been_or_is_an_error() {
    let (written, failed) = sum(seeds(0..200).map(|seed| run(seed, Memory::new())));
    assert!(written > 500 && failed > 20, "{written} written, {failed} failed");
}

#[test]
fn is_the_same_with_lmdb() {
    let runs = (0..20).map(|seed| {
        let directory = tempfile::tempdir().unwrap();
        run(seed, Lmdb::at(directory.path()))
    });
    assert!(sum(runs).0 > 20);
}

/// A fault of the export's harms nothing but the savepoint.
#[test]
fn a_fault_while_it_is_written_leaves_the_job_alone_and_no_file() {
    for point in [Point::SavepointBegun, Point::SavepointWritten] {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(point)) {
            for seed in 0..20 {
                let directory = tempfile::tempdir().unwrap();
                let faults = Faults::none().after(0, point, fault);
                let simulation = take(seed, Memory::new(), faults, directory.path());
                let harmed = simulation.injected().len();
                assert!(!simulation.trace().contains("attempt failed"), "seed {seed}, {fault} at {}", point.name());
                let (written, failed) = simulation.savepoints();
                if harmed > 0 && matches!(fault, Fault::Error | Fault::Panic) {
                    assert!(failed > 0, "seed {seed}, {fault} at {}", point.name());
                }
                // One may be there of which a dying process was not told.
                assert!(whole_files(directory.path()) >= written.len(), "seed {seed}, {fault} at {}", point.name());
                written.iter().for_each(|info| go_on(seed, info, Memory::new()));
            }
        }
    }
}

/// A start from one that dies, again and again, ends in the job or in nothing.
#[test]
fn a_start_from_it_may_fail_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let simulation = take(3, Memory::new(), Faults::none(), directory.path());
    let (written, _) = simulation.savepoints();
    let info = written[written.len() / 2].clone();
    let of_starts = every_fault().into_iter().filter(|(point, _)| {
        use cofferdam_engine::fail_point::Party;
        matches!(point.party(), Party::Opening | Party::Store)
    });
    for (nth, (point, fault)) in of_starts.enumerate() {
        let (counts, seed) = (Counts::default(), nth as u64);
        let faults = Faults::none().after(0, point, fault);
        let mut simulation = Simulation::new(seed, Setup::drawn(seed), faults, counting(&counts));
        simulation.from_savepoint(&info.path);
        assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "{fault} at {}", point.name());
        assert_eq!(simulation.committed()[0].1, info.checkpoint, "{fault} at {}", point.name());
        assert!(simulation.stored().unwrap().origin.is_some_and(|origin| origin.checkpoint == info.checkpoint));
        let mut rows = counts.0.lock().unwrap().clone();
        rows.sort_unstable();
        rows.dedup();
        check(seed, &rows);
    }
    assert!(info.checkpoint > CheckpointId(0));
}
