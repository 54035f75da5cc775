//! Mistakes of the engine's that faults at fail points have shown, each with the shortest schedule that shows it.

use std::fs;

use cofferdam::connector::FileSink;
use cofferdam_engine::{
    ErrorKind, RestartStrategy,
    checkpoint::{config::CheckpointConfig, coordinator::JobEnd},
    topology::Topology,
};
use cofferdam_testkit::{
    Backend, Fault, Faults, Io, Point, SavepointUse, Schedule, Setup, Simulation, Torture, reference,
};

fn simulation(schedule: &Schedule, change: impl FnOnce(&mut Setup)) -> Simulation {
    let io = Io::default();
    let build = move || -> Topology {
        io.begin();
        reference(&io)
    };
    let mut setup = Setup::drawn(schedule.order);
    change(&mut setup);
    Simulation::new(schedule.order, setup, Faults::of(schedule), build)
}

/// It was taken for a refusal, and ended the job for good.
#[test]
fn a_sink_that_cannot_have_its_place_for_a_moment_while_the_job_restarts_is_tried_again() {
    for point in [Point::OwnerBefore, Point::ClaimBefore] {
        for fault in [Fault::Error, Fault::Full].into_iter().filter(|fault| fault.fits(point)) {
            let schedule = Schedule::order(1).at(Point::HandedToStore, 1, Fault::Error).at(point, 2, fault);
            let mut simulation = simulation(&schedule, |_| {});
            assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "{schedule}");
            assert_eq!(simulation.injected().len(), 2, "{schedule}");
            assert_eq!(simulation.trace().matches("process starts").count(), 1, "{schedule}: the job was not refused");
        }
    }
}

/// It went past the subtask, which could not say whose it was.
#[test]
fn a_panic_in_a_pre_commit_names_the_sink() {
    let schedule = Schedule::order(1).at(Point::PreCommitBefore, 1, Fault::Panic);
    let mut simulation = simulation(&schedule, |setup| setup.settings.restart = RestartStrategy::None);
    let error = simulation.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert!(error.to_string().contains("operator 'counts'"), "{error}");
}

/// It closed the coordinator's mailbox, and the job hung.
#[test]
fn a_panic_of_the_coordinator_ends_the_attempt_and_says_so() {
    let schedule = Schedule::order(1).at(Point::Acknowledged, 1, Fault::Panic);
    let mut simulation = simulation(&schedule, |setup| setup.settings.restart = RestartStrategy::None);
    let error = simulation.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert!(error.to_string().contains("coordinator panicked"), "{error}");
}

/// A look-up in a store that had been closed said that a key has no value, if the store had nothing of its state then; and keys were counted anew.
#[test]
fn a_look_up_in_a_store_that_was_closed_ends_the_attempt() {
    let schedule = Schedule::order(0).at(Point::CommitBegun, 2, Fault::Late);
    let torture = Torture::new(reference).backend(Backend::LmdbSmallHeap).state::<u64, u64>("count").records(8);
    torture.schedule(schedule).run().unwrap().assert_exactly_once();
}

/// Numbers in files.
fn numbers_in_files(io: &Io) -> Topology {
    let (out, written) = (io.directory(), io.directory());
    io.output_elsewhere(move || {
        let files = fs::read_dir(&written).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        files.flat_map(|path| fs::read_to_string(path).unwrap().lines().map(String::from).collect::<Vec<_>>()).collect()
    });
    let topology = Topology::new("numbers");
    topology.source("numbers", io.source((0..900u64).collect())).sink("rows", FileSink::lines(out));
    topology
}

/// Its attempts were counted from one again. What the first of them had begun to write bore the name of what the savepoint's checkpoint was to publish: no attempt could go on, or rows were
/// published that no checkpoint had.
#[test]
fn a_job_from_a_savepoint_that_fails_before_its_first_checkpoint_goes_on() {
    let torture = Torture::new(numbers_in_files).savepoints(SavepointUse::Followed);
    // No checkpoint but the savepoint's and the last one.
    let torture =
        torture.setup(|setup| setup.checkpoints(|checkpoints| CheckpointConfig { interval: None, ..checkpoints }));
    torture.schedule(Schedule::order(1).at(Point::Trigger, 2, Fault::Panic)).run().unwrap().assert_exactly_once();
}
