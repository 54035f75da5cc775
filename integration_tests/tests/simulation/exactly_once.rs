//! Whatever goes wrong, every row is published once.

use cofferdam_engine::checkpoint::coordinator::JobEnd;
use cofferdam_testkit::{Fault, Faults, Point, Setup, Simulation, every_fault};

use crate::cases;

/// Runs one case to its end.
fn run(seed: u64, kinds: &[(Point, Fault)], most: u32) -> Simulation {
    let case = cases::nth(seed);
    let mut simulation = Simulation::new(seed, Setup::drawn(seed), Faults::drawn(kinds, most, 150), case.topology);
    let end = simulation.run();
    assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}, {}: {end:?}", case.name);
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (case.check)()));
    if checked.is_err() {
        panic!("seed {seed}, {}\n{}", case.name, simulation.trace());
    }
    simulation
}

#[test]
fn without_faults_rows_are_those_of_a_plain_loop_in_the_order_of_their_keys() {
    (0..300).for_each(|seed| drop(run(seed, &[], 0)));
}

#[test]
fn with_any_faults_no_row_is_lost_and_none_is_published_twice() {
    let kinds = every_fault();
    (10_000..10_800).for_each(|seed| drop(run(seed, &kinds, 8)));
}
