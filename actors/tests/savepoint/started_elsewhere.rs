//! A job goes on from a savepoint, in places of its own, as if it had never been interrupted.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cofferdam::prelude::*;
use cofferdam_engine::checkpoint::store::StateBackend;

use crate::support::*;

/// Starts the copy at another parallelism, with the first job's output elsewhere, and compares all that the two publish with what one would.
fn goes_on_elsewhere(checkpoints: CheckpointConfig, parallelism: u32, place: impl Fn(&Places) -> Box<dyn Start>) {
    let places = Places::new();
    let (limit, output) = (Limit::of(3_000), places.at("output"));
    let job = engine()
        .checkpoints(checkpoints)
        .backend(Lmdb::at(places.at("state")))
        .start_blocking(counting(&limit, &output))
        .unwrap();
    until("some are read", || job.status().records_read >= 1_000);
    let info = job.savepoint_blocking(places.at("savepoint")).unwrap();
    limit.raise(5_000);
    run_to(&job, &output, 5_000);
    assert_eq!(published(&output), expected(5_000), "the job went on undisturbed");

    let (copy, elsewhere) = (places.at("copy"), places.at("elsewhere"));
    fs::copy(&info.path, &copy).unwrap();
    fs::remove_dir_all(places.at("state")).unwrap();
    fs::remove_file(&info.path).unwrap();
    // What was prepared when the savepoint was taken has been published where the first job's output is.
    let builder = engine().parallelism(parallelism).from_savepoint(&copy).discard_prepared(true);
    let job = place(&places).start(builder, counting(&Limit::of(7_000), &elsewhere));
    assert_eq!(job.status().started_from, Some(StartedFrom::Savepoint(info.checkpoint)));
    fs::remove_file(&copy).unwrap();
    let before = published_up_to(&output, info.checkpoint);
    run_to(&job, &elsewhere, 7_000 - before.len());
    assert_eq!(together(before, published(&elsewhere)), expected(7_000));
}

/// A backend, whatever its type.
trait Start {
    fn start(self: Box<Self>, builder: EngineBuilder, topology: Topology) -> cofferdam::JobHandle;
}

impl<B: StateBackend> Start for B {
    fn start(self: Box<Self>, builder: EngineBuilder, topology: Topology) -> cofferdam::JobHandle {
        builder.backend(*self).start_blocking(topology).unwrap()
    }
}

fn often() -> CheckpointConfig {
    CheckpointConfig::every(Duration::from_millis(2))
}

#[test]
fn in_memory_with_more_subtasks() {
    goes_on_elsewhere(often(), 3, |_| Box::new(Memory::new()));
}

#[test]
fn in_lmdb_with_fewer() {
    goes_on_elsewhere(often(), 1, |places| Box::new(Lmdb::at(places.at("second state"))));
}

#[test]
fn from_a_job_whose_barriers_overtake() {
    goes_on_elsewhere(often().unaligned(Duration::ZERO), 3, |_| Box::new(Memory::new()));
}

#[test]
fn from_one_that_takes_no_checkpoints_of_its_own() {
    let places = Places::new();
    let given = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let topology = |limit: &Limit| {
        let topology = Topology::new("counting");
        let numbers = topology.source("numbers", limit.clone());
        let counts = numbers.key_by(|number| number % KEYS).fold("count", 0u64, |count, _| *count += 1);
        counts.sink_at_least_once("rows", Rows(given.clone()));
        topology
    };
    let builder = || Engine::builder().parallelism(2);
    let job = builder().start_blocking(topology(&Limit::of(500))).unwrap();
    until("all is read", || given.lock().unwrap().len() == 500);
    let info = job.savepoint_blocking(places.at("savepoint")).unwrap();
    assert_eq!((info.checkpoint, info.prepared.len()), (CheckpointId(1), 0));
    job.cancel_blocking().unwrap();
    let job = builder().from_savepoint(&info.path).start_blocking(topology(&Limit::of(900))).unwrap();
    until("the rest", || given.lock().unwrap().len() == 900);
    job.cancel_blocking().unwrap();
    let mut rows = given.lock().unwrap().clone();
    rows.sort_unstable();
    assert_eq!(rows, expected(900));
}

/// Rows given to a sink without transactions.
struct Rows(std::sync::Arc<std::sync::Mutex<Vec<(u64, u64)>>>);

impl Sink<(u64, u64)> for Rows {
    type Writer = Box<dyn FnMut((u64, u64)) -> Result<(), BoxError> + Send>;

    fn open(&self, _: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        let rows = self.0.clone();
        Ok(Box::new(move |row| {
            rows.lock().unwrap().push(row);
            Ok(())
        }))
    }
}

#[test]
fn where_its_sinks_have_published_it_is_an_ordinary_going_on() {
    let places = Places::new();
    let info = stopped(&places, 300);
    assert!(info.prepared.is_empty());
    let output = places.at("output");
    let builder = engine().backend(Memory::new()).from_savepoint(&info.path);
    let job = builder.start_blocking(counting(&Limit::of(800), &output)).unwrap();
    run_to(&job, &output, 800);
    assert_eq!(published(&output), expected(800));
}

#[test]
fn a_chain_of_savepoints_leads_to_what_one_run_leads_to() {
    let places = Places::new();
    let mut info = stopped(&places, 200);
    let mut rows = published(&places.at("output"));
    for step in 1..5u64 {
        let numbers = 200 + step * 150;
        let output = places.at(&format!("output {step}"));
        let builder = engine().parallelism(step as u32).from_savepoint(&info.path);
        let job = builder.start_blocking(counting(&Limit::of(numbers), &output)).unwrap();
        until("all is read", || job.status().records_read == 150);
        let next = job.stop_with_savepoint_blocking(places.at(&format!("savepoint {step}"))).unwrap();
        assert_eq!(next.job, info.job, "it is the same job");
        assert!(next.checkpoint > info.checkpoint && next.id != info.id);
        rows = together(rows, published(&output));
        assert_eq!(rows, expected(numbers));
        info = next;
    }
}

/// Each number goes round a loop for as long as `holds` says.
fn going_round(limit: &Limit, holds: &Arc<AtomicBool>, output: &std::path::Path) -> Topology {
    let topology = Topology::new("round");
    let numbers = topology.source("numbers", limit.clone()).map(|number| (number, false));
    let holds = holds.clone();
    let done = numbers.iterate("again", move |looped| {
        let rounds = looped.key_by(|(number, _)| *number).fold("rounds", 0u64, |rounds, _: (u64, bool)| *rounds += 1);
        let decided = rounds.map(move |(number, _)| (number, holds.load(Ordering::SeqCst))).share();
        (decided.stream().filter(|(_, goes_on)| *goes_on), decided.stream().filter(|(_, goes_on)| !*goes_on))
    });
    done.map(|(number, _)| (number, 0u64)).sink("rows", FileSink::json_lines(output));
    topology
}

#[test]
fn what_goes_round_a_loop_goes_on_round_it() {
    let places = Places::new();
    let (limit, holds, output) = (Limit::of(300), Arc::new(AtomicBool::new(true)), places.at("output"));
    let job = engine().start_blocking(going_round(&limit, &holds, &output)).unwrap();
    until("all is read", || job.status().records_read == 300);
    let infos = [0, 1, 2].map(|number| job.savepoint_blocking(places.at(&format!("savepoint {number}"))).unwrap());
    holds.store(false, Ordering::SeqCst);
    run_to(&job, &output, 300);
    for (number, info) in infos.iter().enumerate() {
        assert!(!cofferdam::Savepoint::open(&info.path).unwrap().metadata().in_flight.is_empty());
        let elsewhere = places.at(&format!("elsewhere {number}"));
        let start = engine().parallelism(1 + number as u32).from_savepoint(&info.path);
        let job = start.start_blocking(going_round(&Limit::of(400), &holds, &elsewhere)).unwrap();
        run_to(&job, &elsewhere, 400);
        assert_eq!(published(&elsewhere), (0..400).map(|number| (number, 0)).collect::<Vec<_>>());
    }
}
