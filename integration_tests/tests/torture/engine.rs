//! Turned on the engine.

use std::collections::BTreeSet;

use cofferdam_engine::checkpoint::store::StateBackend;
use cofferdam_storage::{FileSystem, Lmdb, Memory};
use cofferdam_testkit::{Backend, Fault, Faults, Io, Point, Schedule, Setup, Simulation, Torture, reference};

#[test]
fn the_reference_topology_is_exactly_once_at_every_fail_point() {
    let report = Torture::new(reference).state::<u64, u64>("count").every_fail_point().run().unwrap();
    report.assert_exactly_once();
    report.assert_state_equals::<u64, u64>("count", (0..20).map(|key| (key, 6)));
    let unreached: BTreeSet<_> = report.not_reached().into_iter().collect();
    let of_others = [
        Point::CommitNoting,
        Point::Overtaken,
        Point::Recorded,
        Point::LoopEnded,
        Point::SavepointBegun,
        Point::SavepointWritten,
        Point::SavepointImported,
        Point::TimeFired,
        Point::LimitHeard,
        Point::Ask,
        Point::Answered,
    ];
    assert_eq!(
        unreached,
        BTreeSet::from(of_others),
        "memory has no note, nothing is in flight, nobody wants a savepoint, nothing goes by time, and nobody asks the outside"
    );
    for (cell, seen) in report.cells() {
        assert!(seen.runs > 0, "{cell:?}");
    }
}

#[test]
fn the_reference_topology_is_exactly_once_at_every_fail_point_of_lmdb() {
    let report = Torture::new(reference).backend(Backend::Lmdb).parallelism(1).every_fail_point().run().unwrap();
    report.assert_exactly_once();
    assert!(report.cells().contains_key(&(Point::CommitNoting, Fault::Tear)));
}

#[test]
fn the_reference_topology_is_exactly_once_at_every_fail_point_of_files() {
    let report = Torture::new(reference).backend(Backend::Files).parallelism(1).every_fail_point().run().unwrap();
    report.assert_exactly_once();
    assert!(report.cells().contains_key(&(Point::CommitWritten, Fault::SyncFails)));
}

#[test]
fn the_reference_topology_is_exactly_once_under_drawn_schedules() {
    let report = Torture::new(reference).seeds(0..400).run().unwrap();
    assert_eq!(report.runs(), 400);
    report.assert_exactly_once();
}

#[test]
fn a_schedule_reads_back_from_its_text() {
    let schedule = Schedule::order(7).at(Point::Stash, 2, Fault::Delay).at(Point::CommitNoting, 1, Fault::Tear);
    assert_eq!(schedule.to_string().parse::<Schedule>().unwrap(), schedule);
    for text in [
        "",
        "7",
        "x:",
        "7:stash",
        "7:stash#1",
        "7:stash#1=nothing",
        "7:nowhere#1=kill",
        "7:,",
        "7:stash#0=kill",
        "7:trigger#1=lose",
    ] {
        assert!(text.parse::<Schedule>().is_err(), "{text}");
    }
}

/// The trace of a run under one schedule.
fn trace(backend: impl StateBackend, schedule: &Schedule) -> String {
    let io = Io::default();
    let build = move || {
        io.begin();
        reference(&io)
    };
    let setup = Setup::drawn(schedule.order).parallelism(2);
    let mut simulation = Simulation::new(schedule.order, setup, Faults::of(schedule), build).backend(backend);
    let end = simulation.run();
    format!("{}{end:?}", simulation.trace())
}

#[test]
fn the_same_schedule_gives_the_same_trace_byte_for_byte_whatever_keeps_the_checkpoints() {
    let ends =
        [(Point::CommitDurable, Fault::Kill), (Point::PreCommitAfter, Fault::Delay), (Point::Stash, Fault::Panic)];
    for order in 0..6 {
        for (point, fault) in ends {
            let schedule = Schedule::order(order).at(point, 2, fault);
            let first = trace(Memory::new(), &schedule);
            assert_eq!(first, trace(Memory::new(), &schedule), "{schedule}");
            // LMDB passes one point more.
            let directory = tempfile::tempdir().unwrap();
            let of_lmdb = trace(Lmdb::at(directory.path()), &schedule);
            let of_lmdb: Vec<_> = of_lmdb.lines().filter(|line| !line.contains(Point::CommitNoting.name())).collect();
            assert_eq!(first.lines().collect::<Vec<_>>(), of_lmdb, "{schedule}");
            let directory = tempfile::tempdir().unwrap();
            assert_eq!(first, trace(FileSystem::at(directory.path()), &schedule), "{schedule}");
        }
    }
}
