//! Whatever goes wrong, every row is published once.

use cofferdam_engine::checkpoint::coordinator::JobEnd;
use cofferdam_testkit::{Fault, Faults, Point, Setup, Simulation, every_fault};

use crate::{cases, seeds::seeds};

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
    seeds(0..300).for_each(|seed| drop(run(seed, &[], 0)));
}

#[test]
fn ten_crashes_in_a_row_lose_no_row_and_publish_none_twice() {
    for seed in seeds(20_000..20_150) {
        let case = cases::nth(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let setup = Setup::drawn(seed).checkpoints(|checkpoints| checkpoints.num_retained(random.u32(1..4)));
        let mut simulation = Simulation::new(seed, setup, Faults::none(), case.topology);
        for _ in 0..10 {
            // While it starts, before its first checkpoint, or later.
            let most = if random.bool() { 20 } else { 150 };
            simulation.run_steps(random.u64(1..most));
            simulation.kill();
        }
        assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}, {}", case.name);
        (case.check)();
    }
}

#[test]
fn with_any_faults_no_row_is_lost_and_none_is_published_twice() {
    let kinds = every_fault();
    seeds(10_000..10_800).for_each(|seed| drop(run(seed, &kinds, 8)));
}
