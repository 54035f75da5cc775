//! Finds how many steps each number takes to 1, in a loop through which its walk goes again and again.
//!
//! ```text
//! numbers -> walk -> key_by number -> step -> arrived -> rows (JSON lines)
//!              ^                       |
//!              +------- not yet -------+
//! ```
//! The topology is in [`cofferdam_examples::collatz`]. Kill it at any moment and start it again: what was on its way round goes on from there.

use std::process::ExitCode;

use clap::Parser;
use cofferdam::prelude::*;
use cofferdam_examples::{
    collatz,
    options::{self, JobOptions},
    paced::Paced,
    run::{run, run_job},
    settings,
};

/// Finds how many steps each number takes to 1
#[derive(Parser)]
struct Options {
    /// From 1 to this number: a resumed run has to be told the same number
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    numbers: u64,

    #[command(flatten)]
    job: JobOptions,
}

fn main() -> ExitCode {
    let Options { numbers, job } = options::parse("collatz");
    run(|| {
        settings::check(&job.state, [("--numbers", numbers.into())])?;
        let numbers = Paced::new(Generator::bounded(numbers, |i| i + 1), job.rate);
        run_job(collatz::topology(numbers, FileSink::json_lines(&job.out)), &[], &job)
    })
}
