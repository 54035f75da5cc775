//! Faults on real threads while savepoints are taken: each harms the savepoint at most, and says so.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path, time::Duration};

use cofferdam::{Savepoint, prelude::*};
use cofferdam_engine::checkpoint::stats::CheckpointKind;
use cofferdam_testkit::{Fault, Point, Schedule};

/// A job whose numbers never end.
fn endless(output: &Path) -> Topology {
    let topology = Topology::new("endless");
    let numbers = topology.source("numbers", Generator::unbounded(|number| number).rate(2_000.0));
    let counts = numbers.key_by(|number| number % 10).fold("count", 0u64, |count, _| *count += 1);
    counts.sink("rows", FileSink::json_lines(output));
    topology
}

fn engine(place: &Path, schedule: &Schedule) -> EngineBuilder {
    Engine::builder()
        .parallelism(2)
        .checkpoints(CheckpointConfig::every(Duration::from_millis(10)).timeout(Duration::from_millis(500)))
        .restart(RestartStrategy::FixedDelay { attempts: 10, delay: Duration::ZERO })
        .backend(Lmdb::at(place.join("state")))
        .fail_points(schedule.arm(Duration::from_millis(100)).fail_points())
}

fn names(place: &Path) -> Vec<String> {
    let names = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "state" && name != "output").collect();
    names.sort();
    names
}

#[test]
fn a_fault_of_the_export_is_the_callers_and_the_job_goes_on() {
    for point in [Point::SavepointBegun, Point::SavepointWritten] {
        for fault in
            [Fault::Error, Fault::Panic, Fault::Full, Fault::Delay].into_iter().filter(|fault| fault.fits(point))
        {
            let place = tempfile::tempdir().unwrap();
            let schedule = Schedule::default().at(point, 1, fault);
            let job = engine(place.path(), &schedule).start_blocking(endless(&place.path().join("output"))).unwrap();
            let first = job.savepoint_blocking(place.path().join("first"));
            if fault == Fault::Delay {
                first.unwrap();
            } else {
                let error = first.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Savepoint, "{error}");
                assert!(error.to_string().contains("first"), "{error}");
                assert_eq!(names(place.path()), [""; 0], "{schedule}");
            }
            let second = job.savepoint_blocking(place.path().join("second")).unwrap();
            Savepoint::open(&second.path).unwrap().verify().unwrap();
            assert_eq!((job.status().restarts, job.status().failures), (0, 0), "{schedule}");
            job.stop_blocking().unwrap();
        }
    }
}

#[test]
fn an_attempt_that_fails_meanwhile_is_the_error_and_the_next_one_takes_another() {
    for point in [Point::LastAcknowledgement, Point::CommitBegun, Point::CommitWritten, Point::CommitNoting] {
        let place = tempfile::tempdir().unwrap();
        // No checkpoint but the savepoint's: it is the second commit.
        let occurrence = if point == Point::LastAcknowledgement { 1 } else { 2 };
        let schedule = Schedule::default().at(point, occurrence, Fault::Error);
        let builder = engine(place.path(), &schedule).checkpoints(CheckpointConfig::every(Duration::from_secs(3600)));
        let job = builder.start_blocking(endless(&place.path().join("output"))).unwrap();
        let error = job.savepoint_blocking(place.path().join("first")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Savepoint);
        assert!(error.to_string().contains("the attempt ended") && error.to_string().contains("injected"), "{error}");
        let mut second = job.savepoint_blocking(place.path().join("second"));
        while let Err(error) = &second {
            assert!(error.to_string().contains("not running now"), "{error}");
            second = job.savepoint_blocking(place.path().join("second"));
        }
        Savepoint::open(place.path().join("second")).unwrap().verify().unwrap();
        assert_eq!(names(place.path()), ["second"], "{schedule}");
        job.stop_blocking().unwrap();
    }
}

#[test]
fn a_job_stopped_without_its_savepoint_says_where_it_is_and_goes_on_from_there() {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("output");
    let schedule = Schedule::default().at(Point::SavepointWritten, 1, Fault::Full);
    let job = engine(place.path(), &schedule).start_blocking(endless(&output)).unwrap();
    let error = job.stop_with_savepoint_blocking(place.path().join("savepoint")).unwrap_err();
    let state = place.path().join("state").display().to_string();
    for part in ["the job is stopped", &state, "there is no savepoint", "could not be written"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Stopped);
    let job = engine(place.path(), &Schedule::default()).start_blocking(endless(&output)).unwrap();
    assert!(matches!(job.status().started_from, Some(StartedFrom::Checkpoint(_))));
    job.stop_with_savepoint_blocking(place.path().join("savepoint")).unwrap();
    Savepoint::open(place.path().join("savepoint")).unwrap().verify().unwrap();
}

/// The job is over while a slow disk still writes: its place is given up when the file is there.
#[test]
fn the_end_of_the_job_waits_for_the_file() {
    let place = tempfile::tempdir().unwrap();
    let schedule = Schedule::default().at(Point::SavepointBegun, 1, Fault::Delay);
    let job = engine(place.path(), &schedule).start_blocking(endless(&place.path().join("output"))).unwrap();
    std::thread::scope(|scope| {
        let taking = scope.spawn(|| job.savepoint_blocking(place.path().join("savepoint")));
        while !job.checkpoints().iter().any(|one| one.kind == CheckpointKind::Savepoint) {
            std::thread::yield_now();
        }
        job.stop_blocking().unwrap();
        Savepoint::open(place.path().join("savepoint")).unwrap().verify().unwrap();
        taking.join().unwrap().unwrap();
    });
}

#[test]
fn checkpoints_go_on_while_one_is_written_and_it_stays_what_it_was() {
    let place = tempfile::tempdir().unwrap();
    let (output, elsewhere) = (place.path().join("output"), place.path().join("elsewhere"));
    let schedule = Schedule::default().at(Point::SavepointBegun, 1, Fault::Delay);
    let job = engine(place.path(), &schedule).start_blocking(endless(&output)).unwrap();
    let info = job.savepoint_blocking(place.path().join("savepoint")).unwrap();
    let last = job.status().last_checkpoint.unwrap().checkpoint;
    assert!(last.0 > info.checkpoint.0 + 2, "the newest is {last}, the savepoint's {}", info.checkpoint);
    job.stop_blocking().unwrap();
    let builder = engine(&elsewhere, &Schedule::default()).backend(Memory::new()).parallelism(3);
    let builder = builder.from_savepoint(&info.path).discard_prepared(true);
    let job = builder.start_blocking(endless(&elsewhere)).unwrap();
    while job.status().records_read < 500 {
        std::thread::yield_now();
    }
    job.stop_blocking().unwrap();
    // Each key's counts go on where the savepoint's checkpoint had left them, without a gap.
    let mut counts: Vec<Vec<u64>> = vec![Vec::new(); 10];
    let of_first = rows(&output).into_iter().filter(|(checkpoint, _)| *checkpoint <= info.checkpoint.0);
    for (_, (key, count)) in of_first.chain(rows(&elsewhere)) {
        counts[key as usize].push(count);
    }
    for counts in &mut counts {
        counts.sort_unstable();
        assert_eq!(*counts, (1..=counts.len() as u64).collect::<Vec<_>>());
    }
}

/// The rows that are published, each with its checkpoint.
fn rows(output: &Path) -> Vec<(u64, (u64, u64))> {
    let files = fs::read_dir(output).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let of_file = |path: std::path::PathBuf| {
        let checkpoint = path.file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        text.lines().map(|line| (checkpoint, serde_json::from_str(line).unwrap())).collect::<Vec<_>>()
    };
    files.flat_map(of_file).collect()
}
