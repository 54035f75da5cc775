//! The crash matrix: jobs under every fault at every fail point and under drawn schedules, and the page that says what came of it.
//!
//! | file | holds |
//! |---|---|
//! | `variant.rs` | which jobs, and a selection in which each two choices meet |
//! | `example.rs` | what the jobs compute |
//! | `topologies.rs` | topologies of every kind of state |
//! | `windows.rs`, `triggers.rs`, `joins.rs`, `tables.rs`, `requests.rs`, `clocks.rs` | what goes by time |
//! | `nexmark.rs`, `flights_and_weather.rs` | examples as they are |
//! | `page.rs` | the page, `docs/crash-matrix.md` |
//!
//! The program `crash-matrix` runs it. What an engine that is broken on purpose is caught by is another question, and another program's: `mutation-check`. Asked of all
//! these jobs, it would run the same [`Part`]s.

mod clocks;
mod example;
mod flights_and_weather;
mod joins;
pub mod nexmark;
mod page;
mod requests;
mod tables;
mod topologies;
mod triggers;
mod variant;
mod windows;

use std::{collections::BTreeMap, fmt::Debug};

use cofferdam_engine::fail_point::Point;

pub use example::Example;
pub use variant::Variant;

use crate::{
    faults::every_fault,
    report::{Cell, Report},
    schedule::Fault,
    torture::Torture,
    trial::Backend,
};

/// Drawn schedules of the reference topology, if nothing is said.
pub const SEEDS: u64 = 10_000;

/// Drawn schedules of each job of the selection.
const PAIRWISE_SEEDS: u64 = 100;

/// Likewise, in the bounded one.
const QUICK_SEEDS: u64 = 10;

/// Schedules of a batch: what is kept of its runs is dropped with it.
const BATCH: u64 = 500;

/// Failures of a part that are told one by one.
const TOLD: usize = 5;

/// How many schedules there are for each fault at each fail point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailPointRuns {
    /// None.
    None,
    /// One.
    Once,
    /// All that make a difference.
    Each,
}

/// Rows as they are printed, in order.
fn sorted<R: Debug>(rows: impl IntoIterator<Item = R>) -> Vec<String> {
    let mut rows: Vec<_> = rows.into_iter().map(|row| format!("{row:?}")).collect();
    rows.sort_unstable();
    rows
}

/// One job, and what it is put under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The job.
    pub variant: Variant,
    /// The fail points, with every fault.
    pub fail_points: FailPointRuns,
    /// Schedules drawn from the seeds from zero on.
    pub seeds: u64,
}

/// All parts. `seeds` are those of the reference topology.
pub fn parts(seeds: u64) -> Vec<Part> {
    let each = |variant| Part { variant, fail_points: FailPointRuns::Each, seeds: 0 };
    let pairwise = |variant| Part { variant, fail_points: FailPointRuns::Each, seeds: PAIRWISE_SEEDS };
    let once = |variant| Part { variant, fail_points: FailPointRuns::Once, seeds: PAIRWISE_SEEDS };
    let mut parts: Vec<_> = Backend::ALL.map(Variant::reference).map(each).into();
    parts.extend(Variant::pairwise().into_iter().map(pairwise));
    parts.extend(Variant::in_flight().map(each));
    parts.extend(Variant::with_savepoints().map(each));
    parts.extend(Variant::timed_alone().map(each));
    parts.extend(Variant::timed().into_iter().map(once));
    parts.push(Part { variant: Variant::reference(Backend::Memory), fail_points: FailPointRuns::None, seeds });
    parts
}

/// A bounded selection that still has every fault at every fail point, and all of their schedules in memory and in LMDB.
pub fn quick_parts(seeds: u64) -> Vec<Part> {
    let mut parts = parts(seeds);
    for part in parts.iter_mut().skip(2).filter(|part| part.fail_points != FailPointRuns::None) {
        part.fail_points = if part.seeds > 0 { FailPointRuns::None } else { FailPointRuns::Once };
        part.seeds = part.seeds.min(QUICK_SEEDS);
    }
    parts
}

/// What came of runs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many there were.
    pub runs: u32,
    /// How many broke a promise.
    pub failures: u32,
    /// What was wrong, a text each: the first failures, and what made a verdict impossible.
    pub findings: Vec<String>,
    cells: BTreeMap<(Point, Fault), Cell>,
}

impl Tally {
    fn add_report(&mut self, report: &Report) {
        let failures = report.failures();
        self.runs += report.runs();
        self.failures += failures.len() as u32;
        let dependence = report.order_dependence().map(|order| format!("nothing can be said: {order}"));
        let room = TOLD.saturating_sub(self.findings.len());
        self.findings.extend(failures.iter().map(ToString::to_string).chain(dependence).take(room));
        self.add_cells(report.cells());
    }

    fn add_cells(&mut self, cells: &BTreeMap<(Point, Fault), Cell>) {
        for (at, Cell { runs, failures }) in cells {
            let cell = self.cells.entry(*at).or_default();
            cell.runs += runs;
            cell.failures += failures;
        }
    }
}

impl Part {
    /// Runs it, and tells after each batch how many runs there have been. A topology without a verdict is a finding.
    pub fn run(&self, mut progress: impl FnMut(u32)) -> Tally {
        let mut tally = Tally::default();
        for batch in self.batches() {
            match batch.run() {
                Ok(report) => tally.add_report(&report),
                Err(error) => tally.findings.push(error.to_string()),
            }
            progress(tally.runs);
        }
        tally
    }

    fn batches(&self) -> impl Iterator<Item = Torture> {
        let torture = self.variant.torture();
        let exhaustive = match self.fail_points {
            FailPointRuns::None => None,
            FailPointRuns::Once => Some(torture.clone().each_fault_once()),
            FailPointRuns::Each => Some(torture.clone().every_fail_point()),
        };
        let begins = (0..self.seeds).step_by(BATCH as usize);
        let end = self.seeds;
        exhaustive.into_iter().chain(begins.map(move |from| torture.clone().seeds(from..end.min(from + BATCH))))
    }
}

/// The parts that were run, and what came of each.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    /// In order.
    pub parts: Vec<(Part, Tally)>,
}

impl Matrix {
    /// What came of all parts.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        for (part, tally) in &self.parts {
            total.runs += tally.runs;
            total.failures += tally.failures;
            total.findings.extend(tally.findings.iter().map(|finding| format!("{}: {finding}", part.variant)));
            total.add_cells(&tally.cells);
        }
        total
    }

    /// Faults that fit a point and struck there in no run.
    pub fn never_struck(&self) -> Vec<(Point, Fault)> {
        let total = self.total();
        every_fault().into_iter().filter(|at| !total.cells.contains_key(at)).collect()
    }

    /// Whether every promise held, and every fault struck wherever it makes sense.
    pub fn holds(&self) -> bool {
        self.total().findings.is_empty() && self.never_struck().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_engine::topology::Topology;

    use super::*;
    use crate::io::Io;

    #[test]
    fn seeds_are_run_in_batches_and_none_twice() {
        let part = Part { variant: Variant::reference(Backend::Memory), fail_points: FailPointRuns::None, seeds: 501 };
        let mut told = Vec::new();
        let tally = part.run(|runs| told.push(runs));
        assert_eq!(told, [500, 501]);
        assert_eq!((tally.runs, tally.failures, tally.findings), (501, 0, Vec::new()));
    }

    /// Numbers, published as they come and not with their checkpoint.
    fn published_at_once(io: &Io) -> Topology {
        let topology = Topology::new("numbers");
        topology.source("numbers", io.source((0..60u64).collect())).sink_at_least_once("out", io.output::<u64>());
        topology
    }

    #[test]
    fn a_broken_promise_is_counted_and_told_and_the_matrix_does_not_hold() {
        let report = Torture::new(published_at_once).every_fail_point().run().unwrap();
        let mut tally = Tally::default();
        tally.add_report(&report);
        assert!(tally.failures > 0 && tally.cells.values().any(|cell| cell.failures > 0));
        assert_eq!(tally.findings.len(), TOLD);
        let matrix = Matrix { parts: vec![(parts(1)[0], tally)] };
        assert!(!matrix.holds());
        assert!(matrix.page().contains("output 0 has rows too many"));
    }

    #[test]
    fn what_is_not_run_does_not_hold() {
        assert_eq!(Matrix::default().never_struck(), every_fault());
        assert!(!Matrix::default().holds());
    }
}
