//! An aborted checkpoint costs nothing but time.

use std::collections::HashMap;

use cofferdam::connector::{CollectSink, Generator};
use cofferdam_engine::{checkpoint::coordinator::JobEnd, topology::Topology};
use cofferdam_testkit::{Fault, Faults, Point, Request, Setup, Simulation};

use crate::{cases, seeds::seeds};

#[test]
fn an_aborted_checkpoint_loses_nothing_and_restarts_nothing() {
    let mut aborted = 0;
    for seed in seeds(0..250) {
        let case = cases::nth(seed);
        let faults = Faults::drawn(&cases::ABORTS, 8, 80);
        let mut simulation = Simulation::new(seed, Setup::drawn(seed), faults, case.topology);
        assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
        (case.check)();
        assert_eq!(simulation.attempts().len(), 1, "seed {seed}");
        aborted += simulation.aborted().len();
    }
    assert!(aborted > 250, "only {aborted} aborted");
}

#[test]
fn a_restart_after_aborted_checkpoints_loses_nothing() {
    let kinds = [&cases::ABORTS[..], &cases::ends(), &[(Point::CommitDurable, Fault::Error)]].concat();
    for seed in seeds(0..250) {
        let case = cases::nth(seed);
        let mut simulation = Simulation::new(seed, Setup::drawn(seed), Faults::drawn(&kinds, 12, 80), case.topology);
        assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
        (case.check)();
    }
}

#[test]
fn prepared_transactions_of_an_aborted_checkpoint_are_published_with_the_next_one() {
    let mut after_aborts = 0;
    for seed in seeds(0..100) {
        let (sink, rows) = CollectSink::new();
        let topology = move || {
            let topology = Topology::new("endless");
            let numbers = topology.source("numbers", Generator::unbounded(|i| i)).parallelism(2);
            numbers.key_by(|n| n % 3).fold("count", 0u64, |count, _| *count += 1).sink("counts", sink.clone());
            topology
        };
        let mut setup = Setup::drawn(seed);
        setup.settings.checkpoints.interval = Some(setup.step_time * 50);
        setup.settings.checkpoints.timeout = setup.step_time * 150;
        let mut simulation = Simulation::new(seed, setup, Faults::drawn(&cases::ABORTS, 10, 100), topology);
        let mut seen = 0;
        for _ in 0..40 {
            assert!(simulation.run_steps(50).is_none());
            let rows = rows.snapshot();
            let mut last: HashMap<u64, u64> = HashMap::new();
            for (key, count) in &rows {
                let before = last.insert(*key, *count).unwrap_or(0);
                assert_eq!(*count, before + 1, "seed {seed}: what was published has no gap");
            }
            if rows.len() > seen && !simulation.aborted().is_empty() {
                after_aborts += 1;
            }
            seen = rows.len();
        }
        simulation.request(Request::Drain);
        assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
        assert!(rows.snapshot().len() > seen);
    }
    assert!(after_aborts > 100, "only {after_aborts}");
}
