//! Asking for a savepoint: what comes of it, and what does not.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cofferdam::{Savepoint, prelude::*};
use cofferdam_engine::checkpoint::stats::CheckpointKind;

use crate::support::*;

/// The names in a directory.
fn names(path: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn it_is_a_checkpoint_among_the_others_and_the_file_says_what_it_is() {
    let places = Places::new();
    let job = engine().start_blocking(counting(&Limit::of(1_000), &places.at("output"))).unwrap();
    until("all is read", || job.status().records_read == 1_000);
    let before = std::time::SystemTime::now() - Duration::from_millis(1);
    let info = job.savepoint_blocking(places.at("savepoint")).unwrap();
    let history = job.checkpoints();
    let taken = history.iter().find(|one| one.checkpoint == info.checkpoint).unwrap();
    assert_eq!((taken.kind, &taken.aborted), (CheckpointKind::Savepoint, &None));
    job.stop_blocking().unwrap();

    let mut file = Savepoint::open(&info.path).unwrap();
    file.verify().unwrap();
    assert_eq!((file.id(), file.length(), file.prepared()), (info.id, info.bytes, info.prepared.clone()));
    assert_eq!(info.bytes, fs::metadata(&info.path).unwrap().len());
    assert_eq!(file.states().map(|(state, bytes)| (state.clone(), bytes)).collect::<Vec<_>>(), info.states);
    assert!(before <= file.written() && file.written() <= std::time::SystemTime::now());
    let metadata = file.metadata();
    assert_eq!((metadata.job, &metadata.job_name, metadata.checkpoint), (info.job, &info.job_name, info.checkpoint));
    assert!(metadata.in_flight.is_empty());
    assert!(info.states.iter().any(|(state, bytes)| state.operator == "count" && *bytes > 0));
}

#[test]
fn several_at_once_are_each_whole() {
    let places = Places::new();
    let (limit, output) = (Limit::of(u64::MAX), places.at("output"));
    let job = engine().start_blocking(counting(&limit, &output)).unwrap();
    until("some are read", || job.status().records_read > 1_000);
    let infos: Vec<_> = std::thread::scope(|scope| {
        let take = |number: usize| {
            let (job, path) = (&job, places.at(&format!("savepoint {number}")));
            scope.spawn(move || job.savepoint_blocking(path).unwrap())
        };
        let threads: Vec<_> = (0..5).map(take).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    job.stop_blocking().unwrap();
    let mut ids: Vec<_> = infos.iter().map(|info| info.id.to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    for (number, info) in infos.iter().enumerate() {
        Savepoint::open(&info.path).unwrap().verify().unwrap();
        let elsewhere = places.at(&format!("elsewhere {number}"));
        let before = published_up_to(&output, info.checkpoint);
        let numbers = before.len() as u64 + 500;
        let builder = engine().from_savepoint(&info.path).discard_prepared(true);
        // The two splits were cut where they were; numbers up to a limit well above both.
        let job = builder.start_blocking(counting(&Limit::of(numbers * 2), &elsewhere)).unwrap();
        run_to(&job, &elsewhere, (numbers * 2) as usize - before.len());
        assert_eq!(together(before, published(&elsewhere)), expected(numbers * 2));
    }
}

#[test]
fn a_path_that_cannot_be_written_is_an_error_and_the_job_goes_on() {
    let places = Places::new();
    let output = places.at("output");
    let limit = Limit::of(100);
    let job = engine().start_blocking(counting(&limit, &output)).unwrap();
    fs::write(places.at("taken"), "somebody's").unwrap();
    let wrong = [
        (places.at("taken"), "which is not overwritten"),
        (places.at("no such directory").join("savepoint"), "cannot be written: No such file"),
        (places.at("taken").join("savepoint"), "cannot be written: Not a directory"),
        (places.at(".."), "savepoint '"),
    ];
    for (path, what) in &wrong {
        for stops in [false, true] {
            let taken = if stops { job.stop_with_savepoint_blocking(path) } else { job.savepoint_blocking(path) };
            let error = taken.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Savepoint, "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
    }
    assert_eq!(fs::read_to_string(places.at("taken")).unwrap(), "somebody's");
    limit.raise(200);
    run_to(&job, &output, 200);
    assert_eq!(published(&output), expected(200));
    assert_eq!(names(&places.at("")), ["output", "taken"], "nothing is left over");
}

#[test]
fn a_job_that_is_being_restarted_says_so_and_takes_one_when_it_runs_again() {
    let places = Places::new();
    let (limit, output, fails) = (Limit::of(300), places.at("output"), Arc::new(AtomicBool::new(false)));
    let topology = {
        let topology = Topology::new("counting");
        let (limit, fails) = (limit.clone(), fails.clone());
        let numbers = topology
            .source("numbers", limit)
            .try_map(move |number| if fails.load(Ordering::SeqCst) { Err("as asked") } else { Ok(number) });
        let counts = numbers.key_by(|number| number % KEYS).fold("count", 0u64, |count, _| *count += 1);
        counts.sink("rows", FileSink::json_lines(&output));
        topology
    };
    let strategy = RestartStrategy::FixedDelay { attempts: 1_000, delay: Duration::from_millis(200) };
    let job = engine().restart(strategy).start_blocking(topology).unwrap();
    until("all is published", || published(&output).len() == 300);
    fails.store(true, Ordering::SeqCst);
    limit.raise(400);
    until("a restart", || matches!(job.status().phase, JobPhase::Restarting(_)));
    let error = job.savepoint_blocking(places.at("savepoint")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Savepoint);
    assert!(error.to_string().contains("not running now") && error.to_string().contains("as asked"), "{error}");
    fails.store(false, Ordering::SeqCst);
    until("it runs again", || published(&output).len() == 400);
    let info = job.savepoint_blocking(places.at("savepoint")).unwrap();
    Savepoint::open(&info.path).unwrap().verify().unwrap();
    job.stop_blocking().unwrap();
}

#[test]
fn an_attempt_that_fails_before_the_checkpoint_completes_is_the_cause_of_the_error() {
    let places = Places::new();
    let (holds, fails) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let topology = Topology::new("stuck");
    let (held, failing) = (holds.clone(), fails.clone());
    // The barrier stands behind a record that is not done with.
    let numbers = topology.source("numbers", Limit::of(10)).try_map(move |number: u64| {
        while held.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        if failing.load(Ordering::SeqCst) { Err("as asked") } else { Ok(number) }
    });
    numbers.key_by(|number| *number).fold("count", 0u64, |count, _| *count += 1).sink_at_least_once("rows", Nowhere);
    let job = engine().start_blocking(topology).unwrap();
    let error = std::thread::scope(|scope| {
        let taking = scope.spawn(|| job.savepoint_blocking(places.at("savepoint")).unwrap_err());
        until("it is being taken", || names(&places.at("")).iter().any(|name| name.ends_with(".partial")));
        fails.store(true, Ordering::SeqCst);
        holds.store(false, Ordering::SeqCst);
        taking.join().unwrap()
    });
    assert!(error.to_string().contains("as asked"), "{error}");
    assert!(job.wait_blocking().unwrap_err().to_string().contains("as asked"));
    assert_eq!(names(&places.at("")), [""; 0]);
    let error = job.savepoint_blocking(places.at("savepoint")).unwrap_err();
    assert!(error.to_string().contains("is over"), "{error}");
}

struct Nowhere;

impl Sink<(u64, u64)> for Nowhere {
    type Writer = fn((u64, u64)) -> Result<(), BoxError>;

    fn open(&self, _: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        Ok(|_| Ok(()))
    }
}

#[test]
fn stopping_with_one_publishes_everything_first_and_the_state_stays_where_it_is() {
    let places = Places::new();
    let info = stopped(&places, 500);
    let file = Savepoint::open(&info.path).unwrap();
    assert_eq!((file.prepared(), &info.prepared), (Vec::new(), &Vec::new()));
    // Without the savepoint the job goes on as well.
    let output = places.at("output");
    let builder = engine().backend(Lmdb::at(places.at("state")));
    let job = builder.start_blocking(counting(&Limit::of(600), &output)).unwrap();
    assert_eq!(job.status().started_from, Some(StartedFrom::Checkpoint(info.checkpoint)));
    run_to(&job, &output, 600);
    assert_eq!(published(&output), expected(600));
}

#[test]
fn a_job_whose_input_ends_meanwhile_takes_one_of_its_end() {
    let places = Places::new();
    let topology = || {
        let topology = Topology::new("ends");
        let numbers = topology.source("numbers", Generator::bounded(2_000, |number| number));
        let counts = numbers.key_by(|number| number % KEYS).fold("count", 0u64, |count, _| *count += 1);
        counts.sink("rows", FileSink::json_lines(places.at("output")));
        topology
    };
    let job = engine().start_blocking(topology()).unwrap();
    match job.savepoint_blocking(places.at("savepoint")) {
        Ok(info) => Savepoint::open(&info.path).unwrap().verify().unwrap(),
        Err(error) => {
            assert!(error.to_string().contains("last checkpoint") || error.to_string().contains("is over"), "{error}")
        }
    }
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
    assert_eq!(published(&places.at("output")), expected(2_000));
}
