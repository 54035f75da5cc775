//! Breaks the engine in each of the ways that `mutation.rs` knows, one after the other, and looks whether the harness notices and after how many
//! runs.
//!
//! ```sh
//! RUSTFLAGS="--cfg mutation" cargo run --release --target-dir target/mutation -p cofferdam-testkit --bin mutation-check > docs/mutation-check.md
//! ```
//! Names of mutations behind it have only these tried. The exit status is 1 if one of them went unnoticed, or if the engine as it is was found to be broken.

// The table is what this program is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

#[cfg(not(mutation))]
fn main() -> ExitCode {
    eprintln!(
        "this build cannot break the engine; run\n  \
         RUSTFLAGS=\"--cfg mutation\" cargo run --release --target-dir target/mutation -p cofferdam-testkit --bin mutation-check"
    );
    ExitCode::from(2)
}

#[cfg(mutation)]
fn main() -> ExitCode {
    check::run()
}

#[cfg(mutation)]
mod check {
    use std::process::ExitCode;

    use cofferdam_engine::mutation::{Mutation, choose};
    use cofferdam_testkit::{
        Backend, Report, SavepointUse, Torture, TortureError,
        matrix::{Example, Variant},
        reference,
    };

    const HEAD: &str = "# Mutation check

Written by `mutation-check`, not by hand (the command is in its [source](../integration_tests/src/bin/mutation-check.rs)). A harness that finds nothing may be one that looks nowhere. So
the engine is broken on purpose ([mutation.rs](../engine/src/mutation.rs)), in one way after the other, and jobs of the [crash matrix](crash-matrix.md) are run until a run breaks a promise: first the
reference topology at every fail point, in memory; then query 0 of Nexmark, which publishes files, under drawn schedules; then those that go by time, and jobs on the other backends, with state of every type, and with savepoints; then jobs with records in
flight, whose barriers overtake or whose records go round; and the reference topology under drawn schedules. `0:` is a run without any fault in order 0.

| what is broken | found after runs | what was seen | first schedule that shows it |
|---|--:|---|---|";

    /// Letters of what was seen, at most.
    const SEEN: usize = 110;

    /// Drawn schedules, if the exhaustive ones find nothing.
    const SEEDS: u64 = 4_000;

    /// Drawn schedules of each job that publishes files.
    const IN_FILES: u64 = 200;

    /// What found a mutation.
    struct Caught {
        by: String,
        runs: u32,
        schedule: String,
    }

    pub fn run() -> ExitCode {
        // What breaks is meant to: its panics are told in the table.
        std::panic::set_hook(Box::new(|_| {}));
        println!("{HEAD}");
        let mut escaped = 0;
        let wanted: Vec<_> = std::env::args().skip(1).collect();
        let is_wanted = |mutation: &Mutation| wanted.is_empty() || wanted.contains(&format!("{mutation:?}"));
        let all = Mutation::ALL.into_iter().filter(is_wanted).map(Some);
        for mutation in [None].into_iter().filter(|_| wanted.is_empty()).chain(all) {
            choose(mutation);
            let caught = hunt();
            let what = mutation.map_or("nothing", Mutation::what);
            match (&caught, mutation) {
                (Ok(Caught { by, runs, schedule }), _) => println!("| {what} | {runs} | {by} | `{schedule}` |"),
                (Err(runs), _) => println!("| {what} | none in {runs} | - | - |"),
            }
            escaped += u32::from(caught.is_ok() != mutation.is_some());
        }
        if escaped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The first run that breaks a promise, or how many did not.
    fn hunt() -> Result<Caught, u32> {
        let exhaustive = Torture::new(reference).state::<u64, u64>("count").every_fail_point().until_failure();
        let drawn = Torture::new(reference).state::<u64, u64>("count").seeds(0..SEEDS).until_failure();
        let in_flight = Variant::in_flight().map(|variant| variant.torture().every_fail_point().until_failure());
        let others = others().map(|variant| variant.torture().each_fault_once().until_failure());
        let in_files = Variant::timed().into_iter().filter(|variant| variant.example == Example::Query(0));
        let in_files = in_files.map(|variant| variant.torture().seeds(0..IN_FILES).until_failure());
        let mut runs = 0;
        for torture in [exhaustive].into_iter().chain(in_files).chain(others).chain(in_flight).chain([drawn]) {
            match torture.run() {
                Ok(report) => {
                    runs += report.runs();
                    if let Some(caught) = first(&report, runs) {
                        return Ok(caught);
                    }
                }
                Err(TortureError::FailsByItself { order, message }) => {
                    let by = short(&message);
                    return Ok(Caught { by, runs: runs + 1, schedule: format!("{order}:") });
                }
                Err(error) => return Ok(Caught { by: error.to_string(), runs, schedule: String::new() }),
            }
        }
        Err(runs)
    }

    /// Jobs that go where the others do not.
    fn others() -> impl Iterator<Item = Variant> {
        let state_types = Variant { example: Example::StateTypes, ..Variant::reference(Backend::LmdbSmallHeap) };
        let files = Variant { example: Example::StateTypes, ..Variant::reference(Backend::Files) };
        let followed = Variant { savepoints: SavepointUse::Followed, ..Variant::reference(Backend::Memory) };
        let timed = Variant::timed_alone().into_iter().chain(Variant::timed());
        let timed = timed.filter(|variant| !variant.example.is_query());
        timed.chain([state_types, files, followed]).chain(Variant::with_savepoints())
    }

    fn first(report: &Report, runs: u32) -> Option<Caught> {
        if let Some(order) = report.order_dependence() {
            let (one, other) = order.orders;
            let by = "runs without faults differ".to_string();
            return Some(Caught { by, runs: 2, schedule: format!("{one}: and {other}:") });
        }
        let failure = report.failures().first()?;
        let by = short(&failure.broken.first()?.to_string());
        Some(Caught { by, runs, schedule: failure.schedule.to_string() })
    }

    /// The beginning of the first line.
    fn short(text: &str) -> String {
        let line = text.lines().next().unwrap_or_default();
        let short: String = line.chars().take(SEEN).collect();
        if short.len() < line.len() { format!("{short}...") } else { short }
    }
}
