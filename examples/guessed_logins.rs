//! Finds who logs in within ten minutes of three failures in a row, among log-ins that it makes up.
//!
//! ```text
//! log-ins (generated) -> event time, 30 s out of order -> key_by user -> pattern failed x 3, succeeded, within 10 min -> rows (JSON lines)
//! ```
//! The topology is in [`cofferdam_examples::logins`]. Kill it at any moment (`kill -9`), start it again by the same command: each guess is found once.

use std::process::ExitCode;

use clap::{Parser, value_parser};
use cofferdam::prelude::*;
use cofferdam_examples::{
    logins::{self, Login},
    options::{self, JobOptions},
    paced::Paced,
    run::{run, run_job},
    settings,
};

/// Finds who logs in within ten minutes of three failures in a row
#[derive(Parser)]
struct Options {
    /// Make up so many log-ins: a resumed run has to be told the same number
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    log_ins: u64,

    #[command(flatten)]
    job: JobOptions,
}

fn main() -> ExitCode {
    let Options { log_ins, job } = options::parse("guessed_logins");
    run(|| {
        settings::check(&job.state, [("--log-ins", log_ins.into())])?;
        let read = Paced::new(Generator::bounded(log_ins, Login::numbered), job.rate);
        let topology = logins::topology(read, FileSink::json_lines(&job.out));
        run_job(topology, &[], &job)
    })
}
