//! Checkpoints and attempts have their numbers for themselves.

use std::collections::BTreeSet;

use cofferdam_engine::{CheckpointId, checkpoint::coordinator::JobEnd};
use cofferdam_testkit::{Fault, Faults, Point, Setup, Simulation, every_fault};

use crate::{cases, seeds::seeds};

#[test]
fn a_number_is_never_used_twice_within_a_process() {
    for seed in seeds(0..200) {
        let faults = Faults::drawn(&cases::all_but_death(), 12, 80);
        let mut simulation = Simulation::new(seed, Setup::drawn(seed), faults, cases::nth(seed).topology);
        assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
        let numbers: BTreeSet<_> = simulation.triggered().iter().map(|(_, checkpoint)| checkpoint).collect();
        assert_eq!(numbers.len(), simulation.triggered().len(), "seed {seed}: {:?}", simulation.triggered());
        assert!(!numbers.contains(&CheckpointId(0)));
    }
}

#[test]
fn a_run_never_goes_on_from_an_older_checkpoint_than_the_run_before() {
    for seed in seeds(0..200) {
        let faults = Faults::drawn(&every_fault(), 20, 60);
        let mut simulation = Simulation::new(seed, Setup::drawn(seed), faults, cases::nth(seed).topology);
        assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
        assert!(simulation.attempts().is_sorted_by(|(a, n), (b, m)| a < b && n <= m), "{:?}", simulation.attempts());
        assert!(simulation.committed().is_sorted_by(|(a, n), (b, m)| a <= b && n < m), "{:?}", simulation.committed());
    }
}

#[test]
fn checkpoint_0_is_there_before_the_first_record_however_early_the_process_dies() {
    for seed in seeds(0..20) {
        for dies in 1..40 {
            let case = cases::nth(seed);
            let mut simulation = Simulation::new(seed, Setup::drawn(seed), Faults::none(), case.topology);
            simulation.run_steps(dies);
            simulation.kill();
            // The run itself checks that no record moves without a stored checkpoint.
            assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
            assert_eq!(simulation.committed()[0].1, CheckpointId(0));
            (case.check)();
        }
    }
}

#[test]
fn a_failure_while_recovering_is_recovered_from() {
    for seed in seeds(0..200) {
        let case = cases::nth(seed);
        let mut faults = Faults::none();
        // All of them wait for the opening that the failure leads to, and for the next ones.
        for point in [Point::RestoreRead, Point::AttemptBegun, Point::RecoverAfter, Point::RestoreApplied] {
            faults = faults.after(200, point, if seed % 3 == 0 { Fault::Kill } else { Fault::Error });
        }
        let ends = cases::ends();
        let (point, fault) = ends[seed as usize % ends.len()];
        let faults = faults.after(210, point, fault);
        let mut simulation = Simulation::new(seed, Setup::drawn(seed), faults, case.topology);
        assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
        (case.check)();
    }
}
