//! What is drawn from a seed beside a set-up, and how a promise is held to many of them.

use std::{
    env,
    fmt::Debug,
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

use cofferdam::connector::Collected;
use cofferdam_engine::{checkpoint::coordinator::JobEnd, topology::Topology};
use cofferdam_testkit::{Faults, Setup, Simulation, every_fault};

/// These, or as many from the first of them on as `COFFERDAM_SEEDS` says.
pub fn seeds(few: Range<u64>) -> Range<u64> {
    match env::var("COFFERDAM_SEEDS") {
        Ok(many) => few.start..few.start + many.parse::<u64>().expect("COFFERDAM_SEEDS is a number"),
        Err(_) => few,
    }
}

/// What goes wrong: in one run of four, nothing.
pub fn faults(seed: u64) -> Faults {
    if seed.is_multiple_of(4) { Faults::none() } else { Faults::drawn(&every_fault(), 8, 150) }
}

/// What numbers of subtasks are drawn from: at each start of a job that `rescales`, something else.
pub fn starts(seed: u64, rescales: bool) -> impl Fn() -> u32 {
    let next = AtomicU32::new(seed as u32);
    move || next.fetch_add(u32::from(rescales), Ordering::SeqCst)
}

/// Runs a job to its end: its rows, in order.
pub fn finish<R: Ord + Clone>(
    seed: u64,
    setup: Setup,
    faults: Faults,
    topology: impl Fn() -> Topology + 'static,
    rows: &Collected<R>,
) -> Vec<R> {
    let end = Simulation::new(seed, setup, faults, topology).run();
    assert!(matches!(end, Ok(JobEnd::Finished)), "seed {seed}: {end:?}");
    let mut rows = rows.snapshot();
    rows.sort();
    rows
}

/// Holds the rows of each run to what a plain loop says.
pub fn all<R: PartialEq + Debug>(
    few: Range<u64>,
    setup: impl Fn(u64) -> Setup,
    rescales: bool,
    run: impl Fn(u64, Setup, Faults, bool) -> Vec<R>,
    expected: &[R],
) {
    for seed in seeds(few) {
        assert_eq!(run(seed, setup(seed), faults(seed), rescales), expected, "seed {seed}");
    }
}
