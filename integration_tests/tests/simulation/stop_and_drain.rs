//! What the host asks for, and what becomes of it when something fails.

use std::time::Duration;

use cofferdam::connector::{CollectSink, Collected, Generator};
use cofferdam_engine::{
    checkpoint::{config::Retention, coordinator::JobEnd, snapshot::StateAddress, store::StateBackend},
    state::read_keyed_state,
    topology::Topology,
};
use cofferdam_storage::Memory;
use cofferdam_testkit::{Fault, Faults, Point, Request, Setup, Simulation, every_fault};

use crate::{cases, seeds::seeds};

/// A job without end, which takes checkpoints.
fn endless(seed: u64, faults: Faults) -> (Simulation, Collected<(u64, u64)>) {
    let (sink, rows) = CollectSink::new();
    let topology = move || {
        let topology = Topology::new("endless");
        let numbers = topology.source("numbers", Generator::unbounded(|i| i));
        numbers.key_by(|n| n % 4).fold("count", 0u64, |count, _| *count += 1).sink("counts", sink.clone());
        topology
    };
    let setup = Setup::drawn(seed).checkpoints(|mut checkpoints| {
        checkpoints.interval.get_or_insert(Duration::from_millis(1));
        checkpoints
    });
    (Simulation::new(seed, setup, faults, topology), rows)
}

/// Nothing is missing before what was published last, and nothing is there twice.
fn without_gaps(rows: &[(u64, u64)]) {
    cases::counts_in_order(rows, rows.iter().map(|(key, _)| *key));
}

#[test]
fn a_job_that_is_stopped_and_started_again_goes_on_exactly() {
    let mut stops = 0;
    for seed in seeds(0..250) {
        let case = cases::nth(seed);
        let has_faults = seed % 2 == 1;
        let faults = if has_faults { Faults::drawn(&every_fault(), 6, 120) } else { Faults::none() };
        let mut simulation = Simulation::new(seed, Setup::drawn(seed), faults, case.topology);
        for step in [100, 300, 350, 600, 900] {
            simulation = simulation.request_at(step + seed % 50, Request::Stop);
        }
        loop {
            match simulation.run() {
                Ok(JobEnd::Finished) => break,
                Ok(JobEnd::Stopped) => stops += 1,
                // Stopped while it waited for a restart.
                Err(_) if has_faults && !simulation.injected().is_empty() => {}
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        (case.check)();
    }
    assert!(stops > 250, "only {stops}");
}

#[test]
fn a_stopped_job_goes_on_at_another_parallelism() {
    for seed in seeds(0..200) {
        let case = match seed % 2 {
            0 => cases::counted(),
            _ => cases::every_third(),
        };
        let faults = Faults::drawn(&every_fault(), 4, 200);
        let mut simulation = Simulation::new(seed, Setup::drawn(seed), faults, case.topology);
        for parallelism in [3, 1, 2, 4] {
            simulation.run_steps(150);
            simulation.kill();
            simulation.set_up(|setup| setup.settings.parallelism = parallelism);
        }
        assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
        (case.check)();
    }
}

#[test]
fn a_stopped_job_has_published_all_that_it_read() {
    for seed in seeds(0..100) {
        let (mut simulation, rows) = endless(seed, Faults::none());
        simulation.run_steps(500);
        simulation.request(Request::Stop);
        assert!(matches!(simulation.run(), Ok(JobEnd::Stopped)), "seed {seed}");
        let first = rows.snapshot().len();
        assert!(first > 0);
        assert_eq!(simulation.run_steps(500).map(|end| end.is_ok()), None, "it goes on without end");
        simulation.request(Request::Stop);
        assert!(matches!(simulation.run(), Ok(JobEnd::Stopped)), "seed {seed}");
        assert!(rows.snapshot().len() > first);
        without_gaps(&rows.snapshot());
    }
}

#[test]
fn a_drain_outlives_a_failure() {
    for seed in seeds(0..150) {
        let faults = Faults::drawn(&cases::all_but_death(), 6, 100).after(320, Point::Frozen, Fault::Error);
        let (simulation, rows) = endless(seed, faults);
        let end = simulation.request_at(300, Request::Drain).run();
        assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
        without_gaps(&rows.snapshot());
    }
}

#[test]
fn a_drain_that_a_checkpoint_knows_of_outlives_the_process() {
    let mut outlived = 0;
    for seed in seeds(0..150) {
        let (mut simulation, rows) = endless(seed, Faults::drawn(&cases::ABORTS, 1, 200));
        simulation.run_steps(300);
        simulation.request(Request::Drain);
        let mut end = None;
        while end.is_none() && !simulation.stored().is_some_and(|checkpoint| checkpoint.draining) {
            end = simulation.run_steps(1);
        }
        if end.is_none() {
            outlived += usize::from(simulation.stored().is_some_and(|checkpoint| !checkpoint.finished));
            simulation.kill();
            end = Some(simulation.run());
        }
        assert!(matches!(end, Some(Ok(JobEnd::Finished))), "seed {seed}: {end:?}");
        without_gaps(&rows.snapshot());
    }
    assert!(outlived > 10, "only {outlived}");
}

#[test]
fn a_cancelled_job_leaves_no_state_and_has_published_whole_checkpoints() {
    for seed in seeds(0..100) {
        let (simulation, rows) =
            endless(seed, Faults::drawn(&[(Point::Frozen, Fault::Error), (Point::Acknowledge, Fault::Lose)], 4, 100));
        let mut simulation = simulation.request_at(300 + seed, Request::Cancel);
        assert!(matches!(simulation.run(), Ok(JobEnd::Cancelled)), "seed {seed}");
        assert!(simulation.committed().is_empty() && simulation.stored().is_none());
        without_gaps(&rows.snapshot());
    }
}

/// Asks until the job has ended as asked: a process that dies takes the request along, and one that is stopped while it waits for a restart ends with the failure.
fn ask(simulation: &mut Simulation, request: Request) -> JobEnd {
    loop {
        simulation.request(request);
        match simulation.run_steps(5_000) {
            Some(Ok(end)) => return end,
            Some(Err(error)) => assert!(error.to_string().contains("injected"), "{error}"),
            None => {}
        }
    }
}

/// Records that the state of the newest checkpoint has counted; each was a row.
fn counted(memory: &Memory) -> u64 {
    let mut store = memory.open().unwrap();
    let newest = store.newest().unwrap().unwrap();
    let address = StateAddress { operator: "count".to_string(), state: "value".to_string() };
    let reader = store.reader().unwrap();
    let entries = read_keyed_state::<u64, u64>(reader.as_ref(), address, newest.max_parallelism).unwrap();
    entries.iter().map(|(_, count)| count).sum()
}

#[test]
fn a_cancelled_job_that_retains_its_checkpoints_has_published_the_newest_whole_and_goes_on_from_it() {
    for seed in seeds(0..100) {
        let memory = Memory::new();
        let (simulation, rows) = endless(seed, Faults::drawn(&cases::ends(), 4, 250));
        let mut simulation = simulation.backend(memory.clone());
        simulation.set_up(|setup| {
            setup.settings.checkpoints.retention = Retention::RetainOnCancellation;
            // Rows in flight to the sink are counted, and published later.
            setup.settings.checkpoints.unaligned = false;
            setup.settings.checkpoints.aligned_timeout = std::time::Duration::ZERO;
        });
        simulation.run_steps(300 + seed);
        assert_eq!(ask(&mut simulation, Request::Cancel), JobEnd::Cancelled, "seed {seed}");
        let published = rows.snapshot().len();
        assert_eq!(counted(&memory), published as u64, "seed {seed}");
        without_gaps(&rows.snapshot());
        assert_eq!(simulation.run_steps(500).map(|end| end.is_ok()), None, "it goes on without end");
        assert_eq!(ask(&mut simulation, Request::Stop), JobEnd::Stopped, "seed {seed}");
        assert!(rows.snapshot().len() > published, "seed {seed}");
        without_gaps(&rows.snapshot());
    }
}

#[test]
fn a_job_that_has_finished_starts_again_as_finished() {
    for seed in seeds(0..30) {
        let case = cases::nth(seed);
        let mut simulation = Simulation::new(seed, Setup::drawn(seed), Faults::none(), case.topology);
        for _ in 0..3 {
            assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
            (case.check)();
        }
    }
}
