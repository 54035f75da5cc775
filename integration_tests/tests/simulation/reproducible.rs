//! A run is a function of topology, setup, faults, requests and seed.

use cofferdam_testkit::{Fault, Faults, Point, Request, Setup, Simulation, every_fault};

use crate::{cases, seeds::seeds};

fn trace(seed: u64) -> String {
    let faults = Faults::drawn(&every_fault(), 8, 100).after(40, Point::Frozen, Fault::Error);
    let mut simulation = Simulation::new(seed, Setup::drawn(seed), faults, cases::nth(seed).topology);
    simulation = simulation.request_at(400, Request::Stop);
    let end = simulation.run();
    format!("{}{end:?}", simulation.trace())
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    for seed in seeds(0..50) {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}

#[test]
fn another_seed_gives_another_trace() {
    assert_ne!(trace(0), trace(9), "the same topology");
}
